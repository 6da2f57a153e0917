"""Sealed rows open with their key, in their place, unchanged, and not otherwise."""

import pytest

from gatekeeper.signing.sealed import SealError, derived, seal, unseal

KEY, NONCE = b"k" * 32, b"n" * 12


def test_what_was_sealed_opens() -> None:
    """And does not show what it is."""
    sealed = seal(KEY, NONCE, b"alice@example.com", "row 1")
    assert unseal(KEY, sealed, "row 1") == b"alice@example.com"
    assert b"alice" not in sealed


@pytest.mark.parametrize(
    ("key", "change", "place"),
    [
        (b"o" * 32, 0, "row 1"),
        (KEY, 0, "row 2"),
        (KEY, 1, "row 1"),
        (KEY, -1, "row 1"),
    ],
)
def test_nothing_else_opens(key: bytes, change: int, place: str) -> None:
    """Another key, another place, another octet, a part."""
    sealed = bytearray(seal(KEY, NONCE, b"alice@example.com", "row 1"))
    if change:
        sealed[change] ^= 1
    with pytest.raises(SealError):
        unseal(key, bytes(sealed), place)
    with pytest.raises(SealError):
        unseal(KEY, bytes(sealed[:10]), "row 1")


def test_each_purpose_has_its_own_key() -> None:
    """Neither tells of the other."""
    assert len({derived(KEY, "a"), derived(KEY, "b"), derived(b"o" * 32, "a"), KEY}) == 4
    assert len(derived(KEY, "a")) == 32
