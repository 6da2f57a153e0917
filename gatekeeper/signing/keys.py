"""Key files: an Ed25519 private key as PKCS #8 PEM, always locked by a passphrase, with its verifier key above it.

The line above the PEM block (RFC 7468 section 2 lets text stand there) names the key, so that it can be shown without
the passphrase; unlocking checks that it belongs to the private key.
"""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gatekeeper.signing.note import NoteError, SigningKey, VerifierKey

MIN_PASSPHRASE = 12
MAX_KEY_FILE_OCTETS = 16_384
_PREFIX = "verifier key: "


class KeyFileError(ValueError):
    """A key file that cannot be read, or not with that passphrase."""


def locked(key: SigningKey, passphrase: bytes) -> bytes:
    """The key file; raises KeyFileError for a passphrase that is too short."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise KeyFileError(f"the passphrase is shorter than {MIN_PASSPHRASE} octets")
    pem = key.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    return f"{_PREFIX}{key.verifier}\n".encode() + pem


def unlocked(data: bytes, passphrase: bytes) -> SigningKey:
    """The private key of a key file; raises KeyFileError."""
    verifier = shown(data)
    pem = data[data.index(b"-----BEGIN") :]
    if b"ENCRYPTED" not in pem.partition(b"\n")[0]:
        raise KeyFileError("holds a private key without a passphrase: make a new one with `gatekeeper policy key new`")
    try:
        private = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError) as error:
        raise KeyFileError("cannot be unlocked: wrong passphrase, or the file is damaged") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError("is not an Ed25519 key")
    key = SigningKey(verifier.name, private)
    if key.verifier != verifier:
        raise KeyFileError("its first line names another key than the one it holds")
    return key


def shown(data: bytes) -> VerifierKey:
    """The verifier key of a key file, without unlocking it; raises KeyFileError."""
    if len(data) > MAX_KEY_FILE_OCTETS:
        raise KeyFileError("is too large for a key file")
    head, separator, _ = data.partition(b"-----BEGIN")
    try:
        line = head.decode("utf-8").strip()
        if not separator or not line.startswith(_PREFIX):
            raise KeyFileError(f"is no key file: it does not begin with `{_PREFIX.strip()}`")
        return VerifierKey.parse(line.removeprefix(_PREFIX))
    except UnicodeDecodeError as error:
        raise KeyFileError("is no key file") from error
    except NoteError as error:
        raise KeyFileError(f"its first line {error}") from error
