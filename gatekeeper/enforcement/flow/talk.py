"""What the dialogues of phones share that are read by parsers of our own: the peer, its end, and when it may log in.

A protocol adds its receiver, its commands and its words.
"""

from gatekeeper.enforcement.flow.dialogue import DialogueLimits, Peer
from gatekeeper.protocols.sasl.mechanisms import Credentials


class Talk:
    """One client's; a part of `flow.dialogue.Dialogue`."""

    __slots__ = ("_busy", "_commands", "_errors", "_limits", "_peer")

    def __init__(self, peer: Peer, limits: DialogueLimits) -> None:
        self._peer: Peer | None = peer
        self._limits = limits
        self._busy = False
        """A log-in is under way: what comes meanwhile is only kept."""
        self._commands = 0
        self._errors = 0

    def closed(self) -> None:
        """Let go of the flow."""
        self._peer = None

    def _log_in(self, credentials: Credentials) -> None:
        """Hand good credentials to the flow."""
        self._busy = True
        if self._peer is not None:
            self._peer.log_in(credentials)

    def _takes_credentials(self, exposed: str) -> bool:
        """Whether credentials are taken now; `exposed` names how they were sent already."""
        peer = self._peer
        if peer is not None and peer.takes_credentials:
            return True
        if exposed and peer is not None:
            peer.credentials_exposed(exposed)
        return False

    def _send(self, data: bytes) -> None:
        if self._peer is not None:
            self._peer.send(data)

    def _close(self, last_words: bytes) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.close(last_words)
