"""Replacing a file so that the old one or the new one is there at any instant, also when the power goes."""

import os
import secrets
from pathlib import Path

ASIDE = ".new-"


def write_aside(directory: Path, data: bytes) -> Path:
    """A durable file under a name that nobody reads; raises OSError, and leaves nothing then."""
    path = directory / f"{ASIDE}{secrets.token_hex(8)}"
    try:
        with path.open("xb") as stream:
            os.fchmod(stream.fileno(), 0o640)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path


def replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file; durable when it returns."""
    aside = write_aside(path.parent, data)
    try:
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
