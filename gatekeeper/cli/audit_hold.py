"""`gatekeeper audit hold`: keep the records of a time from being pruned until somebody releases them.

Inside holds: a hold is in force before it is on record, and on record as released before it ends, so that a fault in
between keeps too much, never too little.
"""

import secrets
from datetime import UTC, datetime
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.pruning import holding, read_holds, write_holds
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.record import clean, milliseconds
from gatekeeper.audit.retention import Hold
from gatekeeper.audit.stored import stamp
from gatekeeper.cli.audit_options import audit_directory, existing, instant, reason
from gatekeeper.cli.recording import as_owner_of, record_on_log, whoever
from gatekeeper.cli.words import EXIT_FAILED, EXIT_USAGE, fail, say_json, say_table
from gatekeeper.server.clock import SystemClock

_MAX_TEXT = 400


@click.group()
def hold() -> None:
    """Keep records from being pruned (legal hold)."""


@hold.command("add")
@reason
@click.option("--case", "case", default="", help="What it is known under, such as a file number.")
@click.option("--from", "since", callback=instant, help="Only records from then on (default: from the beginning).")
@click.option("--to", "until", callback=instant, help="Only records up to then (default: without end).")
@click.pass_context
def add(context: click.Context, why: str, case: str, since: datetime | None, until: datetime | None) -> None:
    """Place a hold: no segment with a record of its time is pruned, and no key that its names need is destroyed."""
    directory = existing(audit_directory(context))
    if since is not None and until is not None and until < since:
        raise click.UsageError("--to lies before --from")
    placed = Hold(
        id=f"hold-{secrets.token_hex(4)}",
        reason=clean(why, _MAX_TEXT),
        case=clean(case, _MAX_TEXT),
        by=clean(whoever(), _MAX_TEXT),
        placed_ms=milliseconds(SystemClock().now()),
        since_ms=None if since is None else milliseconds(since),
        until_ms=None if until is None else milliseconds(until),
    )
    try:
        with as_owner_of(directory), holding(directory):
            write_holds(directory, (*read_holds(directory), placed), FileOperations())
    except (AuditLogError, OSError) as error:
        fail(f"the hold is not placed: {error}", code=EXIT_FAILED)
    detail: dict[str, str | int] = {"hold": placed.id, "reason": placed.reason, "by": placed.by}
    times = {"case": placed.case, "hold_since": stamp(placed.since_ms), "hold_until": stamp(placed.until_ms)}
    detail |= {name: text for name, text in times.items() if text}
    is_recorded = record_on_log(context.obj, directory, EventCode.HOLD_PLACED, detail)
    click.echo(placed.id)
    if not is_recorded:
        fail("the hold is in force, and is not on record", code=EXIT_FAILED)


@hold.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def list_holds(context: click.Context, as_json: bool) -> None:
    """Show the holds in force."""
    holds = _holds(existing(audit_directory(context)))
    if as_json:
        say_json([_document(one) for one in holds])
        return
    rows = [[str(value or "-") for value in _document(one).values()] for one in holds]
    say_table(["HOLD", "PLACED", "BY", "FROM", "TO", "CASE", "REASON"], rows)


@hold.command("release")
@click.argument("hold_id", metavar="HOLD")
@reason
@click.pass_context
def release(context: click.Context, hold_id: str, why: str) -> None:
    """End a hold: what it kept may be pruned again."""
    directory = existing(audit_directory(context))
    try:
        with as_owner_of(directory), holding(directory):
            holds = read_holds(directory)
            if hold_id not in {one.id for one in holds}:
                fail(f"there is no hold `{clean(hold_id, 64)}`: `audit hold list`", code=EXIT_USAGE)
            detail: dict[str, str | int] = {"hold": hold_id, "reason": clean(why, _MAX_TEXT), "by": whoever()}
            if not record_on_log(context.obj, directory, EventCode.HOLD_RELEASED, detail):
                fail("the hold stays: its release cannot be recorded", code=EXIT_FAILED)
            write_holds(directory, [one for one in holds if one.id != hold_id], FileOperations())
    except (AuditLogError, OSError) as error:
        fail(f"the hold stays: {error}", code=EXIT_FAILED)


def _holds(directory: Path) -> tuple[Hold, ...]:
    try:
        return read_holds(directory)
    except AuditLogError as error:
        fail(str(error), code=EXIT_FAILED)


def _document(one: Hold) -> dict[str, str | None]:
    placed = datetime.fromtimestamp(one.placed_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "hold": one.id,
        "placed": placed,
        "by": one.by,
        "from": stamp(one.since_ms),
        "to": stamp(one.until_ms),
        "case": one.case,
        "reason": one.reason,
    }
