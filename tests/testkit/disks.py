"""System calls for the audit log's writer that fail, stop short or hang when a test says so."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from gatekeeper.adapters.sinks.operations import FileOperations


class FaultyDisk(FileOperations):
    """The real system calls, until told otherwise."""

    def __init__(self) -> None:
        self.syncs = 0
        self.fails_to_sync = False
        self.failures_to_come = 0
        """So many of the next `fdatasync` calls fail."""
        self.fails_to_create = False
        self.fails_to_sync_names = False
        self.room: int | None = None
        """Octets that still fit; None: any number."""
        self.largest_write: int | None = None
        self.gate = threading.Event()
        """While it is not set, `fdatasync` hangs."""
        self.gate.set()
        self.is_hanging = threading.Event()

    def open(self, path: Path, flags: int) -> int:
        if self.fails_to_create and ".jsonl" in path.name and not path.exists():
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().open(path, flags)

    def write(self, fd: int, data: memoryview) -> int:
        if self.largest_write is not None:
            data = data[: self.largest_write]
        room = self.room  # once: the test may make some, or take it, meanwhile
        if room is not None:
            data = data[:room]
            if not data:
                raise OSError(errno.ENOSPC, "no space left on device")
            self.room = room - len(data)
        return super().write(fd, data)

    def fdatasync(self, fd: int) -> None:
        if not self.gate.is_set():
            self.is_hanging.set()
            assert self.gate.wait(30)
        if self.fails_to_sync or self.failures_to_come:
            self.failures_to_come = max(self.failures_to_come - 1, 0)
            raise OSError(errno.EIO, "input/output error")
        self.syncs += 1
        super().fdatasync(fd)

    def sync_directory(self, path: Path) -> None:
        if self.fails_to_sync_names:
            raise OSError(errno.EIO, "input/output error")
        super().sync_directory(path)


class BrokenDisk(FileOperations):
    """Every call that changes something fails, or hangs, as long as a test says so."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.answers = threading.Event()
        """While it is not set, every call hangs."""
        self.answers.set()

    def _change(self) -> None:
        assert self.answers.wait(60)
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))

    def open(self, path: Path, flags: int) -> int:
        self._change()
        return super().open(path, flags)

    def write(self, fd: int, data: memoryview) -> int:
        self._change()
        return super().write(fd, data)

    def fdatasync(self, fd: int) -> None:
        self._change()
        super().fdatasync(fd)

    def truncate(self, fd: int, length: int) -> None:
        self._change()
        super().truncate(fd, length)

    def replace(self, source: Path, target: Path) -> None:
        self._change()
        super().replace(source, target)

    def unlink(self, path: Path) -> None:
        self._change()
        super().unlink(path)

    def sync_directory(self, path: Path) -> None:
        self._change()
        super().sync_directory(path)


class Killed(BaseException):
    """The process is no more."""


class DyingDisk(FileOperations):
    """The process is killed at one call, before it has an effect; a write may get so many octets onto the disk."""

    def __init__(self, calls: int, *, octets: int = 0) -> None:
        self.left = calls
        """Calls that are still done."""
        self._octets = octets
        self.calls: list[str] = []

    def _live(self, call: str) -> None:
        if self.left <= 0:
            raise Killed
        self.left -= 1
        self.calls.append(call)

    def open(self, path: Path, flags: int) -> int:
        self._live("open")
        return super().open(path, flags)

    def write(self, fd: int, data: memoryview) -> int:
        if self.left == 0 and self._octets:
            super().write(fd, data[: self._octets])
        self._live("write")
        return super().write(fd, data)

    def fdatasync(self, fd: int) -> None:
        self._live("fdatasync")
        super().fdatasync(fd)

    def truncate(self, fd: int, length: int) -> None:
        self._live("truncate")
        super().truncate(fd, length)

    def replace(self, source: Path, target: Path) -> None:
        self._live("replace")
        super().replace(source, target)

    def unlink(self, path: Path) -> None:
        self._live("unlink")
        super().unlink(path)

    def sync_directory(self, path: Path) -> None:
        self._live("sync_directory")
        super().sync_directory(path)


class LossyDisk(DyingDisk):
    """With the process the power goes: what was not synced is lost, content as well as names. Call `lose` afterwards."""

    unlinks_are_lost = True

    def __init__(self, calls: int, *, octets: int = 0) -> None:
        super().__init__(calls, octets=octets)
        self._durable: dict[int, bytes] = {}
        """By inode: what the disk has of a file that was written to."""
        self._undo: list[tuple[Path, Callable[[], object]]] = []
        """Changes of names that are not durable yet, with the directory that has to be synced for them."""

    def open(self, path: Path, flags: int) -> int:
        is_new = not path.exists()
        fd = super().open(path, flags)
        if is_new:
            self._undo.append((path.parent, lambda: path.unlink(missing_ok=True)))
        inode = os.fstat(fd).st_ino
        if is_new or flags & os.O_TRUNC:
            self._durable[inode] = b""
        else:
            self._durable.setdefault(inode, path.read_bytes())
        return fd

    def fdatasync(self, fd: int) -> None:
        super().fdatasync(fd)
        self._durable[os.fstat(fd).st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def replace(self, source: Path, target: Path) -> None:
        before = target.read_bytes() if target.exists() else None
        super().replace(source, target)

        def undo() -> None:
            target.replace(source)
            if before is not None:
                target.write_bytes(before)

        self._undo.append((target.parent, undo))

    def unlink(self, path: Path) -> None:
        before = path.read_bytes() if path.exists() else None
        super().unlink(path)
        if before is not None and self.unlinks_are_lost:
            self._undo.append((path.parent, lambda: path.write_bytes(before)))

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        self._undo = [(directory, undo) for directory, undo in self._undo if directory != path]

    def lose(self, directory: Path) -> None:
        """What is left on the disk."""
        for path in directory.rglob("*"):
            durable = self._durable.get(path.stat().st_ino) if path.is_file() else None
            if durable is not None:
                os.truncate(path, 0)
                path.write_bytes(durable)
        for _, undo in reversed(self._undo):
            undo()


class UnevenDisk(LossyDisk):
    """Removals got to the disk before everything else that was not synced."""

    unlinks_are_lost = False
