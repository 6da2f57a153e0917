"""A directory of published bundles, one file for each version, and small files of state beside them.

Inside holds: a version appears whole and durable or not at all (written aside, synced, linked to its name, directory
synced), and is never replaced; of several publishers one is first. What is here is not believed: who reads it verifies
it. Other processes learn of a change by `stamp`.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatekeeper.adapters.bundles.durable import ASIDE, replace, sync_directory, write_aside
from gatekeeper.publishing.bundle import MAX_BUNDLE_OCTETS

ROLLOUT_FILE = "rollout.json"
MAX_STATE_OCTETS = 1_048_576

_NAME = re.compile(r"([0-9]{10})\.bundle", re.ASCII)
_LOCK = "lock"

Stamp = tuple[object, ...]
"""Equal as long as nothing changed."""


class VersionTaken(Exception):
    """That version, or a newer one, is already published."""


class BundleStore:
    """The directory. Every call blocks on the disk and raises OSError when that cannot be done."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def stamp(self) -> Stamp:
        """Which versions there are, and which files of state."""
        found: list[object] = []
        for entry in self._entries():
            if _NAME.fullmatch(entry.name):
                found.append(entry.name)
            elif entry.name == ROLLOUT_FILE:
                facts = entry.stat()
                found.append((entry.name, facts.st_ino, facts.st_mtime_ns, facts.st_size))
        return tuple(sorted(found, key=str))

    def versions(self) -> tuple[int, ...]:
        """The published versions, rising; none when there is no directory yet."""
        names = (_NAME.fullmatch(entry.name) for entry in self._entries())
        return tuple(sorted(int(name[1]) for name in names if name))

    def read(self, version: int) -> bytes:
        """The octets of a version, at most one more than a bundle can have."""
        return self._read(self._path(version), MAX_BUNDLE_OCTETS)

    def publish(self, version: int, data: bytes) -> None:
        """Put a version in its place; raises VersionTaken unless it is higher than every other."""
        with self.locked():
            newest = max(self.versions(), default=0)
            if version <= newest:
                raise VersionTaken(f"version {newest} is already published: versions only rise")
            self._sweep()
            aside = write_aside(self.directory, data)
            try:
                os.link(aside, self._path(version))  # unlike a rename, never replaces
            finally:
                aside.unlink()
            sync_directory(self.directory)

    def read_state(self, name: str) -> bytes | None:
        """A file of state; None when there is none."""
        try:
            return self._read(self.directory / name, MAX_STATE_OCTETS)
        except FileNotFoundError:
            return None

    def write_state(self, name: str, data: bytes | None) -> None:
        """Replace a file of state, or remove it; within `locked`."""
        path = self.directory / name
        if data is not None:
            replace(path, data)
            return
        path.unlink(missing_ok=True)
        sync_directory(self.directory)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time; the kernel lets go when a process dies. Makes the directory when there is none."""
        self.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, version: int) -> Path:
        return self.directory / f"{version:010}.bundle"

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.directory) as entries:
                return list(entries)
        except FileNotFoundError:
            return []

    def _read(self, path: Path, limit: int) -> bytes:
        with path.open("rb") as stream:
            return stream.read(limit + 1)

    def _sweep(self) -> None:
        """Remove what publishers left that died; the lock keeps those away that live."""
        for entry in self._entries():
            if entry.name.startswith(ASIDE):
                Path(entry.path).unlink(missing_ok=True)
