"""A secret key of 256 bits in a file of its own, in hexadecimal: what encrypts names, and what is archived.

Inside holds: what `key_file` says.
"""

import secrets
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.key_file import load_or_make, read_key
from gatekeeper.signing.sealed import KEY_OCTETS

_MAX_OCTETS = 1024
_WHAT = "the key"


def load_secret(path: Path) -> bytes | None:
    """The key in the file; None when there is no file.

    Raises:
        AuditLogError: it cannot be used.
    """
    data = read_key(path, _WHAT, _MAX_OCTETS)
    if data is None:
        return None
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
    return load_or_make(path, _WHAT, lambda: load_secret(path), lambda: secrets.token_hex(KEY_OCTETS).encode() + b"\n")
