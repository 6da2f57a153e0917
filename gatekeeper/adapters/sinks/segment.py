"""One segment file as its writer sees it.

Inside holds: `durable` counts only octets that an `fdatasync` answered for, in a file that whoever looks for the log
will find: one that was removed or moved away takes records like any other, and they are gone with it. After the first
error nothing is tried on the same descriptor again. Linux may forget dirty pages that it could not write and report
success the next time (the reason why PostgreSQL stops in that case), so a second try proves nothing.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

from gatekeeper.adapters.sinks.directory import write_all
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.report import Head


class Segment:
    """An open segment."""

    def __init__(self, path: Path, fd: int, begun: float, start: Head | None, files: FileOperations) -> None:
        self.path = path
        self.begun = begun
        """Monotonic time of its creation."""
        self.start = start
        """The record before its first one."""
        self.durable = 0
        """Octets that are on the disk for certain."""
        self.has_failed = False
        self._fd = fd
        self._files = files
        self._name = str(path)
        self._identity = files.identity(fd)

    @classmethod
    def create(cls, path: Path, *, begun: float, start: Head | None, files: FileOperations) -> "Segment":
        """A new, empty one, its name durable."""
        fd = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            files.sync_directory(path.parent)
        except OSError:
            files.close(fd)
            files.unlink(path)
            raise
        return cls(path, fd, begun, start, files)

    def append(self, data: bytes) -> None:
        """Write and make durable."""
        try:
            write_all(self._fd, data, self._files)
            self._files.fdatasync(self._fd)
            self._check_name()
        except OSError:
            self.has_failed = True
            self.close()
            raise
        self.durable += len(data)

    def _check_name(self) -> None:
        if self._files.identity(self._name) != self._identity:
            raise OSError(errno.ESTALE, "another file has taken its place")

    def close(self) -> None:
        """Give the descriptor back; what matters was made durable before, so an error here changes nothing."""
        if self._fd >= 0:
            with suppress(OSError):
                self._files.close(self._fd)
            self._fd = -1
