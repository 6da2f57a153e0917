"""A secret key of 256 bits in a file of its own, in hexadecimal: what encrypts names, and what is archived.

Inside holds: a key is made once, never over another file, and is its owner's alone; whoever makes it at the same time
as somebody else uses the one that was there first.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.signing.sealed import KEY_OCTETS

_MAX_OCTETS = 1024
_TOO_OPEN = 0o037
"""A group may read it (the way credentials are mounted), nobody else may do anything."""


def load_secret(path: Path) -> bytes | None:
    """The key in the file; None when there is no file.

    Raises:
        AuditLogError: it cannot be used.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_MAX_OCTETS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuditLogError(f"the key `{path}` cannot be read: {error.strerror}") from error
    if mode & _TOO_OPEN:
        raise AuditLogError(f"the key `{path}` is open to others (mode {mode:04o}): chmod 600")
    try:
        key = bytes.fromhex(data.decode("ascii"))
    except ValueError as error:
        raise AuditLogError(f"`{path}` holds no key: 64 hexadecimal digits") from error
    if len(key) != KEY_OCTETS:
        raise AuditLogError(f"`{path}` holds no key: 64 hexadecimal digits")
    return key


def load_or_make_secret(path: Path) -> bytes:
    """The key in the file, made when there is none, durably and for its owner alone.

    Raises:
        AuditLogError: it cannot be used, or not be made.
    """
    key = load_secret(path)
    if key is not None:
        return key
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _make(path)
    except OSError as error:
        raise AuditLogError(f"the key `{path}` cannot be made: {error.strerror}") from error
    key = load_secret(path)
    if key is None:
        raise AuditLogError(f"the key `{path}` was removed again")
    return key


def _make(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_hex(KEY_OCTETS).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)  # unlike a rename, never over another key
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
