"""A signed log whose first segment was pruned."""

from pathlib import Path

from gatekeeper.adapters.sinks.directory import note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.event import Event, EventCode
from testkit.audit_log import ORIGIN, chained, event, head_of, log_of, write_segments
from testkit.merkle import sign_log

COUNT = 900
FIRST_KEPT = 300


def pruning(first_kept: int, last_sha256: str) -> Event:
    """What is recorded before segments are removed."""
    facts: dict[str, str | int] = {"first": 0, "last": first_kept - 1, "first_kept": first_kept}
    return event(
        code=EventCode.LOG_PRUNED,
        connection=None,
        decision=None,
        account=None,
        message="",
        detail={**facts, "last_sha256": last_sha256, "retention": "400d"},
    )


def pruned_lines(first_kept: int = FIRST_KEPT) -> list[bytes]:
    """All lines there ever were; the last one says that those before `first_kept` go."""
    lines = log_of(COUNT)
    return [*lines, *chained([pruning(first_kept, head_of(lines[:first_kept]).sha256)], after=head_of(lines))]


def write_pruned(directory: Path, lines: list[bytes] | None = None) -> None:
    """The log without its first 300 records, signed as a whole."""
    lines = lines or pruned_lines()
    paths = write_segments(directory, lines[:300], lines[300:600], lines[600:])
    note_head(directory, head_of(lines), ORIGIN, FileOperations())
    sign_log(directory)
    paths[0].unlink()
