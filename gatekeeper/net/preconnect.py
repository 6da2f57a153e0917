"""A connection to the mail server that is made before a log-in needs it.

A log-in then finds the greeting there, TLS included: connecting, handshake and greeting take round trips to the mail
server in which its phone would only wait.

What holds inside:

* There is one at most, and only while log-ins follow each other closely: who comes alone finds none, and costs the mail
  server no connection besides his own. No phone can bring one about that was not admitted.
* It is given away once, when the mail server has begun to greet, to a log-in at the very address it leads to. One that
  nobody wants is closed long before a mail server would: Postfix under stress, the most impatient, waits 10 s.
* A mail server that does not greet in time, or closes it, waiting or when it is used, is left in peace for a while.
* Nothing of any phone's was said on it; where a PROXY header has to name the phone first, there is none.
"""

import asyncio

import structlog

from gatekeeper.net.dial import Upstream, dial
from gatekeeper.net.poller import Poller
from gatekeeper.net.transport import Transport

_log = structlog.get_logger("gatekeeper.preconnect")

KEPT_S = 2.0
"""How long one waits for its log-in; and log-ins that are no further apart follow each other closely."""
PAUSE_S = 60.0
"""After one that came to nothing by the mail server's doing: it may delay its greeting, or count connections."""
MAX_GREETING_OCTETS = 8192
"""Nobody greets with more, and it would be kept."""


class _Ahead(asyncio.Protocol):
    """One such connection."""

    __slots__ = ("greeting", "transport", "until", "upstream")

    def __init__(self, upstream: Upstream, until: float) -> None:
        self.upstream = upstream
        self.until = until
        self.greeting = b""
        self.transport: Transport | None = None
        """None when it is lost."""

    @property
    def is_greeted(self) -> bool:
        """Whether the mail server has said a line, and no half one."""
        return self.greeting.endswith(b"\n")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Only called where TLS begins at once."""
        if isinstance(transport, Transport) and self.upstream.context is not None:
            transport.start_tls(self.upstream.context, _encrypted, self.upstream.host)

    def data_received(self, data: bytes) -> None:
        """The greeting."""
        self.greeting += data
        if len(self.greeting) > MAX_GREETING_OCTETS and self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It did not come about, or was closed; a log-in that dials finds out why, and says so."""
        self.transport = None
        if exc is not None and not isinstance(exc, OSError):
            _log.error("preconnect.fault", exc_info=exc)


def _encrypted() -> None:
    """The greeting is still to come."""


class Preconnect:
    """The next log-in's connection at one listener's mail server."""

    def __init__(self, poller: Poller, loop: asyncio.AbstractEventLoop) -> None:
        self._poller = poller
        self._loop = loop
        self._next: _Ahead | None = None
        self._last: float | None = None
        """When the last log-in succeeded."""
        self._not_before = 0.0
        self._is_off = False
        self.used = 0
        """How many were given to a log-in."""
        self.unused = 0
        """How many were not: closed again, lost, or never come about."""

    @property
    def is_greeted(self) -> bool:
        """Whether there is one that a log-in might go on with; it may be gone again."""
        return self._next is not None and self._next.is_greeted

    def take(self, upstream: Upstream, now: float) -> tuple[Transport, bytes] | None:
        """A connection to this very address, with what was received on it, when there is one that was greeted."""
        ahead = self._next
        if ahead is None or ahead.upstream is not upstream or not ahead.is_greeted:
            return None
        transport = ahead.transport
        if transport is None or transport.is_closing():
            self.give_up(now)
            return None
        self._next = None
        self.used += 1
        return transport, ahead.greeting

    def logged_in(self, upstream: Upstream, now: float) -> None:
        """A log-in succeeded; where they follow each other closely, make the next one's connection, to `upstream`."""
        last, self._last = self._last, now
        if self._next is not None and self._next.transport is None:
            self.give_up(now)
        if last is None or now - last > KEPT_S or now < self._not_before or self._is_off or self._next is not None:
            return
        if not upstream.preconnect or upstream.wants_proxy_header:
            return
        ahead = _Ahead(upstream, now + KEPT_S)
        try:
            ahead.transport = dial(upstream, ahead, poller=self._poller, loop=self._loop)
        except OSError:  # the next log-in finds out, and says so
            self.unused += 1
            self.give_up(now)
        else:
            self._next = ahead

    def tick(self, now: float) -> None:
        """Close one that nobody wants; called about every quarter of a second."""
        ahead = self._next
        if ahead is None or now < ahead.until:
            return
        if ahead.is_greeted and ahead.transport is not None:
            self.drop()
        else:
            self.give_up(now)

    def give_up(self, now: float) -> None:
        """One failed by the mail server's doing, or did not even come about: close what is there, and wait a while."""
        self._not_before = now + PAUSE_S
        self.drop()

    def drop(self) -> None:
        """Close it: it is not wanted any more, or the settings have changed."""
        ahead, self._next = self._next, None
        if ahead is not None:
            self.unused += 1
            if ahead.transport is not None:
                ahead.transport.close()

    def close(self) -> None:
        """Close it, and make no other."""
        self._is_off = True
        self.drop()
