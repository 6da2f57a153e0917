"""`gatekeeper audit`: read the log, search it, verify it.

Inside holds: these commands only read, on a live log or on a copy; data goes to stdout, messages to stderr; nothing
that stands in the log can move the cursor or colour the screen of whoever reads it.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from time import sleep as pause

import click

from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.several import follow_all, last_of_all, log_directories, merged
from gatekeeper.audit.codes import Word
from gatekeeper.audit.record import clean
from gatekeeper.audit.stored import StoredRecord, read, why
from gatekeeper.cli.audit_codes import EventCodeType, codes
from gatekeeper.cli.audit_options import audit_directory, existing, instant
from gatekeeper.cli.audit_replay import replay
from gatekeeper.cli.audit_report import as_document, print_report, verify_log, worst_of
from gatekeeper.domain.request import MailProtocol

_POLL_S = 0.2

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
    last, positions = last_of_all(directory, count)
    _show(last, as_json=as_json)
    if is_followed:
        try:
            _show(follow_all(directory, positions, lambda: pause(_POLL_S)), as_json=as_json)
        except KeyboardInterrupt:
            return


@audit.command()
@click.option("--user", help="Account.")
@click.option("--device", help="Device id.")
@click.option("--verdict", type=click.Choice([word.value for word in Word]))
@click.option("--rule", help="Id of a rule that matched.")
@click.option("--app", help="Id of a denied app that was found; `*` and `?` allowed.")
@click.option("--code", type=EventCodeType(), metavar="CODE", help="Event code, as GK1002W; `audit codes` lists them.")
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
    found = [wanted.apply(lines(log, since=since, until=until)) for log in log_directories(directory)]
    _show(islice(merged(found) if len(found) > 1 else found[0], limit), as_json=as_json)


@audit.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True)
@click.pass_context
def verify(context: click.Context, directory: Path | None, as_json: bool) -> None:
    """Verify that nothing was changed, dropped, inserted, reordered or cut off.

    Of several workers each has a log of its own; all are verified, and the worst result counts.

    Exit codes: 0 sound, 1 tampering, 2 wrong usage, 3 incomplete.
    """
    logs = log_directories(existing(directory or audit_directory(context)))
    verified = []
    for number, log in enumerate(logs):
        verified.append(verify_log(log))
        if not as_json:
            if number:
                click.echo()
            print_report(verified[-1])
    if as_json:
        documents = [{"directory": str(one.directory), **as_document(one)} for one in verified]
        several = {"result": worst_of(verified).result, "logs": documents}
        click.echo(json.dumps(documents[0] if len(logs) == 1 else several))
    context.exit(worst_of(verified).status)


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


audit.add_command(codes)
audit.add_command(replay)
