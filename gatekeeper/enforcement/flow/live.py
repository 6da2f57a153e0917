"""One connection after admission: it ties the relayed octets to the admission, and writes the terminal record."""

from functools import partial
from socket import socket

import structlog

from gatekeeper.gate.admit import Gate
from gatekeeper.gate.sessions import Admission
from gatekeeper.net.crowd import Crowd
from gatekeeper.net.relay import Ended, Relay, Relayed
from gatekeeper.net.screened import Screen, Screened

_log = structlog.get_logger("gatekeeper.session")


class LiveSession:
    """The owner of a relayed session."""

    __slots__ = ("_admission", "_crowd", "_gate", "_relayed", "_source", "last_words")

    def __init__(self, gate: Gate, admission: Admission, last_words: bytes, place: tuple[Crowd, str]) -> None:
        """`place`: where it is counted, and under which source; it has settled there."""
        self.last_words = last_words
        self._crowd, self._source = place
        self._gate = gate
        self._admission = admission
        self._relayed: Relayed | None = None
        admission.cut = self.cut

    def begin(
        self, relay: Relay, client: tuple[socket, bytes], upstream: tuple[socket, bytes], screen: Screen | None
    ) -> None:
        """Start relaying, through a screen where there is one."""
        new_session = Relayed if screen is None else partial(Screened, screen=screen)
        self._relayed = relay.begin(client, upstream, self, new_session)

    def never_began(self) -> None:
        """One of the two sides was lost between the verdict and the relay."""
        self._crowd.leave(self._source, settled=True)
        self._gate.ended(self._admission, {"ended": "lost", "octets_down": 0, "octets_up": 0})

    def cut(self) -> None:
        """The admission no longer stands."""
        if self._relayed is not None:
            self._relayed.end(Ended.CUT)

    def session_ended(self, relayed: Relayed, why: Ended, error: Exception | None) -> None:
        """Both sides are closed."""
        self._crowd.leave(self._source, settled=True)
        if why is Ended.FAULT:
            _log.error("session.fault", conn=self._admission.connection.conn, exc_info=error)
        detail = {"ended": why.value, "octets_down": relayed.octets_down, "octets_up": relayed.octets_up}
        self._gate.ended(self._admission, detail)
