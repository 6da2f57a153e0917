"""The audit directory: what lies in it under which name.

    lock                                         held by the one process that writes (flock)
    head.json                                    number and SHA-256 of a durable record, at most a second old
    holds.json  holds.lock                       legal holds, as `pruning` says
    segments/<first sequence, 20 digits>-<UTC>.jsonl   the log; names sort in the order of the records; `.gz` behind it
                                                 when it is compressed, as `content` says

    tile/  checkpoint                            the Merkle log over the same lines, as `tiles` says
    signing.key                                  the key that signs it, unless the configuration has it elsewhere

Inside holds: reading never takes the lock and never writes.
"""

import fcntl
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.report import Head

RESTORED = (
    "If it was restored from a backup, it must not be continued, for it would contradict what was signed: move the "
    "directory away, keep it, and begin a new log, with another `audit.origin` and an empty `audit.directory`"
)
"""What the operator is to do with a log that lies behind what is known of it."""

_SEGMENT = re.compile(r"\d{20}-(\d{8}T\d{6}Z)\.jsonl", re.ASCII)
_TIME = "%Y%m%dT%H%M%SZ"
_MAX_HEAD = 4096  # octets; it has about 200


class AuditLogError(Exception):
    """The log cannot be opened or used as it is; the text tells the operator why."""


class AuditLogLocked(AuditLogError):
    """Another process writes this log."""


class AuditLogDamaged(AuditLogError):
    """What was recorded is no longer there as it was recorded."""


def segment_paths(directory: Path) -> list[Path]:
    """The segments in the order of their records, each by its plain name, also where it is compressed."""
    segments = directory / "segments"
    try:
        # Twice: one that gets compressed while the names are read can be missed once, under either name.
        names = {path.name.removesuffix(".gz") for _ in range(2) for path in segments.iterdir()}
    except FileNotFoundError:
        return []
    return [segments / name for name in sorted(names) if _SEGMENT.fullmatch(name)]


def first_sequence(directory: Path) -> int:
    """Number of the record that the log begins with: 0 unless it was pruned, or something is missing."""
    segments = segment_paths(directory)
    return int(segments[0].name[:20]) if segments else 0


def segment_path(directory: Path, first_sequence: int, now: datetime) -> Path:
    """Where the segment that begins with `first_sequence` belongs."""
    return directory / "segments" / f"{first_sequence:020d}-{now.astimezone(UTC).strftime(_TIME)}.jsonl"


def began(segment: Path) -> datetime:
    """When the segment was begun, by the writer's clock."""
    match = _SEGMENT.fullmatch(segment.name)
    if match is None:
        raise ValueError(f"`{segment.name}` is no name of a segment")
    return datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)


def lock(directory: Path) -> int:
    """Become the one writer; the lock lasts as long as the returned descriptor is open.

    Raises:
        AuditLogLocked: another process is.
    """
    path = directory / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        who = f"process {holder}" if holder.isdecimal() else "another process"
        raise AuditLogLocked(f"{who} writes the audit log in `{directory}` already") from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
    return fd


def read_head(directory: Path) -> Head | None:
    """The noted head; None when there is none.

    Raises:
        AuditLogDamaged: it cannot be read.
    """
    path = directory / "head.json"
    try:
        with path.open("rb") as file:
            document: object = json.loads(file.read(_MAX_HEAD))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise AuditLogDamaged(f"`{path}` cannot be read") from error
    if isinstance(document, dict):
        sequence, sha256 = document.get("sequence"), document.get("sha256")
        if isinstance(sequence, int) and not isinstance(sequence, bool) and isinstance(sha256, str):
            return Head(sequence, sha256)
    raise AuditLogDamaged(f"`{path}` does not hold a sequence and a SHA-256")


def note_head(directory: Path, head: Head, origin: str, files: FileOperations) -> None:
    """Put `head` down atomically and durably."""
    document = {"v": 1, "log": origin, "sequence": head.sequence, "sha256": head.sha256}
    path = directory / "head.json.new"
    fd = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(fd, json.dumps(document).encode() + b"\n", files)
        files.fdatasync(fd)
    finally:
        files.close(fd)
    files.replace(path, directory / "head.json")


def write_all(fd: int, data: bytes, files: FileOperations) -> None:
    """Write all of `data`, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[files.write(fd, view) :]
