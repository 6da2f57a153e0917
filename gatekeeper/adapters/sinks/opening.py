"""Finding the end of a log before it is written to: is it whole, and where does the next record go?

Inside holds: the whole last segment is verified, and its link to the one before; what is cut off was never
acknowledged (a last line without newline, or one that is no record); everything else that is wrong is an error, never
repaired. A log that lies behind its noted head is an error as well: continuing it would hide what is missing.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.adapters.sinks.directory import RESTORED, AuditLogDamaged, read_head, segment_paths
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.reader import last_line, pieces
from gatekeeper.audit import stored
from gatekeeper.audit.chain import verify
from gatekeeper.audit.report import Head, Kind, Report

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Cut:
    """Octets that were cut off the end of a segment."""

    segment: str
    offset: int
    length: int
    sha256: str

    def detail(self) -> Mapping[str, str | int]:
        """As facts of a record."""
        return {
            "segment": self.segment,
            "offset": self.offset,
            "cut_length": self.length,
            "cut_sha256": self.sha256,
        }


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a log ends."""

    last: Head | None
    """None: the log is empty."""
    cuts: tuple[Cut, ...]


def find_ending(directory: Path, origin: str, files: FileOperations) -> Ending:
    """Verify the end of the log and cut off what was never acknowledged.

    Raises:
        AuditLogDamaged: it is not whole; the text names segment and line.
    """
    head = read_head(directory)
    segments = segment_paths(directory)
    cuts: list[Cut] = []
    last: Head | None = None
    while segments and last is None:
        segment = segments.pop()
        report = _verify_segment(segment, segments[-1] if segments else None, origin, head)
        good_end = _unacknowledged_from(report)
        last = report.last
        if good_end is not None:
            if last is not None and head is not None and last.sequence < head.sequence:
                break
            cuts.append(tail_of(segment, good_end))
            cut_off(segment, good_end, files)
        if last is None:
            files.unlink(segment)
    if head is not None and (last is None or last.sequence < head.sequence):
        end = "is empty" if last is None else f"ends with record {last.sequence}"
        raise AuditLogDamaged(
            f"the audit log in `{directory}` {end}, but `head.json` knows record {head.sequence}. {RESTORED}"
        )
    return Ending(last, tuple(cuts))


def tail_of(segment: Path, offset: int) -> Cut:
    """What is to be cut off a segment from that offset on."""
    digest = hashlib.sha256()
    count = 0
    with segment.open("rb") as file:
        file.seek(offset)
        while block := file.read(_BLOCK):
            digest.update(block)
            count += len(block)
    return Cut(segment.name, offset, count, digest.hexdigest())


def cut_off(segment: Path, length: int, files: FileOperations) -> None:
    """Cut a segment to `length` octets, durably."""
    fd = files.open(segment, os.O_RDWR)
    try:
        files.truncate(fd, length)
        files.fdatasync(fd)
    finally:
        files.close(fd)


def _verify_segment(segment: Path, before: Path | None, origin: str, head: Head | None) -> Report:
    """Verify one segment as the continuation of the one before."""
    start: Head | None = None
    line = None if before is None else last_line(before)
    if before is not None and line is not None:
        try:
            start = Head(stored.read(line).sequence, hashlib.sha256(line.removesuffix(b"\n")).hexdigest())
        except ValueError as error:
            raise AuditLogDamaged(f"the audit log is damaged: {before.name}, last line: {error}") from error
    report = verify([(segment.name, pieces(segment))], start=start, head=head)
    if report.log is not None and report.log != origin:
        raise AuditLogDamaged(f"`{segment.parent.parent}` holds the audit log `{report.log}`, not `{origin}`")
    return report


def _unacknowledged_from(report: Report) -> int | None:
    """The offset from which the segment's end was never acknowledged; None when it is whole.

    A log that ends before its head is left to the caller, who knows what lies before this segment.

    Raises:
        AuditLogDamaged: something before the last line is wrong.
    """
    findings = [finding for finding in report.findings if finding.kind is not Kind.TRUNCATED]
    if not findings:
        return None if report.torn is None else report.torn.place.offset
    first = findings[0]
    is_last_line = first.place is not None and first.place.line == report.last_line and report.torn is None
    if first.kind is Kind.UNREADABLE and is_last_line and first.place is not None:
        return first.place.offset
    raise AuditLogDamaged(f"the audit log is damaged and is not continued: {first}")
