"""`gatekeeper audit replay`: past decisions performed again, by the policy that made them or by a candidate."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.sinks import content
from gatekeeper.adapters.sinks.directory import segment_paths
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.several import log_directories
from gatekeeper.adapters.stores.archive import Archive
from gatekeeper.adapters.stores.population import SqlPopulation
from gatekeeper.audit.decided import Decided, read_decided
from gatekeeper.audit.record import clean
from gatekeeper.campaign.ledger import Ledger
from gatekeeper.campaign.outline import Outline
from gatekeeper.campaign.rehearsal import Difference, Rehearsal, Report
from gatekeeper.cli.audit_archive import archived, archived_policies, kept_in
from gatekeeper.cli.audit_names import naming, pseudonyms_of
from gatekeeper.cli.audit_options import audit_directory, existing, instant
from gatekeeper.cli.named import InputFile
from gatekeeper.cli.progress import progress
from gatekeeper.cli.recording import record_read
from gatekeeper.cli.store import in_store, store_option
from gatekeeper.cli.words import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    fail,
    identity_settings,
    load_settings,
    say_json,
    say_table,
)
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import canonical_account
from gatekeeper.server.policy_source import load_policy, policies_by_digest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LINES_A_STEP = 1000


@click.command("replay")
@click.option("--policy", "candidate", type=InputFile(), help="Decide by this policy instead.")
@click.option(
    "--made-by",
    "older",
    type=InputFile(),
    multiple=True,
    help="An older policy file that made some of them (repeat for more); bundles in the store are found by themselves.",
)
@click.option("--since", callback=instant, default="7d", show_default=True, help="RFC 3339 time, or how long ago.")
@click.option("--until", callback=instant, help="RFC 3339 time, or how long ago.")
@click.option("--user", help="Only decisions about this mail login.")
@click.option("--device", help="Only decisions in which this device counted.")
@click.option("--seq", type=click.IntRange(0), help="Only the record with this number.")
@click.option("--limit", type=click.IntRange(0), default=50, show_default=True, help="Print so many differences.")
@click.option("--archive-only", "is_offline", is_flag=True, help="Ask neither the store nor the policy in force.")
@store_option
@click.option("--json", "as_json", is_flag=True, help="For machines, with all differences.")
@click.pass_context
def replay(  # noqa: PLR0913, PLR0917  one for each option
    context: click.Context,
    candidate: Path | None,
    older: tuple[Path, ...],
    since: datetime,
    until: datetime | None,
    user: str | None,
    device: str | None,
    seq: int | None,
    limit: int,
    is_offline: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Perform recorded decisions again on the postures they were made on.

    Policies and postures are those in the archive, and those that the store still knows of the last days.

    Without --policy each is made by the policy that made it, and has to come out as recorded. With it, what would have
    been another verdict is shown. What cannot be performed again is counted with the reason, never guessed.

    Exit codes: 0 all the same, 1 differences, 2 wrong usage, 3 no difference but not all could be performed again.

    \b
    Examples:
      gatekeeper audit replay
      gatekeeper audit replay --policy new-policy.toml --since 7d
    """  # noqa: D301  click's paragraph mark
    directory = existing(audit_directory(context))
    config_path: Path = context.obj
    policy = None if candidate is None else _candidate(candidate, config_path)
    account = _account(user, config_path)
    wanted = _Wanted(since, until, (account, device, pseudonyms_of(account, device)), seq)
    with naming(config_path) as named, archived(config_path) as archive:
        policies: dict[str, Policy] = {}
        if policy is None or policy.directory_groups:
            # With a candidate they only tell which groups of the directory a record means.
            policies = _known_policies(config_path, older, archive, is_offline=is_offline)
        outline = Outline((*policies.values(), *([policy] if policy else ())))
        ledger = Ledger(kept_in(archive, outline))
        if not is_offline:
            in_store(config_path, store, lambda engine: _read(engine, outline, since, ledger))
        rehearsal = Rehearsal(policies, policy, ledger, named)
        for decided in _decisions(directory, wanted):
            rehearsal.take(decided)
        report = rehearsal.report
    record_read(config_path, directory, {"what": "replay", "asked": wanted.asked, "records_n": report.records})
    if as_json:
        say_json(_document(report, policy))
    else:
        _say(report, policy, limit)
    if report.different:
        raise SystemExit(EXIT_FAILED)
    if report.gaps:
        raise SystemExit(EXIT_INCOMPLETE)


class _Wanted:
    """Which decisions are asked about."""

    def __init__(
        self,
        since: datetime,
        until: datetime | None,
        whose: tuple[str | None, str | None, frozenset[str]],
        sequence: int | None,
    ) -> None:
        """`whose`: account and device, and their pseudonyms."""
        self.since, self.until = since, until
        self._since_us = _microseconds(since)
        self._until_us = None if until is None else _microseconds(until)
        (self._account, self._device, self._also), self._sequence = whose, sequence

    @property
    def asked(self) -> str:
        """In words, as the other commands that read the log say it."""
        until = None if self.until is None else self.until.isoformat()
        said = {"user": self._account, "device": self._device, "seq": self._sequence}
        named = {**said, "since": self.since.isoformat(), "until": until}
        return " ".join(f"{name}={value}" for name, value in named.items() if value is not None)

    def has(self, decided: Decided) -> bool:
        """Whether this one is."""
        at = decided.time_ms * 1000
        if at < self._since_us or (self._until_us is not None and at > self._until_us):
            return False
        if self._account is not None and not self._is(decided.account, self._account):
            return False
        if self._sequence is not None and decided.sequence != self._sequence:
            return False
        if self._device is None or self._is(decided.device, self._device):
            return True
        return any(self._is(device_id, self._device) for device_id, _ in decided.judged or ())

    def _is(self, found: str | None, name: str) -> bool:
        return found == name or found in self._also


async def _read(engine: AsyncEngine, outline: Outline, since: datetime, ledger: Ledger) -> None:
    """What the store knows of the time since then."""
    async with SqlPopulation(engine).snapshot() as snapshot:
        with progress(await snapshot.size(), "reading the postures") as advance:
            async for devices in snapshot.history(outline, since):
                for postures in devices:
                    ledger.add(postures)
                advance(len(devices))


def _decisions(directory: Path, wanted: _Wanted) -> Iterator[Decided]:
    found = list(_sizes(directory))
    with progress(sum(found), "deciding again") as advance:
        octets = 0
        logs = (lines(log, since=wanted.since, until=wanted.until) for log in log_directories(directory))
        for number, line in enumerate(chain.from_iterable(logs), start=1):
            octets += len(line)
            if number % _LINES_A_STEP == 0:
                advance(octets)
                octets = 0
            try:
                decided = read_decided(line)
            except ValueError as error:
                click.echo(f"a line is left out: {clean(str(error))}; `gatekeeper audit verify` says more", err=True)
                continue
            if decided is not None and wanted.has(decided):
                yield decided


def _sizes(directory: Path) -> Iterator[int]:
    for log in log_directories(directory):
        for path in segment_paths(log):
            yield content.size(path)


def _microseconds(instant_: datetime) -> int:
    """Since 1970."""
    return (instant_ - _EPOCH) // timedelta(microseconds=1)


def _candidate(path: Path, config_path: Path) -> Policy:
    try:
        return load_policy(path, identity_settings(config_path))
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_USAGE)


def _known_policies(
    config_path: Path, older: tuple[Path, ...], archive: Archive | None, *, is_offline: bool
) -> dict[str, Policy]:
    before = {policy.sha256: policy for policy in (_candidate(path, config_path) for path in older)}
    kept = {} if archive is None else archived_policies(archive)
    try:
        return kept | ({} if is_offline else policies_by_digest(load_settings(config_path))) | before
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_CONFIG)


def _account(user: str | None, config_path: Path) -> str | None:
    if user is None:
        return None
    account = canonical_account(user, identity_settings(config_path))
    if account is None:
        raise click.BadParameter(f"`{user}` is no mail login that the gate would accept", param_hint="--user")
    return account


def _say(report: Report, candidate: Policy | None, limit: int) -> None:
    by = "the policies that made them" if candidate is None else f"{candidate.source} (sha256 {candidate.sha256[:16]})"
    click.echo(f"Replay of {report.decisions:,} decisions in {report.records:,} records, by {by}")
    click.echo(f"  performed again    {report.performed:,}")
    click.echo(f"    as recorded      {report.same:,}")
    click.echo(f"    different        {report.different:,}")
    click.echo(f"  not re-performable {report.gaps.total():,}")
    for gap, count in sorted(report.gaps.items()):
        click.echo(f"    {count:,}: {gap.value}")
    if report.different:
        click.echo()
        for (was, would), count in sorted(report.turns.items()):
            click.echo(f"  {was} -> {would}: {count:,}")
        for rule, count in sorted(report.rules.items()):
            click.echo(f"  rule {rule}: {count:,}")
        click.echo(f"  people: {len(report.accounts):,}, devices: {len(report.devices):,}")
        if limit:
            click.echo()
            header = ["TIME", "RECORD", "USER", "DEVICE", "OVER", "WAS", "WOULD BE", "WHY", "TIMES"]
            say_table(header, [_row(each) for each in report.differences[:limit]])
        left_out = len(report.differences) - limit
        if left_out > 0:
            click.echo(f"… and {left_out} more records (--limit, --json)")


def _row(each: Difference) -> list[str]:
    decided = each.decided
    at = _EPOCH + timedelta(milliseconds=decided.time_ms)
    why = ", ".join([f"rule {rule}" for rule in each.rules]) or ", ".join(each.reasons)
    return [
        f"{at:%Y-%m-%d %H:%M:%S}Z",
        str(decided.sequence),
        clean(decided.account, 64),
        clean(decided.device or "-", 64),
        decided.protocol.value,
        decided.verdict.value,
        each.verdict.value,
        why,
        str(decided.times),
    ]


def _document(report: Report, candidate: Policy | None) -> dict[str, object]:
    return {
        "policy": None if candidate is None else {"source": candidate.source, "sha256": candidate.sha256},
        "records": report.records,
        "decisions": report.decisions,
        "performed": report.performed,
        "same": report.same,
        "different": report.different,
        "not_performed": {gap.name.lower(): count for gap, count in sorted(report.gaps.items())},
        "turns": [
            {"was": was.value, "would_be": would.value, "decisions": count}
            for (was, would), count in sorted(report.turns.items())
        ],
        "rules": dict(sorted(report.rules.items())),
        "people": len(report.accounts),
        "devices": len(report.devices),
        "differences": [
            {
                "sequence": each.decided.sequence,
                "time": (_EPOCH + timedelta(milliseconds=each.decided.time_ms)).isoformat(),
                "user": each.decided.account,
                "device": each.decided.device,
                "protocol": each.decided.protocol.value,
                "was": each.decided.verdict.value,
                "would_be": each.verdict.value,
                "rules_were": list(each.decided.rules),
                "rules": list(each.rules),
                "reasons": list(each.reasons),
                "count": each.decided.times,
                "code": each.decided.code,
            }
            for each in report.differences
        ],
    }
