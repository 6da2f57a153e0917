"""What is kept of an ID command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.protocols.imap.client_id import MAX_OCTETS, described


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ((b"name", b"com.apple.email.maild", b"os-version", b"18.0"), "name=com.apple.email.maild; os-version=18.0"),
        ((b"name", None, b"version", b"1"), "version=1"),
        ((b"x-originating-ip", b"10.0.0.1", b"X-Session-Id", b"s", b"name", b"m"), "name=m"),
        ((b" x-connected-ip", b"10.0.0.1"), ""),
        ((b"name", b'a;b\r\nc"\xff\0'), 'name=a,b??c"??'),
        ((), ""),
    ],
    ids=["D02", "D05", "D06-private-keys", "D06-space", "control", "empty"],
)
def test_what_is_kept(fields: tuple[bytes | None, ...], hint: str) -> None:
    """Clean text, without what proxies tell mail servers."""
    assert described(fields) == hint


@given(st.lists(st.tuples(st.binary(max_size=400), st.none() | st.binary(max_size=400)), max_size=30))
def test_a_hint_is_short_and_printable(pairs: list[tuple[bytes, bytes | None]]) -> None:
    """Whatever the client says."""
    hint = described([item for pair in pairs for item in pair])
    assert len(hint) <= MAX_OCTETS
    assert hint.isascii()
    assert hint.isprintable()
    assert "; x-" not in f"; {hint.lower()}"
