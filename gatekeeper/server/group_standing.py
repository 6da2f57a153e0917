"""How it goes with the directory of groups, as `status`, `/readyz` and `/metrics` say it."""

from datetime import datetime

from gatekeeper.adapters.groups.asked import AskedGroups
from gatekeeper.config.settings import GroupsSettings
from gatekeeper.ports.groups import Groups


def described(groups: Groups | None, settings: GroupsSettings, now: datetime) -> dict[str, object]:
    """What `status` says of the groups; nothing where there is no source."""
    if not isinstance(groups, AskedGroups):
        return {} if settings.file is None else {"file": str(settings.file)}
    standing, answered_at = groups.standing, groups.answered_at
    state = "answers" if standing.tried_at is not None else "not asked yet by this process"
    facts: dict[str, object] = {"directory": groups.directory.place, "state": state}
    if standing.silent_since is not None:
        facts["state"] = f"SILENT since {_text(standing.silent_since)}: {standing.fault}"
    if answered_at is None:
        facts["answered"] = "never, as far as is on record"
    else:
        too_old = ": older than groups.keep, its groups are UNKNOWN" if groups.is_expired else ""
        facts["answered"] = f"{_text(answered_at)}, {int((now - answered_at).total_seconds())} s ago{too_old}"
    if groups.unusable:
        facts["last_answer"] = groups.unusable
    facts |= {f"unknown {group}": reason for group, reason in groups.unknown.items()}
    facts |= {f"note {number}": note for number, note in enumerate(standing.notes, 1)}
    return facts


def checks(groups: Groups | None) -> dict[str, str]:
    """For `/readyz`, where a directory is asked."""
    return {"groups": _check(groups)} if isinstance(groups, AskedGroups) else {}


def _check(groups: AskedGroups) -> str:
    """Never a reason not to be ready, for what is not known only makes rules hold for more people."""
    silent = groups.standing.silent_since
    if groups.is_expired:
        return "ok, but the directory's last answer is too old: its groups are unknown"
    if silent is not None:
        last = "never" if groups.answered_at is None else _text(groups.answered_at)
        return f"ok, but the directory of groups does not answer since {_text(silent)} (last answer: {last})"
    return "ok"


def figures(groups: Groups | None, now: datetime) -> tuple[bool, float | None] | None:
    """For `/metrics`: whether the directory answers, and the age of its last answer in seconds; None: there is none."""
    if not isinstance(groups, AskedGroups):
        return None
    answered_at = groups.answered_at
    age_s = None if answered_at is None else (now - answered_at).total_seconds()
    return groups.standing.silent_since is None, age_s


def _text(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
