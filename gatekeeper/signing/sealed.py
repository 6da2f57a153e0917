"""Authenticated encryption of single rows (AES-256-GCM), each bound to the place that it belongs to.

Inside holds: the nonce is an argument (96 random bits, never used twice with a key); whoever moves a sealed row to
another place, or changes it, gets nothing out of it.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_OCTETS = 32
NONCE_OCTETS = 12


class SealError(ValueError):
    """It was sealed with another key, for another place, or was changed."""


def derived(key: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose (HKDF-Expand, RFC 5869), so that no two uses meet."""
    return HKDFExpand(hashes.SHA256(), KEY_OCTETS, f"gatekeeper {purpose} v1".encode()).derive(key)


def seal(key: bytes, nonce: bytes, plain: bytes, place: str) -> bytes:
    """`plain`, encrypted and bound to `place`; the nonce comes first."""
    return nonce + AESGCM(key).encrypt(nonce, plain, place.encode())


def unseal(key: bytes, sealed: bytes, place: str) -> bytes:
    """What was sealed for `place`. Raises SealError."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_OCTETS], sealed[NONCE_OCTETS:], place.encode())
    except (InvalidTag, ValueError) as error:
        raise SealError("does not open with this key") from error
