"""A client's connection until it is admitted or ends: PROXY header, TLS, dialogue, and its one exit.

What holds inside:

* Every connection passes `finish`, once, which writes its terminal record; an admitted one is handed over by `Flow`,
  and a health check that ends by itself is counted for a record of many.
* After STARTTLS nothing that came before it counts; octets behind the command close the connection.
* An unexpected error closes both sides, is logged with the connection's id, and the client sees a fixed text.
"""

import asyncio
from collections.abc import Mapping
from socket import socket

import structlog

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.domain.request import Connection
from gatekeeper.domain.source import source_of
from gatekeeper.enforcement.flow.attempt import Attempts
from gatekeeper.enforcement.flow.dialogue import Dialogue, Farewell
from gatekeeper.enforcement.flow.front import Front
from gatekeeper.enforcement.flow.introduction import introduced
from gatekeeper.net.alpn import is_foreign
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.preconnect import Ahead
from gatekeeper.net.preface import Preface
from gatekeeper.net.transport import Transport
from gatekeeper.protocols.proxy_protocol.header import MalformedHeader

_log = structlog.get_logger("gatekeeper.flow")

NO_DETAIL: Mapping[str, str | int] = {}


class ClientConnection(asyncio.Protocol):
    """What a `Flow` is besides its log-ins."""

    __slots__ = (
        "_account",
        "_ahead",
        "_attempts",
        "_attempts_n",
        "_authcid",
        "_busy",
        "_dialogue",
        "_finished",
        "_front",
        "_hint",
        "_transport",
        "connection",
    )

    _dialogue: Dialogue
    """Made by the flow, which it talks to."""

    def __init__(self, front: Front, connection: Connection, sock: socket) -> None:
        self.connection = connection
        self._front = front
        self._attempts = Attempts(front, connection.client_address)
        self._attempts_n = 0
        self._finished = False
        self._account = ""
        self._authcid = ""
        """Who logs in to `_account`, when that is somebody else."""
        self._hint = ""
        """What the client says of itself."""
        self._busy = False
        """A log-in is under way or held back: what arrives meanwhile is only kept."""
        self._ahead: Ahead | None = None
        """A connection to the mail server for the first log-in, made while the client is busy with TLS."""
        self._transport = Transport(
            sock,
            self,
            poller=front.poller,
            loop=front.loop,
            peername=(connection.client_address, connection.client_port),
        )
        self._transport.max_unsent = front.limits.max_unsent_octets

    @property
    def is_logging_in(self) -> bool:
        """Whether the mail server is being asked."""
        raise NotImplementedError

    def _end_leg(self) -> None:
        """Break off what is under way at the mail server."""
        raise NotImplementedError

    def await_introduction(self, sock: socket) -> None:
        """A load balancer has to say first whose connection this is: its PROXY header is part of the handshake."""
        self._attempts.source = ""  # until it is known
        self._enter()
        self._front.begin_handshake(self)
        Preface(sock, self._transport, self._front.poller, self._introduced, self._open)

    def _introduced(self, octets: bytes) -> int | None:
        try:
            found = introduced(self.connection, octets) if octets else None
        except MalformedHeader as error:
            _log.warning("proxy_header.malformed", conn=self.connection.conn, reason=str(error))
            self.finish("proxy_header_malformed")
            return None
        if found is None:
            if not octets:
                self.finish("proxy_header_missing")
            return None
        self.connection, size = found
        limit = self._counted_as_itself()
        if limit is not None:
            self._front.ended_by_limit(limit)
            self.finish(limit)
            return None
        return size

    def _counted_as_itself(self) -> str | None:
        """Now that its source is known, count it there; the limit that it is over. A health check has no source."""
        balancer = self.connection.load_balancer
        if balancer is not None and balancer.is_health_check:
            return None
        crowd, source = self._front.crowd, source_of(self.connection.client_address)
        crowd.leave(self._attempts.source, settled=False)
        limit = crowd.refusal(source)
        crowd.enter(source)
        self._attempts.source = source
        return limit

    def begin(self) -> None:
        """The connection was accepted, and whose it is is known."""
        self._enter()
        if self._front.tls is TlsMode.IMPLICIT:
            self._front.begin_handshake(self)
        self._open()

    def _enter(self) -> None:
        self._front.crowd.enter(self._attempts.source)
        self._front.waiting.add(self, self._front.monotonic())

    def _open(self) -> None:
        context = self._front.context
        if self._front.tls is TlsMode.IMPLICIT and context is not None:
            self._transport.start_tls(context, self._ready)
        else:
            self._ready()
        if self._front.tls is not TlsMode.STARTTLS:
            self._preconnect()

    def _preconnect(self) -> None:
        balancer = self.connection.load_balancer
        if not self._transport.is_closing() and (balancer is None or not balancer.is_health_check):
            self._ahead = self._front.preconnect.begin(self._front.upstream.order[0])

    def _ready(self) -> None:
        self._front.handshakes.discard(self)
        if self._is_ours():
            self._dialogue.greet()

    def _is_ours(self) -> bool:
        """Whether the client wants our protocol, if it said what it wants; the connection is ended otherwise."""
        tls = self._transport.tls()
        if tls is None or not is_foreign(tls.selected_alpn_protocol(), self._front.alpn):
            return True
        self.finish("foreign_protocol")
        return False

    # The client's transport.

    def data_received(self, data: bytes) -> None:
        """Octets from the client; during a log-in they are kept, and no more are read."""
        if self._busy:
            self._transport.pause_reading()
        self._dialogue.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or we have closed."""
        if exc is not None and not isinstance(exc, OSError):
            self.fault(exc)
        self._attempts.abandoned()
        balancer = self.connection.load_balancer
        if not self._finished and not self._attempts_n and balancer is not None and balancer.is_health_check:
            self._front.health_checks.ended(self.connection, self._front.monotonic())
            self._end()
            return
        self.finish("closed" if exc is None else type(exc).__name__)

    # What the dialogue asks for (`dialogue.Peer`).

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is on."""
        return self._transport.tls() is not None

    @property
    def offers_tls(self) -> bool:
        """Whether STARTTLS may be used now."""
        return self._front.tls is TlsMode.STARTTLS and not self.is_encrypted

    @property
    def takes_credentials(self) -> bool:
        """Whether credentials may be sent now."""
        return self.is_encrypted or (self._front.tls is TlsMode.OFF and self._front.allow_plaintext)

    @property
    def upstream_offers(self) -> frozenset[str]:
        """What the mail server last offered before log-in."""
        return self._front.upstream_offers

    def client_says(self, hint: str) -> None:
        """Keep it for the records."""
        self._hint = self._hint or hint

    def send(self, data: bytes) -> None:
        """Write to the client."""
        self._transport.write(data)

    def start_tls(self, reply: bytes, *, leftover: bytes) -> None:
        """Answer STARTTLS and upgrade in place."""
        context = self._front.context
        if leftover or context is None:
            # Octets behind the command were sent in the clear, perhaps by somebody in between (CVE-2011-0411's class).
            self.finish("octets_behind_starttls")
            return
        self._front.begin_handshake(self)
        self._transport.write(reply)
        self._transport.start_tls(context, self._encrypted)
        self._preconnect()

    def _encrypted(self) -> None:
        self._front.handshakes.discard(self)
        self._hint = ""
        if self._is_ours():
            self._dialogue.tls_started()

    def close(self, last_words: bytes = b"") -> None:
        """End the connection after these words."""
        self._transport.write(last_words)
        self._transport.close()

    def credentials_exposed(self, mechanism: str) -> None:
        """Record that credentials came in the clear."""
        self._record(EventCode.PASSWORD_EXPOSED, "Credentials were sent before TLS; they were not used", mechanism)

    # The end.

    def fault(self, error: Exception) -> None:
        """An unexpected error on either side: a bug of ours, which lets nobody in."""
        _log.error("connection.fault", conn=self.connection.conn, exc_info=error)
        self.say_goodbye(Farewell.FAULT)

    def say_goodbye(self, why: Farewell) -> None:
        """End the connection for a reason of ours."""
        if self not in self._front.handshakes:
            self.close(self._dialogue.farewell(why))
        self.finish(why.value)

    def handshake_too_slow(self) -> None:
        """End the connection without a word."""
        self._transport.abort()
        self.finish(Farewell.TIMEOUT.value)

    def give_way(self, limit: str) -> bool:
        """End the connection without a word, unless a log-in is under way."""
        if self.is_logging_in:
            return False
        self._front.ended_by_limit(limit)
        self._transport.abort()
        self.finish(limit)
        return True

    def finish(self, why: str) -> None:
        """The one exit of a connection that was not admitted."""
        if self._finished:
            return
        self._end()
        self._front.audit.append(
            Event(
                code=EventCode.CONNECTION_CLOSED,
                time=self._front.clock.now(),
                connection=self.connection,
                account=self._account or None,
                message="Connection ended without a session",
                detail={"ended": why, "attempts": self._attempts_n},
            )
        )

    def _end(self) -> None:
        self._finished = True
        self._attempts.came_to_nothing()
        self._end_leg()
        if self._ahead is not None:
            self._ahead.close()
        self._release()
        self._front.crowd.leave(self._attempts.source, settled=False)
        self._dialogue.closed()
        self._transport.close()
        self._transport.abort()  # no deadline is left for who does not even take what was said before

    def _release(self) -> None:
        self._front.waiting.discard(self)
        self._front.handshakes.discard(self)
        self._front.holds.discard(self)

    def _facts(self, detail: Mapping[str, str | int] = NO_DETAIL) -> Mapping[str, str | int]:
        """What the records of this connection's log-ins say besides; never in place of what they say themselves."""
        if not (self._hint or self._authcid):
            return detail
        facts = {"client_id": self._hint, "authcid": self._authcid}
        return {**{name: fact for name, fact in facts.items() if fact}, **detail}

    def _record(
        self, code: EventCode, message: str, mechanism: str, detail: Mapping[str, str | int] = NO_DETAIL
    ) -> None:
        self._front.audit.append(
            Event(
                code=code,
                time=self._front.clock.now(),
                connection=self.connection,
                account=self._account or None,
                mechanism=mechanism,
                message=message,
                detail=self._facts(detail),
            )
        )
