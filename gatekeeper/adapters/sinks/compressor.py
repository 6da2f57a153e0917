"""The thread that compresses segments which have come to an end.

Inside holds: only segments that have a successor are touched, which nobody writes to any more, and only so long after
their last record as is configured, for whoever follows the files has to read them first; the compressed one is put in
place only after it was read back and has the same octets, and the plain one goes only after that is durable, so that a
crash at any point leaves a log that can be read. It runs at the lowest priority, gives up at every fault, which harms
nobody, and tries again later.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gatekeeper.adapters.sinks import content
from gatekeeper.adapters.sinks.directory import AuditLogDamaged, segment_paths, write_all
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.packed import PackedLines, SegmentDamaged, Table, member_octets, members, pack
from gatekeeper.ports.clock import Clock

_LOWEST = 19
_RETRY_S = 60.0
_LOOK_AGAIN_S = 3600.0
"""For segments that are not old enough, at the latest: the clock may be set, and a thread cannot wait for centuries."""
_SYNCED_OCTETS = 1024 * 1024
"""So much is made durable at a time: a disk that is busy with more makes the log wait."""
_READ_BACK_OCTETS = 256 * 1024


class Compressor:
    """Looks for closed segments whenever it is woken, and compresses them."""

    def __init__(
        self,
        directory: Path,
        files: FileOperations,
        *,
        clock: Clock,
        report: Callable[[str], object],
        retry_s: float = _RETRY_S,
        after_s: float = 0.0,
    ) -> None:
        """`report` is told, once, of each fault; from the thread.

        `after_s`: how long after its last record a segment is compressed, by the dates of the files and `clock`.
        """
        self.failures = 0
        """Segments that could not be compressed; each is tried again."""
        self.done = 0
        """Segments compressed."""
        self._directory = directory
        self._files = files
        self._report = report
        self._retry_s = retry_s
        self._after_s = after_s
        self._clock = clock
        self._fault: str | None = None
        self._woken = threading.Event()
        self._is_ending = False
        self._left_alone: set[Path] = set()
        """Damaged ones, which stay as they are for `audit verify` to find."""
        self._thread = threading.Thread(target=self._run, name="audit-compressor", daemon=True)

    def start(self) -> None:
        """Begin with what is there."""
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """A segment has come to an end."""
        self._woken.set()

    def end(self, timeout_s: float) -> bool:
        """Stop, between two members; False when a disk that hangs did not let it in time."""
        self._is_ending = True
        self._woken.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with suppress(OSError):  # where it may not, it runs like the others
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        timeout_s: float | None = None
        while not self._is_ending:
            self._woken.wait(timeout_s)
            self._woken.clear()
            timeout_s = self._compress_all()

    def _compress_all(self) -> float | None:
        """All closed segments that are old enough; seconds until there is more to do, None: until one ends."""
        is_done = True
        again_s: list[float] = []
        try:
            closed = segment_paths(self._directory)[:-1]
        except OSError:
            return self._retry_s
        for segment in closed:
            if self._is_ending:
                break
            if segment in self._left_alone or not segment.exists():
                continue
            try:
                young_s = self._after_s and segment.stat().st_mtime + self._after_s - self._clock.now().timestamp()
                if young_s > 0:
                    again_s.append(min(young_s, self._after_s, _LOOK_AGAIN_S))  # of one from the future as well
                    continue
                compress(segment, self._files, lambda: not self._is_ending)
            except AuditLogDamaged as error:
                self._left_alone.add(segment)
                self._failed(segment, str(error))
            except OSError as error:
                is_done = False
                self._failed(segment, error.strerror or str(error))
            else:
                self.done += 1
        if is_done:
            self._fault = None
        else:
            again_s.append(self._retry_s)
        return min(again_s, default=None)

    def _failed(self, segment: Path, why: str) -> None:
        self.failures += 1
        fault = f"a segment of the audit log cannot be compressed: `{segment}`: {why}"
        if fault != self._fault:
            self._report(fault)
        self._fault = fault


def compress(segment: Path, files: FileOperations, goes_on: Callable[[], bool] = lambda: True) -> None:
    """Put a compressed segment in the place of a plain one, which must not be written to any more.

    Ends early, with the plain one in place, when `goes_on` says so.

    Raises:
        OSError: it cannot be written.
        SegmentDamaged: it does not consist of lines, or was not read back as it was written.
    """
    draft = content.draft(segment)
    try:
        digest = _write(segment, draft, files, goes_on)
        if digest is None or not goes_on():
            return
        if _digest_of(draft) != digest:
            raise SegmentDamaged("what was written is not what is read back")
        files.replace(draft, content.packed(segment))
        files.sync_directory(segment.parent)
        files.unlink(segment)
        files.sync_directory(segment.parent)
    finally:
        with suppress(OSError):
            files.unlink(draft)


def _write(segment: Path, draft: Path, files: FileOperations, goes_on: Callable[[], bool]) -> bytes | None:
    """Write the draft, durably; the SHA-256 of the lines, None when it ended early."""
    digest, table, unsynced = hashlib.sha256(), Table(), 0
    with segment.open("rb") as lines:
        octets = member_octets(os.fstat(lines.fileno()).st_size)
        fd = files.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            for block in members(lines, octets):
                if not goes_on():
                    return None
                digest.update(block)
                member = pack(block)
                table.add(member, len(block))
                write_all(fd, member, files)
                unsynced += len(member)
                if unsynced >= _SYNCED_OCTETS:
                    files.fdatasync(fd)
                    unsynced = 0
            write_all(fd, table.directory(), files)
            files.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # it is read back from the disk
        finally:
            files.close(fd)
    return digest.digest()


def _digest_of(draft: Path) -> bytes:
    digest = hashlib.sha256()
    with PackedLines.open(draft) as lines:
        while block := lines.read(_READ_BACK_OCTETS):
            digest.update(block)
    return digest.digest()
