"""Octets at the very beginning of a connection that are for us and for nobody behind us: taken off its socket exactly.

What follows them may be a TLS handshake, and OpenSSL reads from the socket itself: an octet read too many could never
be given to it. So they are looked at in place (MSG_PEEK), and then exactly those that belong to the preface are
received.
"""

from collections.abc import Callable
from socket import MSG_PEEK, socket

from gatekeeper.net.poller import Poller, Watched

_LOOK_OCTETS = 4096
"""At once; a preface that is longer is read in several turns."""

Take = Callable[[bytes], int | None]
"""Given all octets so far: how many of them are the preface, None while it is not whole.

b"": the connection ended before. Whoever does not like it ends the connection, and may return anything.
"""


class Preface:
    """Serves a socket in place of its transport, which it steps aside for when the preface is whole."""

    __slots__ = ("_begun", "_fd", "_poller", "_sock", "_take", "_then", "_transport")

    def __init__(self, sock: socket, transport: Watched, poller: Poller, take: Take, then: Callable[[], None]) -> None:
        """`transport` is watched by `poller` already; `then` is called once, after it is so again."""
        self._sock = sock
        self._fd = sock.fileno()
        self._transport = transport
        self._poller = poller
        self._take = take
        self._then = then
        self._begun = b""
        poller.replace(self._fd, self)

    def ready(self, mask: int) -> bool:  # noqa: ARG002  a hang-up is seen by reading
        """Look at what is there, and receive what belongs to the preface."""
        try:
            ahead = self._sock.recv(_LOOK_OCTETS, MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            ahead = b""
        if not ahead:
            self._take(b"")
            return False
        size = self._take(self._begun + ahead)
        if self._sock.fileno() < 0:
            return False  # it was not liked
        # While the preface is not whole, all that is there belongs to it; left there, it would be reported for ever.
        own = ahead if size is None else ahead[: size - len(self._begun)]
        self._sock.recv(len(own))
        if size is None:
            self._begun += own
        else:
            self._poller.replace(self._fd, self._transport)
            self._then()
        return False

    def failed(self, error: Exception) -> None:
        """Close after an unexpected error."""
        self._transport.failed(error)
