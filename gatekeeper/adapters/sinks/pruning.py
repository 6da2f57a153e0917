"""Legal holds, and the removal of segments that are older than the retention.

    holds.json        in the audit directory: the holds in force, for all logs in it
    holds.lock        held by whoever changes them, or prunes

Inside holds: a segment is removed as a whole, the oldest first, so that what is left after a crash is a log that begins
later; the open segment, and what the signed head is continued from, is never removed. Tiles stay.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gatekeeper.adapters.sinks import content
from gatekeeper.adapters.sinks.directory import AuditLogDamaged, AuditLogError, segment_paths
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.reader import last_line, pieces
from gatekeeper.adapters.sinks.tiles import hashes_at, put
from gatekeeper.audit.checkpoint import Checkpoint
from gatekeeper.audit.proof import range_hash
from gatekeeper.audit.report import Head
from gatekeeper.audit.retention import MAX_HOLDS, Hold, Prunable, Span, dump_holds, parse_holds, prunable
from gatekeeper.audit.stored import read
from gatekeeper.audit.tree import TILE_WIDTH

_MAX_OCTETS = 4 * 1024 * 1024


@contextmanager
def holding(directory: Path) -> Iterator[None]:
    """Be the only one who changes holds or prunes.

    Raises:
        AuditLogError: somebody else does.
    """
    fd = os.open(directory / "holds.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise AuditLogError(f"another command changes the holds of `{directory}`, or prunes it: try again") from error
    try:
        yield
    finally:
        os.close(fd)


def read_holds(directory: Path) -> tuple[Hold, ...]:
    """The holds in force.

    Raises:
        AuditLogError: the file is there and cannot be understood.
    """
    path = directory / "holds.json"
    try:
        with path.open("rb") as file:
            return parse_holds(file.read(_MAX_OCTETS))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise AuditLogError(f"`{path}` cannot be read: {error}") from error


def write_holds(directory: Path, holds: Sequence[Hold], files: FileOperations) -> None:
    """Put the holds down, durably."""
    if len(holds) > MAX_HOLDS:
        raise AuditLogError(f"there are {MAX_HOLDS} legal holds already")
    put(directory / "holds.json", dump_holds(holds), files, is_durable=True)
    files.sync_directory(directory)


def closed_spans(log: Path) -> Iterator[Span]:
    """Its closed segments, in order.

    Raises:
        AuditLogDamaged: one does not begin and end with records.
    """
    for path in segment_paths(log)[:-1]:
        last = last_line(path) or b""
        try:
            begins, ends = read(next(pieces(path), b"")), read(last)
        except ValueError as error:
            raise AuditLogDamaged(f"`{path}`: {error}; `gatekeeper audit verify` says more") from error
        yield Span(
            name=path.name,
            octets=content.room(path),
            first=begins.sequence,
            last=Head(ends.sequence, hashlib.sha256(last.removesuffix(b"\n")).hexdigest()),
            first_ms=begins.time_ms,
            last_ms=ends.time_ms,
        )


def prunable_of(log: Path, checkpoint: Checkpoint | None, *, before_ms: int, holds: Sequence[Hold]) -> Prunable:
    """What may go of a log. Raises AuditLogDamaged."""
    size = 0 if checkpoint is None else checkpoint.size
    # The tree is resumed at the last whole tile before the end: the lines from there on are read at the next start.
    needed_from = (size - 1) // TILE_WIDTH * TILE_WIDTH if size else 0
    return prunable(tuple(closed_spans(log)), before_ms=before_ms, holds=holds, needed_from=needed_from)


def tree_root(log: Path, checkpoint: Checkpoint, size: int) -> bytes:
    """The root over the first `size` records, by the tiles. Raises AuditLogError when one is missing."""
    return range_hash(0, size, hashes_at(log, checkpoint.size))


def remove(log: Path, spans: Sequence[Span], files: FileOperations) -> None:
    """Remove segments, the oldest first."""
    for span in spans:
        content.remove(log / "segments" / span.name, files)
        files.sync_directory(log / "segments")
