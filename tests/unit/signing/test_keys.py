"""Key files: locked, shown without unlocking, and never believed for what their first line says."""

import pytest
from cryptography.hazmat.primitives import serialization

from gatekeeper.signing.keys import KeyFileError, locked, shown, unlocked
from testkit.publishing import MALLORY, RUIZ

PASSPHRASE = b"correct horse battery"


@pytest.fixture(scope="module")
def data() -> bytes:
    """RUIZ's key file."""
    return locked(RUIZ, PASSPHRASE)


def test_a_key_file_opens_with_its_passphrase(data: bytes) -> None:
    """The same key again; without the passphrase only the public half."""
    assert unlocked(data, PASSPHRASE).verifier == RUIZ.verifier
    assert shown(data) == RUIZ.verifier
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in data


@pytest.mark.parametrize("passphrase", [b"", b"wrong passphrase"])
def test_another_passphrase_does_not(data: bytes, passphrase: bytes) -> None:
    """Told as one of two causes: they cannot be told apart."""
    with pytest.raises(KeyFileError, match="wrong passphrase, or the file is damaged"):
        unlocked(data, passphrase)


def test_a_short_passphrase_is_refused() -> None:
    """The file may be stolen: its passphrase is all that keeps it."""
    with pytest.raises(KeyFileError, match="shorter than 12"):
        locked(RUIZ, b"hunter2")


def test_the_first_line_must_be_the_keys_own(data: bytes) -> None:
    """Somebody else's name above a key is found out when it is unlocked."""
    swapped = data.replace(str(RUIZ.verifier).encode(), str(MALLORY.verifier).encode())

    with pytest.raises(KeyFileError, match="names another key"):
        unlocked(swapped, PASSPHRASE)


def test_a_key_without_a_passphrase_is_refused() -> None:
    """It has lain about in clear."""
    clear = RUIZ.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(KeyFileError, match="without a passphrase"):
        unlocked(f"verifier key: {RUIZ.verifier}\n".encode() + clear, PASSPHRASE)


@pytest.mark.parametrize(
    "broken", [b"", b"-----BEGIN X", b"verifier key: nonsense\n-----BEGIN X", b"\xff-----BEGIN", b"x" * 20_000]
)
def test_what_is_no_key_file_is_refused(broken: bytes) -> None:
    """With a reason, not with a trace."""
    with pytest.raises(KeyFileError):
        unlocked(broken, PASSPHRASE)
