"""Which sessions pass through a screen, and what it does."""

import pytest

from gatekeeper.protocols.imap.screen import ListScreen, logged_in


@pytest.mark.parametrize("offered", [(), ("IMAP4rev1", "IDLE", "COMPRESS=DEFLATE", "X-AUTH=Y")])
def test_most_sessions_are_relayed_unread(offered: tuple[str, ...]) -> None:
    """A server that offers nothing of the kind costs nothing."""
    assert logged_in("hi", offered).screen is None


@pytest.mark.parametrize("word", ["LOGIN-REFERRALS", "auth=PLAIN", "LoginDisabled", "MAILBOX-REFERRALS"])
def test_what_is_hidden_at_the_log_in_is_hidden_later(word: str) -> None:
    """In what stands behind the answer to the log-in, and in answer to a later command."""
    screen = logged_in("hi", ("IMAP4rev1", word)).screen
    assert isinstance(screen, ListScreen)
    listed = f"* CAPABILITY IMAP4rev1 {word}\r\n".encode()
    assert screen.begin(listed, b"a NOOP\r\n") == (b"* CAPABILITY IMAP4rev1\r\n", b"a NOOP\r\n")
    assert screen.from_upstream(listed) == (b"* CAPABILITY IMAP4rev1\r\n", b"")
    commands = memoryview(b"b CAPABILITY\r\n")
    assert screen.from_client(commands)[1] is commands
