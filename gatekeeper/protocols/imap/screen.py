"""What a session passes through after log-in, when its mail server offers what phones must not see."""

from collections.abc import Set as AbstractSet

from gatekeeper.protocols.imap.capabilities import (
    WAYS_ROUND,
    has_hidden,
    is_hidden_where_commands_are_read,
    spelt,
    visible,
)
from gatekeeper.protocols.imap.commands import CommandScreen
from gatekeeper.protocols.imap.responses import Responses
from gatekeeper.protocols.login import LoggedIn, Octets

_AT_ANY_TIME = WAYS_ROUND - {"STARTTLS"}


class ListScreen:
    """Edits the mail server's lists; commands pass unread. See `protocols.login.Screen`."""

    __slots__ = ("_responses",)

    reads_client = False
    holds = False
    is_over = False

    def __init__(self) -> None:
        self._responses = Responses()

    def begin(self, from_upstream: bytes, from_client: bytes) -> tuple[bytes, bytes]:
        """Take what either side has sent behind the log-in."""
        return bytes(self._responses.edit(from_upstream)), from_client

    def from_upstream(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the mail server."""
        return self._responses.edit(octets), b""

    def from_client(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the client."""
        return b"", octets


def logged_in(text: str, offered: tuple[str, ...], heard: AbstractSet[str] = frozenset()) -> LoggedIn:
    """A log-in at a server that offers this now, and has offered what was `heard`, in upper case: with its screen.

    Mostly there is none. Where a command could make the session another account's, commands are read.
    """
    if not WAYS_ROUND.isdisjoint(spelt(offered)) or not _AT_ANY_TIME.isdisjoint(heard):
        return LoggedIn(text, visible(offered, is_hidden_where_commands_are_read), CommandScreen())
    return LoggedIn(text, visible(offered), ListScreen() if has_hidden(offered) else None)
