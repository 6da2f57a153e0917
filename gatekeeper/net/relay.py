"""The relay: after admission, bytes are copied both ways, unread, until one side ends or the session is cut.

What holds inside:

* No coroutine, no stream and no buffer for an idle session: two `Side` objects and one `Relayed`.
* A side reads at most `BUDGET_OCTETS` a turn, so that sessions at full stream do not starve the others.
* What the other side cannot take yet is kept (at most two budgets' worth), and reading stops until it is gone.
* The mail server's end is passed on after everything it sent has been delivered, and by a TLS close-notify: a socket
  that is full just then is waited for. A phone that vanishes without one aborts the mail server's side: a truncated
  upload never looks finished.
* `closed` is called exactly once.
"""

import select
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from socket import IPPROTO_TCP, SHUT_WR, SO_LINGER, SOL_SOCKET, TCP_CORK, socket
from typing import Protocol, cast

from gatekeeper.net.poller import READ, WRITE, Poller
from gatekeeper.net.tls import Engine, engine
from gatekeeper.net.transport import close_notify, close_socket

BUDGET_OCTETS = 65536
"""Per session and turn. Smaller costs throughput, larger costs the other sessions' latency."""
_RECORD_OCTETS = 16384
"""Largest TLS record (RFC 8446 §5.1): less room than this and a record might be read in part."""
_PLAIN_OCTETS = 2 * BUDGET_OCTETS
"""Read at once from a plain side that is alone: fewer and fuller segments. With TLS it costs more than it saves."""
_HEAVY_OCTETS = 16384
"""A side that moves this much in a turn is at full stream and waits its turn with the others."""

_GONE = select.EPOLLHUP | select.EPOLLERR
_LINE_FEED = 0x0A
_ABORT = struct.pack("ii", 1, 0)
_WAIT = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)


class Ended(StrEnum):
    """Why a relayed session ended."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    CLIENT_ABORTED = "client_aborted"
    UPSTREAM_ABORTED = "upstream_aborted"
    CUT = "cut"
    IDLE = "idle"
    DRAINED = "drained"
    AUDIT_LOST = "audit_lost"
    """The audit log cannot be written, and open sessions are not to go on without it."""
    SCREENED = "screened"
    """What the phone sent cannot be told apart any more, or was meant to deceive."""
    FAULT = "fault"


_BY_US = frozenset({Ended.CUT, Ended.IDLE, Ended.DRAINED, Ended.AUDIT_LOST, Ended.SCREENED})
"""At once, with a close-notify to both where there is room for it."""


class Side:
    """One direction's reader and the other direction's writer: a socket with what it cannot take yet."""

    __slots__ = ("at_eof", "fd", "last_octet", "octets", "peer", "session", "sock", "tls", "unsent")

    peer: "Side"

    def __init__(self, session: "Relayed", sock: socket, unsent: bytes) -> None:
        self.session = session
        self.sock = sock
        self.fd = sock.fileno()
        """Inverted (negative) while the poller does not watch it."""
        self.tls = engine(sock)
        self.unsent = unsent
        self.octets = 0
        """Read from this side."""
        self.last_octet = _LINE_FEED
        self.at_eof = False

    @property
    def is_to_be_told(self) -> bool:
        """Whether all that is left for this side is a close-notify, in a session that has not ended."""
        return self.peer.at_eof and self.tls is not None

    def ready(self, mask: int) -> bool:
        """Read up to the budget and hand it to the peer; True when this is a full stream."""
        session, peer = self.session, self.peer
        session.quiet_ticks = 0
        if mask & WRITE and not (session.flush(self) and mask & ~WRITE):
            return False
        if peer.unsent or self.at_eof:
            if mask & _GONE:  # reading is off, but a reset or a full close is reported all the same
                session.hung_up(self, mask)
            return False
        poller = session.poller
        moved, rounds, corked = 0, poller.rounds, False
        while rounds:
            if self.tls is None:
                filled = self._read_plain(BUDGET_OCTETS if rounds == 1 else _PLAIN_OCTETS)
            else:
                filled = self._read_tls()
            if not filled:
                break
            moved = filled
            self.octets += filled
            self.last_octet = poller.buffer[filled - 1]
            if filled > _RECORD_OCTETS and not corked:
                # What is sent in this turn leaves in full segments. On loopback a record apiece costs a quarter more,
                # and a plain budget, which would be one segment and the few octets that do not fit in, a tenth.
                corked = True
                peer.sock.setsockopt(IPPROTO_TCP, TCP_CORK, 1)
            session.send(peer, filled)
            if filled < BUDGET_OCTETS or not session.goes_on(self):
                break
            rounds -= 1
        if corked and session.ended is None:
            peer.sock.setsockopt(IPPROTO_TCP, TCP_CORK, 0)
        return moved >= _HEAVY_OCTETS

    def failed(self, error: Exception) -> None:
        """End the session after an unexpected error."""
        self.session.end(Ended.FAULT, error)

    def _read_plain(self, octets: int) -> int:
        try:
            filled = self.sock.recv_into(self.session.poller.buffer, octets)
        except _WAIT:
            return 0
        except OSError as error:
            self.session.aborted(self, error)
            return 0
        if not filled:
            self.session.eof(self)
        return filled

    def _read_tls(self) -> int:
        """Read records until one is not full (then the kernel will tell) or the budget is used."""
        read, filled = cast("Engine", self.tls).read, 0
        for place in self.session.relay.places:
            try:
                count = read(_RECORD_OCTETS, place)
            except _WAIT:
                break
            except OSError as error:
                if filled:
                    self.octets += filled
                    self.session.send(self.peer, filled)
                self.session.aborted(self, error)
                return 0
            if not count:
                if filled:
                    self.octets += filled
                    self.session.send(self.peer, filled)
                self.session.eof(self)
                return 0
            filled += count
            if count < _RECORD_OCTETS:
                break
        return filled


class Owner(Protocol):
    """Whose session it is."""

    @property
    def last_words(self) -> bytes:
        """What the phone is told when we end its session while shutting down."""
        ...

    def session_ended(self, relayed: "Relayed", why: Ended, error: Exception | None) -> None:
        """Both sides are closed; called once."""
        ...


class Relayed:
    """One live session: the phone's side and the mail server's side."""

    __slots__ = (
        "_owner",
        "client",
        "ended",
        "poller",
        "quiet_ticks",
        "relay",
        "upstream",
    )

    def __init__(self, relay: "Relay", owner: Owner) -> None:
        self.relay = relay
        self.poller = relay.poller
        self._owner = owner
        self.ended: Ended | None = None
        self.quiet_ticks = 0
        """Ticks of `Relay.tick` since the last traffic."""
        self.client: Side
        self.upstream: Side

    def start(self, client: tuple[socket, bytes], upstream: tuple[socket, bytes]) -> None:
        """Take over two watched sockets, each with the bytes that must go out on it first."""
        self.client = Side(self, *client)
        self.upstream = Side(self, *upstream)
        self.client.peer = self.upstream
        self.upstream.peer = self.client
        self.client.octets = len(self.upstream.unsent)
        for side in (self.client, self.upstream):
            self.poller.replace(side.fd, side)
        for side in (self.client, self.upstream):
            if self.ended is None:
                self.flush(side)

    def goes_on(self, side: Side) -> bool:
        """Whether the peer of a side has taken everything, so that more may be read."""
        return self.ended is None and not side.peer.unsent

    def may_read(self, side: Side) -> bool:
        """Whether more may be read from a side: its peer has taken everything, and it has not ended."""
        return not (side.peer.unsent or side.at_eof)

    @property
    def octets_up(self) -> int:
        """Octets from the phone to the mail server."""
        return self.client.octets

    @property
    def octets_down(self) -> int:
        """Octets from the mail server to the phone."""
        return self.upstream.octets

    def hears(self, side: Side) -> bool:
        """Whether anybody is there to send to: not at a mail server that has ended, to which sending is an error.

        A phone may go on talking while it is still being sent the rest, which would be lost if it were not read.
        """
        return not side.at_eof or side is self.client

    def send(self, side: Side, filled: int) -> None:
        """Send the first `filled` octets of the buffer; keep what the socket does not take."""
        if not self.hears(side):
            side.peer.octets -= filled  # what was relayed is on record
            return
        put = side.sock.send if side.tls is None else side.tls.write
        buffer, sent = self.poller.buffer, 0
        try:
            sent = put(buffer[:filled])
            while sent < filled:
                sent += put(buffer[sent:filled])
        except _WAIT:
            side.unsent = bytes(buffer[sent:filled])
            self._watch(side)
            self._watch(side.peer)
        except OSError as error:
            self.aborted(side, error)

    def flush(self, side: Side) -> bool:
        """Send what was kept; True when nothing is left and the session still stands."""
        unsent = memoryview(side.unsent)
        try:
            while unsent:
                unsent = unsent[side.sock.send(unsent) :]
        except _WAIT:
            pass
        except OSError as error:
            self.aborted(side, error)
            return False
        side.unsent = bytes(unsent)
        if not unsent and side.peer.at_eof:
            self._pass_on_eof(side.peer)
        if self.ended is None:
            self._watch(side)
            self._watch(side.peer)
        return not unsent and self.ended is None

    def eof(self, side: Side) -> None:
        """A side has sent its last byte."""
        side.at_eof = True
        if side.peer.unsent:
            self._watch(side)
        else:
            self._pass_on_eof(side)

    def hung_up(self, side: Side, mask: int) -> None:
        """A side is gone both ways while nothing was read from it."""
        is_client = side is self.client
        if is_client and (self.upstream.unsent or not side.at_eof):
            self._abort_upstream()
            self.end(Ended.CLIENT_ABORTED)
        elif is_client and not self.upstream.is_to_be_told:
            self.end(Ended.CLIENT)
        elif mask & select.EPOLLERR and not is_client:
            self.end(Ended.UPSTREAM_ABORTED)
        else:
            # Both ends were closed in order, and what it sent may not be read yet: look again when the peer took some.
            self.poller.unwatch(side.fd)
            side.fd = ~side.fd

    def aborted(self, side: Side, error: OSError) -> None:
        """A side failed."""
        if self.ended is not None:
            return
        if side is self.client:
            self._abort_upstream()
            self.end(Ended.CLIENT_ABORTED, error)
        else:
            self.end(Ended.UPSTREAM_ABORTED, error)

    def drain(self, why: Ended = Ended.DRAINED) -> None:
        """End a quiet session politely: with last words where they cannot fall into the middle of a line."""
        if self.ended is None and not self.client.unsent and self.upstream.last_octet == _LINE_FEED:
            with suppress(OSError):  # the phone does not read, or is gone: it is closed next anyway
                self.client.sock.send(self._owner.last_words)
        self.end(why)

    def _abort_upstream(self) -> None:
        """Close with a RST: the mail server must not take what it has for a complete upload."""
        self.upstream.sock.setsockopt(SOL_SOCKET, SO_LINGER, _ABORT)

    def end(self, why: Ended, error: Exception | None = None) -> None:
        """Close both sides at once; only the first call counts."""
        if self.ended is not None:
            return
        self.ended = why
        if why is Ended.FAULT:
            self._abort_upstream()
        # A close-notify to whoever is gone already, or was told, is two system calls for nothing.
        for side in (self.client, self.upstream):
            close_socket(side.sock, self.poller, polite=why in _BY_US)
        # Sides and session hold each other: what OpenSSL holds for them would wait for the garbage collector.
        self.client.tls = self.upstream.tls = None
        self.relay.forget(self)
        self._owner.session_ended(self, why, error)

    def _pass_on_eof(self, side: Side) -> None:
        is_over = side is self.upstream or self.client.tls or self.upstream.tls or self.upstream.at_eof
        if is_over and not close_notify(side.peer.sock):
            self._watch(side)
            self._watch(side.peer)
        elif is_over:  # no mail client half-closes TLS: it is gone
            self.end(Ended.UPSTREAM if side is self.upstream else Ended.CLIENT)
        else:
            # The mail server may still answer what the phone asked last (RFC 9051 LOGOUT, SMTP QUIT).
            try:
                self.upstream.sock.shutdown(SHUT_WR)
            except OSError as error:
                self.aborted(self.upstream, error)
                return
            self._watch(side)

    def _watch(self, side: Side) -> None:
        if self.ended is not None:
            return
        reads = self.may_read(side)
        mask = (READ if reads else 0) | (WRITE if side.unsent or side.is_to_be_told else 0)
        if side.fd >= 0:
            self.poller.change(side.fd, mask)
        elif mask:
            side.fd = ~side.fd
            self.poller.watch(side.fd, mask, side)


class Relay:
    """All live sessions of the process."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.places = tuple(poller.buffer[at:] for at in range(0, BUDGET_OCTETS, _RECORD_OCTETS))
        """Where the records of a turn are read to."""
        self._sessions: set[Relayed] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(
        self,
        client: tuple[socket, bytes],
        upstream: tuple[socket, bytes],
        owner: Owner,
        new_session: "Callable[[Relay, Owner], Relayed]" = Relayed,
    ) -> Relayed:
        """Relay between two non-blocking, watched sockets, each with the octets that go out on it first."""
        session = new_session(self, owner)
        self._sessions.add(session)
        session.start(client, upstream)
        return session

    def forget(self, session: Relayed) -> None:
        """A session has ended."""
        self._sessions.discard(session)

    def tick(self, idle_ticks: int) -> None:
        """Count one period without traffic for every session; end those with more than `idle_ticks`."""
        for session in tuple(self._sessions):
            session.quiet_ticks += 1
            if session.quiet_ticks > idle_ticks:
                session.end(Ended.IDLE)

    def sessions(self) -> tuple[Relayed, ...]:
        """A snapshot."""
        return tuple(self._sessions)

    def end_all(self, why: Ended) -> None:
        """End every session now."""
        for session in self.sessions():
            session.end(why)
