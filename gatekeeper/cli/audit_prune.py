"""`gatekeeper audit prune`: remove whole segments that are older than the retention, and say so in the log first.

Inside holds: nothing goes that a hold covers, that cannot be verified, or whose removal is not on record; a hold that
the log tells of and `holds.json` does not know stops everything.
"""

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError, segment_paths
from gatekeeper.adapters.sinks.index import NAME as INDEX
from gatekeeper.adapters.sinks.index import IndexUnusable, LogIndex
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.pruning import holding, prunable_of, read_holds, remove, tree_root
from gatekeeper.adapters.sinks.reader import pieces
from gatekeeper.adapters.sinks.several import current_directories, log_directories
from gatekeeper.adapters.sinks.shipping.position import least_shipped
from gatekeeper.adapters.sinks.tiles import read_checkpoint_file
from gatekeeper.adapters.stores.archive import ArchiveError
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.pseudonyms import quarter_end_ms
from gatekeeper.audit.record import clean, milliseconds
from gatekeeper.audit.retention import Hold, Prunable
from gatekeeper.audit.stored import read, stamp
from gatekeeper.audit.wanted import Wanted
from gatekeeper.cli.audit_archive import archive_of
from gatekeeper.cli.audit_filters import searching
from gatekeeper.cli.audit_keys import known_for
from gatekeeper.cli.audit_names import identities_of
from gatekeeper.cli.audit_options import existing
from gatekeeper.cli.audit_report import verify_log
from gatekeeper.cli.recording import as_owner_of, record_on_log, record_pruned, whoever
from gatekeeper.cli.words import EXIT_FAILED, fail, load_settings, say_json
from gatekeeper.server.clock import SystemClock
from gatekeeper.signing.note import NoteError

_HOLDS = frozenset({EventCode.HOLD_PLACED.value, EventCode.HOLD_RELEASED.value})


@dataclass(frozen=True, slots=True)
class _Plan:
    log: Path
    checkpoint: Checkpoint | None
    found: Prunable


@click.command("prune")
@click.option("--yes", "is_meant", is_flag=True, help="Remove them; without it, only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def prune(context: click.Context, is_meant: bool, as_json: bool) -> None:
    """Remove the records of closed segments that are older than `audit.retention`; their hashes stay.

    Only whole segments go, from the beginning of a log, after the log was verified. Nothing goes under a legal hold.
    That they are removed is recorded in the log that they are of: `audit verify` goes on finding it sound, and says so.

    Exit codes: 0 done, or nothing to do; 1 refused, and why; 2 wrong usage.
    """
    settings = load_settings(context.obj)
    directory, retention = existing(settings.audit.directory), settings.audit.retention
    before_ms = milliseconds(SystemClock().now() - retention)
    try:
        with as_owner_of(directory), holding(directory):
            holds = read_holds(directory)
            _refuse_lost_holds(directory, holds)
            plans = [_plan(log, before_ms, holds) for log in current_directories(directory)]
            if is_meant:
                for plan in plans:
                    _verify(context, plan)
                for plan in plans:
                    _prune(context, plan, retention, before_ms)
                _forget_in_index(directory)
                _prune_archive(context.obj, directory)
            destroyed = _destroy_quarters(context.obj, directory, is_meant=is_meant)
    except (AuditLogError, ArchiveError, OSError) as error:
        fail(f"nothing more is pruned: {error}", code=EXIT_FAILED)
    if as_json:
        logs = [_document(plan) for plan in plans]
        say_json({"older_than": stamp(before_ms), "removed": is_meant, "logs": logs, "quarters": destroyed})
        return
    for plan in plans:
        _say(plan, is_done=is_meant)
    for quarter in destroyed:
        click.echo(f"the names of {quarter} " + ("are destroyed" if is_meant else "would be destroyed"))
    if not is_meant and any(plan.found.spans for plan in plans):
        click.echo("nothing was removed: --yes does it")


def _plan(log: Path, before_ms: int, holds: tuple[Hold, ...]) -> _Plan:
    note = read_checkpoint_file(log)
    try:
        checkpoint = None if note is None else read_checkpoint(note)[0]
    except NoteError as error:
        raise AuditLogError(f"`{log / 'checkpoint'}` {error}") from error
    return _Plan(log, checkpoint, prunable_of(log, checkpoint, before_ms=before_ms, holds=holds))


def _refuse_lost_holds(directory: Path, holds: tuple[Hold, ...]) -> None:
    """A hold that was placed and not released, by the log, must be known: a lost file releases nothing."""
    placed: set[str] = set()
    with searching(directory, Wanted(codes=_HOLDS), without_index=False) as search:
        for line in search.all():
            record = read(line)
            name = record.text("hold") or ""
            if record.code == EventCode.HOLD_PLACED:
                placed.add(name)
            else:
                placed.discard(name)
    lost = sorted(placed - {hold.id for hold in holds})
    if lost:
        raise AuditLogError(
            f"the log tells of the hold {clean(', '.join(lost[:5]), 200)}, and `holds.json` does not know it: "
            "put the file back from a backup, or place the hold again and release the lost one by its record"
        )


def _verify(context: click.Context, plan: _Plan) -> None:
    if not plan.found.spans:
        return
    name, sent = least_shipped(plan.log) or ("", plan.found.spans[-1].last.sequence + 1)
    if sent <= plan.found.spans[-1].last.sequence:
        raise AuditLogError(
            f"the remote `{name}` has only {sent} records of `{plan.log}`: wait for it, or remove its position in "
            "`shipped/` if there is no such remote any more"
        )
    verified = verify_log(plan.log, known_for(context, plan.log, ()))
    if verified.status:
        what = [str(finding) for finding in verified.findings] + list(verified.missing)
        raise AuditLogError(f"`{plan.log}` is not sound, so that nothing of it may go: {what[0]}")


def _prune(context: click.Context, plan: _Plan, retention: timedelta, before_ms: int) -> None:
    spans, first_kept = plan.found.spans, plan.found.first_kept
    if first_kept is None or plan.checkpoint is None:
        return
    detail: dict[str, str | int] = {
        "first": spans[0].first,
        "last": spans[-1].last.sequence,
        "first_kept": first_kept,
        "last_sha256": spans[-1].last.sha256,
        "tree_root": tree_root(plan.log, plan.checkpoint, first_kept).hex(),
        "segments_n": len(spans),
        "retention": f"{retention // timedelta(days=1)}d",
        "older_than": stamp(before_ms) or "",
        "by": whoever(),
    }
    if not record_pruned(context.obj, plan.log, plan.checkpoint.origin, detail):
        raise AuditLogError(f"that records of `{plan.log}` go cannot be recorded, so they stay")
    remove(plan.log, spans, FileOperations())


def _destroy_quarters(config_path: Path, directory: Path, *, is_meant: bool) -> list[str]:
    """Destroy the names of quarters that no record is left of: a hold keeps records, and so it keeps their names."""
    names = identities_of(config_path)
    if names is None:
        return []
    with closing(names):
        begins_ms = _begins_ms(directory)
        over = [quarter for quarter in names.quarters() if quarter_end_ms(quarter) <= begins_ms]
        for quarter in over if is_meant else ():
            detail: dict[str, str | int] = {"quarter": quarter, "by": whoever()}
            if not record_on_log(config_path, directory, EventCode.QUARTER_DESTROYED, detail):
                raise AuditLogError(f"that the names of {quarter} are destroyed cannot be recorded, so they stay")
            names.destroy(quarter)
    return over


def _prune_archive(config_path: Path, directory: Path) -> None:
    """What no record that is left can have been decided on goes."""
    archive = archive_of(config_path)
    if archive is not None:
        with closing(archive):
            archive.prune(_begins_ms(directory))


def _begins_ms(directory: Path) -> int:
    """When the first record was made that is left in any log."""
    firsts = [next(pieces(paths[0]), b"") for paths in map(segment_paths, log_directories(directory)) if paths]
    return min((read(line).time_ms for line in firsts if line), default=0)


def _forget_in_index(directory: Path) -> None:
    """What left the log leaves its index too."""
    if not (directory / INDEX).exists():
        return
    try:
        index = LogIndex(directory)
    except IndexUnusable:
        (directory / INDEX).unlink(missing_ok=True)
        return
    index.forget_others(path for log in log_directories(directory) for path in segment_paths(log))
    index.close()


def _say(plan: _Plan, *, is_done: bool) -> None:
    spans = plan.found.spans
    if spans:
        what = "removed" if is_done else "would go"
        until = stamp(spans[-1].last_ms)
        octets = sum(span.octets for span in spans)
        numbers = f"records {spans[0].first} to {spans[-1].last.sequence} in {len(spans)} segments"
        click.echo(f"{plan.log}: {what}: {numbers}, up to {until}, {octets:,} octets")
    else:
        click.echo(f"{plan.log}: nothing is older than the retention and may go")
    for hold in plan.found.held_by:
        click.echo(f"{plan.log}: the next segment is kept by {hold.id}: {hold.reason}")
    if plan.found.is_unsigned:
        click.echo(f"{plan.log}: the next segment is kept, for the signed head is continued from it")


def _document(plan: _Plan) -> dict[str, object]:
    spans = plan.found.spans
    return {
        "directory": os.fspath(plan.log),
        "segments": len(spans),
        "first": spans[0].first if spans else None,
        "last": spans[-1].last.sequence if spans else None,
        "octets": sum(span.octets for span in spans),
        "held_by": [hold.id for hold in plan.found.held_by],
    }
