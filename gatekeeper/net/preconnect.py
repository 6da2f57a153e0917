"""A phone's connection to the mail server that is made while the phone itself is still shaking hands.

Its log-in then finds connection, TLS and greeting there, or on their way: these round trips to the mail server take
place beside the phone's own, and not after them.

What holds inside:

* It belongs to the phone that brought it about: made when that one came, given to its log-in, closed with it. So it is
  never older than what the phone would have had without a gate, and a mail server that is going down can do nothing to
  a log-in that it could not do to a phone.
* Floods bring none about: each takes a turn, and a turn is earned by a log-in that was admitted, a moment before. And
  `MAX_WAITING` bounds them, so that whoever takes all turns and does not log in leaves room at the mail server.
* It is given away once, for the very address it leads to. One that its phone does not want is closed before the mail
  server would: Postfix under stress, the most impatient, waits 10 s.
* A mail server that closes it while it waits is left in peace for a while.
* Nothing of the phone's is said on it; where a PROXY header has to name the phone first, there is none.
"""

import asyncio
from collections.abc import Callable

import structlog

from gatekeeper.net.deadlines import Deadlines
from gatekeeper.net.dial import Upstream, dial
from gatekeeper.net.poller import Poller
from gatekeeper.net.transport import Transport

_log = structlog.get_logger("gatekeeper.preconnect")

EARNED_FOR_S = 2.0
"""How long after a log-in the turns last that were earned: who comes alone finds none."""
MAX_WAITING = 8
"""As many phones may be on their way to log in at once, and as many turns may be left."""
KEPT_S = 5.0
"""How long one waits for its phone's log-in."""
PAUSE_S = 60.0
"""After one that the mail server closed: it may count connections."""
MAX_GREETING_OCTETS = 8192
"""Nobody greets with more, and it would be kept."""


class Ahead(asyncio.Protocol):
    """One such connection, until it is taken."""

    __slots__ = ("_greeting", "_owner", "_transport", "_upstream")

    def __init__(self, owner: "Preconnect", upstream: Upstream) -> None:
        """Not connected yet."""
        self._owner = owner
        self._upstream = upstream
        self._greeting = b""
        self._transport: Transport | None = None
        """None when it was taken, closed or lost."""

    def dial(self, poller: Poller, loop: asyncio.AbstractEventLoop) -> None:
        """Connect; raises OSError as `dial`."""
        self._transport = dial(self._upstream, self, poller=poller, loop=loop)

    def take(self, upstream: Upstream) -> tuple[Transport, bytes] | None:
        """The connection, with what was received on it, when it is there and leads to this very address.

        It may still be on its way; who takes it hears what comes of it. Otherwise it is closed.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or upstream is not self._upstream:
            self.close()
            return None
        self._transport = None
        self._owner.taken(self)
        return transport, self._greeting

    def close(self) -> None:
        """Its phone does not want it."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._owner.left(self)
            transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Only called where TLS begins at once."""
        if isinstance(transport, Transport) and self._upstream.context is not None:
            transport.start_tls(self._upstream.context, _encrypted, self._upstream.host)

    def data_received(self, data: bytes) -> None:
        """The greeting."""
        self._greeting += data
        if len(self._greeting) > MAX_GREETING_OCTETS and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It did not come about, or was closed; the log-in dials, finds out why, and says so."""
        if self._transport is not None:
            self._transport = None
            self._owner.lost(self)
        if exc is not None and not isinstance(exc, OSError):
            _log.error("preconnect.fault", exc_info=exc)


def _encrypted() -> None:
    """The greeting is still to come."""


class Preconnect:
    """The connections of one listener's phones."""

    def __init__(self, poller: Poller, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float]) -> None:
        self._poller = poller
        self._loop = loop
        self._monotonic = monotonic
        self._turns = 0
        self._turns_until = 0.0
        self._not_before = 0.0
        self._waiting = Deadlines[Ahead](KEPT_S, lambda ahead: ahead.close())
        self.used = 0
        """How many were given to a log-in."""
        self.unused = 0
        """How many were not: closed again, lost, or never come about."""

    def __len__(self) -> int:
        """How many wait for their phones' log-ins."""
        return len(self._waiting)

    def logged_in(self) -> None:
        """A phone was admitted: a turn for one of those that come after it."""
        now = self._monotonic()
        self._turns = min(self._turns_left(now) + 1, MAX_WAITING)
        self._turns_until = now + EARNED_FOR_S

    def begin(self, upstream: Upstream) -> Ahead | None:
        """Connect for a phone that has come, if it is its turn and there is room."""
        now = self._monotonic()
        turns = self._turns_left(now)
        if not turns or len(self._waiting) >= MAX_WAITING or now < self._not_before:
            return None
        if not upstream.preconnect or upstream.wants_proxy_header:
            return None
        self._turns = turns - 1
        ahead = Ahead(self, upstream)
        try:
            ahead.dial(self._poller, self._loop)
        except OSError:  # the log-in finds out, and says so
            self.unused += 1
            self._not_before = now + PAUSE_S
            return None
        self._waiting.add(ahead, now)
        return ahead

    def _turns_left(self, now: float) -> int:
        return self._turns if now <= self._turns_until else 0

    def tick(self) -> None:
        """Close those whose phones take their time; called about every quarter of a second."""
        self._waiting.sweep(self._monotonic())

    # What an `Ahead` tells.

    def taken(self, ahead: Ahead) -> None:
        """Its log-in goes on with it."""
        self._waiting.discard(ahead)
        self.used += 1

    def left(self, ahead: Ahead) -> None:
        """It was closed unused."""
        self._waiting.discard(ahead)
        self.unused += 1

    def lost(self, ahead: Ahead) -> None:
        """The mail server did not take it, or closed it."""
        self.left(ahead)
        self._not_before = self._monotonic() + PAUSE_S
