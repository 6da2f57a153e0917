"""ALPN: who wants another protocol is known by what was selected for it."""

import pytest

from gatekeeper.net.alpn import FOREIGN, is_foreign, preference


@pytest.mark.parametrize("own", ["imap", "smtp", "pop3", "managesieve"])
def test_our_own_protocol_is_preferred_and_stands_once(own: str) -> None:
    """OpenSSL selects by this order."""
    names = preference(own)
    assert names[0] == own
    assert len(names) == len(set(names)) == len(FOREIGN)


def test_only_a_selected_other_protocol_is_foreign() -> None:
    """Most phones offer nothing."""
    assert is_foreign("h2", "imap")
    assert not is_foreign("imap", "imap")
    assert not is_foreign(None, "imap")


def test_every_name_fits_on_the_wire() -> None:
    """An octet for the length of each (RFC 7301 §3.1)."""
    assert all(0 < len(name.encode("ascii")) < 256 for name in FOREIGN)
