"""What a session passes through after log-in, when its mail server offers what phones must not see."""

from gatekeeper.protocols.imap.capabilities import has_hidden
from gatekeeper.protocols.imap.responses import Responses
from gatekeeper.protocols.login import Octets, Screen


class ListScreen:
    """Edits the mail server's lists; commands pass unread. See `protocols.login.Screen`."""

    __slots__ = ("_responses",)

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


def screen_for(offered: tuple[str, ...]) -> Screen | None:
    """What the sessions of a server that offers this after log-in must pass through; mostly nothing."""
    return ListScreen() if has_hidden(offered) else None
