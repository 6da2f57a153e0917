"""`gatekeeper audit`: read the log, search it, verify it.

Inside holds: these commands only read, on a live log or on a copy; data goes to stdout, messages to stderr; nothing
that stands in the log can move the cursor or colour the screen of whoever reads it.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from time import sleep as pause

import click

from gatekeeper.adapters.sinks.directory import AuditLogDamaged, read_head, segment_paths
from gatekeeper.adapters.sinks.reader import all_pieces, follow, last_lines, lines
from gatekeeper.audit.chain import verify as verify_chain
from gatekeeper.audit.codes import Word
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.record import clean
from gatekeeper.audit.report import Report
from gatekeeper.audit.stored import StoredRecord, read, why
from gatekeeper.cli.audit_options import audit_directory, existing, instant
from gatekeeper.cli.audit_replay import replay
from gatekeeper.domain.request import MailProtocol

_POLL_S = 0.2
_TAMPERED, _INCOMPLETE = 1, 3

_COLOURS = {
    Word.ALLOW: "green",
    Word.WARN: "yellow",
    Word.WOULD_BLOCK: "yellow",
    Word.BLOCK: "red",
    Word.REVOKED: "red",
    Word.UNAVAILABLE: "magenta",
    Word.REFUSED: "magenta",
}


@click.group()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="The audit directory (default: `audit.directory` of the configuration).",
)
@click.pass_context
def audit(context: click.Context, directory: Path | None) -> None:
    """Read, search and verify the audit log."""
    context.meta["gatekeeper.audit.directory"] = directory


@audit.command()
@click.option("-n", "--lines", "count", type=click.IntRange(0, 100_000), default=10, show_default=True)
@click.option("-f", "--follow", "is_followed", is_flag=True, help="Go on as the log grows.")
@click.option("--json", "as_json", is_flag=True, help="The records as they stand in the log.")
@click.pass_context
def tail(context: click.Context, count: int, is_followed: bool, as_json: bool) -> None:
    """Show the last records."""
    directory = existing(audit_directory(context))
    last, position = last_lines(directory, count)
    _show(last, as_json=as_json)
    if is_followed:
        try:
            _show(follow(directory, position, lambda: pause(_POLL_S)), as_json=as_json)
        except KeyboardInterrupt:
            return


@audit.command()
@click.option("--user", help="Account.")
@click.option("--device", help="Device id.")
@click.option("--verdict", type=click.Choice([word.value for word in Word]))
@click.option("--rule", help="Id of a rule that matched.")
@click.option("--app", help="Id of a denied app that was found; `*` and `?` allowed.")
@click.option(
    "--code",
    type=click.Choice([code.value for code in EventCode], case_sensitive=False),
    metavar="CODE",
    help="Event code, as GK1002W.",
)
@click.option("--protocol", type=click.Choice([protocol.value for protocol in MailProtocol], case_sensitive=False))
@click.option("--conn", help="Id of a connection.")
@click.option("--since", callback=instant, help="RFC 3339 time, or how long ago (`2h`).")
@click.option("--until", callback=instant, help="RFC 3339 time, or how long ago.")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many.")
@click.option("--json", "as_json", is_flag=True, help="The records as they stand in the log.")
@click.pass_context
def query(  # noqa: PLR0913, PLR0917  one argument an option
    context: click.Context,
    user: str | None,
    device: str | None,
    verdict: str | None,
    rule: str | None,
    app: str | None,
    code: str | None,
    protocol: str | None,
    conn: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show the records that fit every filter, oldest first."""
    directory = existing(audit_directory(context))
    wanted = _Filter()
    wanted.exactly(None if user is None else user.lower(), lambda record: record.account)
    wanted.exactly(device, lambda record: record.device)
    wanted.exactly(code, lambda record: record.code)
    wanted.exactly(protocol, lambda record: record.protocol)
    wanted.exactly(conn, lambda record: record.text("conn"))
    if verdict is not None:
        wanted.that(lambda record: record.word == verdict)
    if rule is not None:
        wanted.that(lambda record: rule in record.texts("rules"))
    if app is not None:
        wanted.that(lambda record: _has_app(record, app.casefold()))
    if since is not None:
        wanted.that(lambda record: record.time >= since)
    if until is not None:
        wanted.that(lambda record: record.time <= until)
    found = wanted.apply(lines(directory, since=since, until=until))
    _show(islice(found, limit), as_json=as_json)


@audit.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def verify(context: click.Context, directory: Path | None, as_json: bool) -> None:
    """Verify that nothing was changed, dropped, inserted, reordered or cut off.

    Exit codes: 0 sound, 1 tampering, 2 wrong usage, 3 incomplete.
    """
    where = existing(directory or audit_directory(context))
    missing: list[str] = []
    head = None
    try:
        head = read_head(where)  # before the log is read: a live log can only be ahead of it
    except AuditLogDamaged as error:
        missing.append(str(error))
    else:
        if head is None:
            missing.append("there is no `head.json`: that the end was not cut off cannot be told")
    report = verify_chain(all_pieces(where), head=head)
    if report.last is None:
        missing.append("there are no records")
    if report.torn is not None and not _is_growing(where, report):
        missing.append(f"the last line is torn: {report.torn.length} octets at {report.torn.place}")
    result, status = "SOUND", 0
    if report.findings:
        result, status = "TAMPERED", _TAMPERED
    elif missing:
        result, status = "INCOMPLETE", _INCOMPLETE
    if as_json:
        click.echo(json.dumps({"result": result, "missing": missing, **_as_document(report)}))
    else:
        _print_report(report, result, missing, is_head_known=head is not None)
    context.exit(status)


class _Filter:
    """What `query` looks for: every check has to hold."""

    def __init__(self) -> None:
        self._checks: list[Callable[[StoredRecord], bool]] = []
        self._needles: list[bytes] = []

    def exactly(self, text: str | None, of: Callable[[StoredRecord], str | None]) -> None:
        """`of` the record is `text`; None: anything."""
        if text is not None:
            self._checks.append(lambda record: of(record) == text)
            # A line that does not contain the text at all is not worth parsing (ten times faster over a large log).
            self._needles.append(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")[1:-1])

    def that(self, check: Callable[[StoredRecord], bool]) -> None:
        """Add any other check."""
        self._checks.append(check)

    def apply(self, candidates: Iterable[bytes]) -> Iterator[bytes]:
        """The lines that fit; those that are no records are left to `verify`."""
        for line in candidates:
            if not all(needle in line for needle in self._needles):
                continue
            try:
                record = read(line)
            except ValueError:
                click.echo("a line is no record; `gatekeeper audit verify` says where", err=True)
                continue
            if all(check(record) for check in self._checks):
                yield line


def _has_app(record: StoredRecord, app: str) -> bool:
    """Whether a denied app fits, named with or without its platform."""
    for found in record.texts("matched"):
        name = found.casefold()
        if fnmatchcase(name, app) or fnmatchcase(name.partition(":")[2], app):
            return True
    return False


def _show(found: Iterable[bytes], *, as_json: bool) -> None:
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in found:
        if as_json:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            continue
        try:
            text = _for_people(read(line), is_coloured=is_coloured)
        except ValueError as error:
            text = f"(a line that is no record: {error})"
        click.echo(text, color=is_coloured)


def _for_people(record: StoredRecord, *, is_coloured: bool) -> str:
    """One line: time, word, user, device, protocol, why."""
    word = clean(record.word, 12)
    shown = f"{word:<11}"
    if is_coloured and record.word in _COLOURS:
        shown = click.style(shown, fg=_COLOURS[Word(record.word)])
    who = [clean(text, 64) if text else "-" for text in (record.account, record.device, record.protocol)]
    return f"{record.time:%Y-%m-%d %H:%M:%S}Z  {shown}  {who[0]:<24}  {who[1]:<12}  {who[2]:<5}  {clean(why(record))}"


def _is_growing(directory: Path, report: Report) -> bool:
    """Whether a torn last line is only a write that was under way when it was read."""
    if report.torn is None:
        return False
    seen = report.torn.place.offset + report.torn.length
    for _ in range(5):
        segments = segment_paths(directory)
        if segments and (segments[-1].name != report.torn.place.segment or segments[-1].stat().st_size != seen):
            return True
        pause(_POLL_S / 2)
    return False


def _print_report(report: Report, result: str, missing: list[str], *, is_head_known: bool) -> None:
    rows: list[tuple[str, str]] = [("log", clean(report.log or "-"))]
    if report.last is not None:
        kinds = {finding.kind for finding in report.findings}
        chain = "OK" if not kinds else ", ".join(sorted(kinds))
        numbers = f"{report.first_sequence} … {report.last.sequence} ({report.entries} in {report.segments} segments)"
        rows.append(("entries", f"{numbers}  sequence and prev-chain {chain}"))
        rows.append(("times", _times(report)))
        rows.append(("head", f"{report.last.sha256}  " + ("compared with head.json" if is_head_known else "not noted")))
        clean_end = "closed" if report.is_closed else "open"
        rows.append(("openings", f"{report.openings}, of them {report.unclean} after a crash; now {clean_end}"))
        places = "; ".join(str(place) for place in report.recovered[:5])
        rows.append(("recovered", f"tails {len(report.recovered)}" + (f" ({places})" if places else "")))
    rows += [("FOUND", str(finding)) for finding in report.findings]
    if report.findings_total > len(report.findings):
        rows.append(("FOUND", f"and {report.findings_total - len(report.findings)} more"))
    rows += [("missing", reason) for reason in missing]
    counts = " / ".join(f"{count} {clean(word, 20)}" for word, count in sorted(report.words.items()))
    rows.append(("RESULT", f"{result}  {counts}  policies {len(report.policies)}"))
    for name, text in rows:
        click.echo(f"{name:<10} {clean(text, 2000)}")


def _times(report: Report) -> str:
    ends = [
        "-" if value is None else f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        for value in (report.first_time_ms, report.last_time_ms)
    ]
    back = "monotonic" if not report.back_steps else f"back {report.back_steps} times"
    return f"{ends[0]} … {ends[1]}  {back} (max back-step {report.max_back_step_ms} ms)"


def _as_document(report: Report) -> dict[str, object]:
    document: dict[str, object] = asdict(report)
    document["words"] = dict(report.words)
    return document


audit.add_command(replay)
