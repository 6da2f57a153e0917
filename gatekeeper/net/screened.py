"""A relayed session that is followed: what either side sends passes through a screen, which may change it.

Everything else is as in `net.relay`; octets that the screen leaves alone are sent from the buffer they were read into.
"""

from socket import socket
from typing import Protocol

from gatekeeper.net.relay import Ended, Owner, Relay, Relayed, Side

Octets = bytes | memoryview


class Screen(Protocol):
    """What is asked of one; see `protocols.login.Screen`. Each returns octets for the client and for the server."""

    @property
    def reads_client(self) -> bool:
        """Whether it looks at what the client says at all."""
        ...

    @property
    def holds(self) -> bool:
        """Whether the client is not to be read: what it said waits for the mail server."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the session ends."""
        ...

    def from_upstream(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the mail server."""
        ...

    def from_client(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the client."""
        ...


class Screened(Relayed):
    """One such session."""

    __slots__ = ("_holds", "_reads_client", "_screen")

    def __init__(self, relay: Relay, owner: Owner, screen: Screen) -> None:
        super().__init__(relay, owner)
        self._screen = screen
        self._holds = screen.holds
        self._reads_client = screen.reads_client

    def start(self, client: tuple[socket, bytes], upstream: tuple[socket, bytes]) -> None:
        """Take over two sockets; what either side sent behind the log-in has been through the screen."""
        super().start(client, upstream)
        if self._screen.is_over:
            self.end(Ended.SCREENED)

    def send(self, side: Side, filled: int) -> None:
        """Put what was just read through the screen, and send what comes of it."""
        if side is self.upstream and not (self._reads_client and self.hears(side)):
            super().send(side, filled)
            return
        octets = self.poller.buffer[:filled]
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
        if self._screen.is_over:
            self.end(Ended.SCREENED)
        elif self._holds is not self._screen.holds:
            self._holds = not self._holds
            self._hold_on()

    def goes_on(self, side: Side) -> bool:
        """Whether more may be read in this turn."""
        return super().goes_on(side) and not (self._holds and side is self.client)

    def may_read(self, side: Side) -> bool:
        """Whether more may be read from a side, which the screen may forbid."""
        return super().may_read(side) and not (self._holds and side is self.client)

    def _hold_on(self) -> None:
        """The client is to be read no more, or again; its end waits for what it said before."""
        client = self.client
        if client.at_eof and not (self._holds or self.upstream.unsent):
            self._pass_on_eof(client)
        else:
            self._watch(client)

    def _pass_on_eof(self, side: Side) -> None:
        is_plain = self.client.tls is None and self.upstream.tls is None
        if self._holds and side is self.client and is_plain:
            self._watch(side)
        else:
            super()._pass_on_eof(side)

    def _put(self, side: Side, octets: Octets) -> None:
        """Send octets of our own, behind what the side has not taken yet."""
        if self.ended is None and octets:
            side.unsent += octets
            self.flush(side)
