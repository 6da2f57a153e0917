"""The key that signs an audit log's checkpoints: an Ed25519 private key as PKCS #8 PEM, which `openssl pkey` reads.

It signs once a second without anybody there, so no passphrase locks it; the file is its owner's alone. For a while
after it was changed the one before, `<file>.before`, signs as well.

Inside holds: what `key_file` says.
"""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.key_file import load_or_make, make_key, read_key
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.signing.note import NoteError, SigningKey

_MAX_OCTETS = 16_384
_WHAT = "the signing key"


def key_of(directory: Path, path: Path, origin: str) -> SigningKey:
    """The key of the log in a directory, made when the log was never signed.

    Raises:
        AuditLogError: it is gone, or cannot be used or made.
    """
    if not (directory / "checkpoint").exists():
        return load_or_make_key(path, origin)
    key = load_key(path, origin)
    if key is None:
        raise AuditLogError(
            f"the signing key `{path}` is gone, though it has signed the log in `{directory}`: put it back, or begin a "
            "new log, with another `audit.origin` and an empty `audit.directory`"
        )
    return key


def keys_of(directory: Path, path: Path, origin: str) -> tuple[SigningKey, ...]:
    """The keys of the log in a directory, the newest first: one, or two in the time after a change.

    Raises:
        AuditLogError: as `key_of`.
    """
    key, older = key_of(directory, path, origin), load_key(before(path), origin)
    return (key,) if older is None or older.verifier == key.verifier else (key, older)


def before(path: Path) -> Path:
    """Where the key lies that was in `path` before the last change."""
    return path.with_name(f"{path.name}.before")


def rotate(path: Path, name: str) -> SigningKey:
    """Put a new key in the place of the one in the file, which stays beside it and signs as well; returns the new one.

    Raises:
        AuditLogError: there is no key, the one before was not retired yet, or the files cannot be written.
    """
    key = load_key(path, name)
    if key is None:
        raise AuditLogError(f"there is no signing key `{path}` to change; the gate makes it at its first start")
    older = load_key(before(path), name)
    if older is not None and older.verifier != key.verifier:
        raise AuditLogError(f"`{before(path)}` signs as well, since the last change: retire it first")
    draft = path.with_name(f"{path.name}.next")
    try:
        draft.unlink(missing_ok=True)
        make_key(draft, _new_pem())
        found = path.stat()  # whoever reads the old one has to read the new one, also when root changes it
        os.chown(draft, found.st_uid, found.st_gid)
        draft.chmod(stat.S_IMODE(found.st_mode))
        if older is None:
            before(path).hardlink_to(path)  # interrupted here, both are one key
        draft.replace(path)
        FileOperations().sync_directory(path.parent)
    except OSError as error:
        raise AuditLogError(f"the signing key `{path}` cannot be changed: {error.strerror}") from error
    made = load_key(path, name)
    if made is None:
        raise AuditLogError(f"the signing key `{path}` was removed")
    return made


def retire(path: Path) -> None:
    """Remove the key that was there before; from the next start or reload only the new one signs.

    Raises:
        AuditLogError: it cannot be removed.
    """
    try:
        before(path).unlink(missing_ok=True)
        FileOperations().sync_directory(path.parent)
    except OSError as error:
        raise AuditLogError(f"the signing key `{before(path)}` cannot be removed: {error.strerror}") from error


def load_key(path: Path, name: str) -> SigningKey | None:
    """The key in the file, under the name of the log; None when there is no file.

    Raises:
        AuditLogError: it cannot be used.
    """
    data = read_key(path, _WHAT, _MAX_OCTETS)
    if data is None:
        return None
    try:
        private = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise AuditLogError(f"`{path}` holds no private key in PEM without a passphrase") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise AuditLogError(f"`{path}` holds no Ed25519 key")
    return _named(name, private)


def load_or_make_key(path: Path, name: str) -> SigningKey:
    """The key in the file, made when there is none, durably and for its owner alone.

    Raises:
        AuditLogError: it cannot be used, or not be made.
    """
    return load_or_make(path, _WHAT, lambda: load_key(path, name), _new_pem)


def _new_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _named(name: str, private: Ed25519PrivateKey) -> SigningKey:
    key = SigningKey(name, private)
    try:
        _ = key.verifier
    except NoteError as error:
        raise AuditLogError(f"`audit.origin` names the key that signs the log, and {error}") from error
    return key
