"""The system calls of the audit log's writer, as one object, so that a test can make any of them fail or hang.

Inside holds: every method is one call of the operating system and raises `OSError` as that does.
"""

import os
from pathlib import Path


class FileOperations:
    """The real ones."""

    def open(self, path: Path, flags: int) -> int:
        """Open for this user and group only: the log says who reads mail where."""
        return os.open(path, flags | os.O_CLOEXEC, 0o640)

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of `data`; returns how many octets."""
        return os.write(fd, data)

    def fdatasync(self, fd: int) -> None:
        """Make content and length of the file durable."""
        os.fdatasync(fd)

    def identity(self, file: int | str) -> tuple[int, int]:
        """Which file a descriptor or a path leads to."""
        found = os.stat(file)  # noqa: PTH116  also of a descriptor; a text, for this is asked for every batch
        return found.st_dev, found.st_ino

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file."""
        os.ftruncate(fd, length)

    def close(self, fd: int) -> None:
        """Close the file."""
        os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Put `source` in the place of `target`, atomically."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove the file, if it is there."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
