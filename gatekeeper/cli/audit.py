"""`gatekeeper audit`: read the log and search it; what only other commands need is imported by them.

Inside holds: these commands only read, on a live log or on a copy, and at most put an index beside it; that they read
the gate's own log is recorded in it, afterwards; data goes to stdout, messages to stderr; nothing that stands in the
log can move the cursor or colour the screen of whoever reads it.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from time import sleep as pause
from typing import Any, Unpack

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.reader import Position
from gatekeeper.adapters.sinks.several import follow_all, last_of_all
from gatekeeper.audit.codes import Word
from gatekeeper.audit.record import clean
from gatekeeper.audit.stored import StoredRecord, read, why
from gatekeeper.audit.wanted import Wanted
from gatekeeper.cli.audit_codes import codes
from gatekeeper.cli.audit_filters import Filters, asked, filters, searching, wanted_of
from gatekeeper.cli.audit_options import audit_directory, existing
from gatekeeper.cli.lazy import LazyGroup
from gatekeeper.cli.recording import Taken, record_read, recorded_read
from gatekeeper.cli.words import EXIT_FAILED, fail

_POLL_S = 0.2
_PLACES = {
    "verify": "gatekeeper.cli.audit_verify:verify",
    "prove": "gatekeeper.cli.audit_prove:prove",
    "witness": "gatekeeper.cli.audit_witness:witness_command",
    "keys": "gatekeeper.cli.audit_signers:keys",
    "registry": "gatekeeper.cli.audit_registry:registry_group",
    "replay": "gatekeeper.cli.audit_replay:replay",
    "export": "gatekeeper.cli.audit_export:export",
    "check-export": "gatekeeper.cli.audit_export:check_export",
    "report": "gatekeeper.cli.audit_page:report",
    "resolve": "gatekeeper.cli.audit_identity:resolve",
    "erase": "gatekeeper.cli.audit_identity:erase",
    "hold": "gatekeeper.cli.audit_hold:hold",
    "prune": "gatekeeper.cli.audit_prune:prune",
}

_COLOURS = {
    Word.ALLOW: "green",
    Word.WARN: "yellow",
    Word.WOULD_BLOCK: "yellow",
    Word.BLOCK: "red",
    Word.REVOKED: "red",
    Word.UNAVAILABLE: "magenta",
    Word.REFUSED: "magenta",
}


class _AuditGroup(LazyGroup):
    """Every command on the log ends alike where the log itself cannot be read."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a damaged log ends it with exit code 1."""
        try:
            return super().invoke(ctx)
        except AuditLogError as error:
            fail(str(error), code=EXIT_FAILED)


@click.group(cls=_AuditGroup, places=_PLACES)
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
@filters
@click.option("--json", "as_json", is_flag=True, help="The records as they stand in the log.")
@click.pass_context
def tail(
    context: click.Context,
    /,
    *,
    count: int,
    is_followed: bool,
    without_index: bool,
    as_json: bool,
    **filtered: Unpack[Filters],
) -> None:
    """Show the last records, or the last that fit every filter. That you did is recorded in the gate's log."""
    directory = existing(audit_directory(context))
    wanted = wanted_of(filtered)
    detail = {"what": "tail -f" if is_followed else "tail", "asked": asked(filtered) or "everything"}
    with recorded_read(context.obj, directory, detail) as taken:
        if wanted == Wanted():
            last, positions = last_of_all(directory, count)
            _show(last, taken, as_json=as_json)
            if is_followed:
                record_read(context.obj, directory, {**detail, "what": "tail -f begun", "records_n": taken.records})
                _follow(directory, positions, lambda lines: lines, taken, as_json=as_json)
            return
        _, positions = last_of_all(directory, 0)
        with searching(directory, wanted, without_index=without_index) as search:
            _show(search.last(count, positions), taken, as_json=as_json)
            if is_followed:
                record_read(context.obj, directory, {**detail, "what": "tail -f begun", "records_n": taken.records})
                _follow(directory, positions, search.fitting, taken, as_json=as_json)


@audit.command()
@filters
@click.option("--limit", type=click.IntRange(1), help="Stop after so many.")
@click.option("--json", "as_json", is_flag=True, help="The records as they stand in the log.")
@click.pass_context
def query(
    context: click.Context, /, *, limit: int | None, without_index: bool, as_json: bool, **filtered: Unpack[Filters]
) -> None:
    """Show the records that fit every filter, oldest first. That you asked is recorded in the gate's log."""
    directory = existing(audit_directory(context))
    detail = {"what": "query", "asked": asked(filtered) or "everything"}
    with (
        recorded_read(context.obj, directory, detail) as taken,
        searching(directory, wanted_of(filtered), without_index=without_index) as search,
    ):
        _show(islice(search.all(), limit), taken, as_json=as_json)


def _follow(
    directory: Path,
    positions: dict[Path, Position],
    fitting: Callable[[Iterable[bytes]], Iterable[bytes]],
    taken: Taken,
    *,
    as_json: bool,
) -> None:
    with suppress(KeyboardInterrupt), _ending_as_by_hand():
        _show(fitting(follow_all(directory, positions, lambda: pause(_POLL_S))), taken, as_json=as_json)


@contextmanager
def _ending_as_by_hand() -> Iterator[None]:
    """Also when the terminal is gone, or somebody ends the process: what was shown until then has to be recorded."""
    signals = [each for each in (signal.SIGHUP, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, signal.default_int_handler) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _show(found: Iterable[bytes], taken: Taken, *, as_json: bool) -> None:
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in found:
        taken.records += 1
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
