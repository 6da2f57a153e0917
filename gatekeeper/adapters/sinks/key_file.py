"""A file that holds one key, whatever its kind: read with care, and made once.

Inside holds: a key is never made over another file, and is its owner's alone; whoever makes it at the same time as
somebody else uses the one that was there first. One that others may read is refused.
"""

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.operations import FileOperations

_TOO_OPEN = 0o037
"""A group may read it (the way credentials are mounted), nobody else may do anything."""

_Key = TypeVar("_Key")


def read_key(path: Path, what: str, most: int) -> bytes | None:
    """Up to `most` octets of the file; None when there is none. `what` names the key in errors ("the signing key").

    Raises:
        AuditLogError: it cannot be read, or is open to others.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(most)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuditLogError(f"{what} `{path}` cannot be read: {error.strerror}") from error
    if mode & _TOO_OPEN:
        raise AuditLogError(f"{what} `{path}` is open to others (mode {mode:04o}): chmod 600")
    return data


def load_or_make(path: Path, what: str, load: Callable[[], _Key | None], content: Callable[[], bytes]) -> _Key:
    """What `load` finds in the file, which is made of `content` when there is none.

    Raises:
        AuditLogError: it cannot be used, or not be made.
    """
    key = load()
    if key is not None:
        return key
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        make_key(path, content())
    except OSError as error:
        raise AuditLogError(f"{what} `{path}` cannot be made: {error.strerror}") from error
    key = load()
    if key is None:
        raise AuditLogError(f"{what} `{path}` was removed again")
    return key


def make_key(path: Path, content: bytes) -> None:
    """Make the file, durably, unless it is there already. Raises OSError."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)  # unlike a rename, never over another key
    finally:
        draft.unlink()
    FileOperations().sync_directory(path.parent)
