"""A relayed session that is followed: what either side sends passes through a screen, which may change it.

Everything else is as in `net.relay`; octets that the screen leaves alone are sent from the buffer they were read into.
"""

from typing import Protocol

from gatekeeper.net.relay import Owner, Relay, Relayed, Side, shared_buffer

Octets = bytes | memoryview


class Screen(Protocol):
    """What is asked of one; see `protocols.login.Screen`. Each returns octets for the client and for the server."""

    def from_upstream(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the mail server."""
        ...

    def from_client(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the client."""
        ...


class Screened(Relayed):
    """One such session."""

    __slots__ = ("_screen",)

    def __init__(self, relay: Relay, owner: Owner, screen: Screen) -> None:
        super().__init__(relay, owner)
        self._screen = screen

    def send(self, side: Side, filled: int) -> None:
        """Put what was just read through the screen, and send what comes of it."""
        octets = shared_buffer[:filled]
        if side is self.client:
            passing, answer = self._screen.from_upstream(octets)
        else:
            answer, passing = self._screen.from_client(octets)
        if passing is octets:
            super().send(side, filled)
        else:
            self._put(side, passing)
        if answer:
            self._put(side.peer, answer)

    def _put(self, side: Side, octets: Octets) -> None:
        """Send octets of our own, behind what the side has not taken yet."""
        if self.ended is None and octets:
            side.unsent += octets
            self.flush(side)
