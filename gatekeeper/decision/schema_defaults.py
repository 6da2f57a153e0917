"""`[defaults]` of a policy."""

from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from gatekeeper.decision.defaults import ByOwnership, Defaults, Stale, UnknownDevice
from gatekeeper.decision.schema_values import check_group, language
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.device import DeviceClass, Ownership
from gatekeeper.domain.document import Table, parse_duration
from gatekeeper.domain.request import MailProtocol

_MAX_AGE = timedelta(days=3650)


class _Action(StrEnum):
    """The verdicts that a default can name."""

    ALLOW = "allow"
    WARN = "warn"
    BLOCK = "block"


def read_defaults(table: Table, groups: frozenset[str]) -> Defaults:
    """What happens to devices of which something is not known, and how people are told."""
    fallback, languages = _languages(table, groups)
    defaults = Defaults(
        unknown_device=_unknown_device(table),
        evidence_max_age=_age(table, "evidence_max_age", "24h"),
        stale=_stale(table),
        insufficient=_by_ownership(table, "insufficient") or ByOwnership(),
        no_evidence=_by_ownership(table, "no_evidence"),
        language=fallback,
        languages=MappingProxyType(languages),
    )
    if parse_duration(str(table.raw("evidence_max_age"))) == timedelta(0):
        table.fault("evidence_max_age", "must be longer than nothing: all evidence would be stale")
    table.done()
    return defaults


def _age(table: Table, name: str, default: str) -> timedelta:
    age = table.duration(name, default)
    if age > _MAX_AGE:
        table.fault(name, f"must not be longer than {_MAX_AGE.days}d")
    return min(age, _MAX_AGE)


def _action(table: Table, name: str, default: _Action | None = None) -> Verdict:
    return Verdict(table.choice(name, _Action, default).value)


def _unknown_device(table: Table) -> UnknownDevice:
    name = "unknown_device"
    if not isinstance(table.raw(name), dict):
        return UnknownDevice(default=_action(table, name, _Action.BLOCK))
    entries = table.table(name)
    found = UnknownDevice(
        default=_action(entries, "default", _Action.BLOCK),
        by_protocol={each: _action(entries, each.value) for each in MailProtocol if entries.has(each.value)},
        by_class={each: _action(entries, each.value) for each in DeviceClass if entries.has(each.value)},
    )
    entries.done()
    return found


def _by_ownership(table: Table, name: str) -> ByOwnership | None:
    value = table.raw(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        action = _action(table, name, _Action.BLOCK)
        return ByOwnership(company=action, personal=action)
    entries = table.table(name)
    default = entries.choice("default", _Action, _Action.BLOCK)
    found = ByOwnership(
        company=_action(entries, Ownership.COMPANY.value, default),
        personal=_action(entries, Ownership.PERSONAL.value, default),
    )
    entries.done()
    return found


def _stale(table: Table) -> Stale:
    if not isinstance(table.raw("stale"), dict):
        action = _action(table, "stale", _Action.BLOCK)
        return Stale(action=action, then=action)
    entries = table.table("stale")
    action = _action(entries, "action")
    if entries.has("then") != entries.has("after"):
        missing, given = ("after", "then") if entries.has("then") else ("then", "after")
        entries.fault(missing, f"is required beside `{given}`")
    then = _action(entries, "then", _Action(action.value))
    if then.strength < action.strength:
        entries.fault("then", f"`{then}` is weaker than `{action}`: evidence does not get better with age")
    found = Stale(action=action, then=then, after=_age(entries, "after", "0s"))
    entries.done()
    return found


def _languages(table: Table, groups: frozenset[str]) -> tuple[str, dict[str, str]]:
    """The language of last resort, and those of groups."""
    if not isinstance(table.raw("language"), dict):
        fallback = table.text("language", "en", max_length=35)
        language(table, "language", fallback)
        return fallback, {}
    entries = table.table("language")
    fallback = entries.text("default", "en", max_length=35)
    language(entries, "default", fallback)
    by_group = entries.table("groups")
    found = {}
    for group in list(by_group.names()):
        check_group(by_group, group, group, groups)
        found[group] = by_group.text(group, max_length=35)
        language(by_group, group, found[group])
    entries.done()
    return fallback, found
