"""One connection from its first octet to its admission or its end; the same for every protocol.

What holds inside:

* Every accepted connection passes `finish`, once, which writes its terminal record; an admitted one is handed to
  `LiveSession`, which does the same, and a health check that ends by itself is counted for a record of many.
* The credentials are checked by the mail server before the verdict is told: who has not proven an identity learns
  nothing about a device.
* After STARTTLS nothing that came before it counts; octets behind the command close the connection.
* An unexpected error closes both sides, is logged with the connection's id, and the client sees a fixed text.
"""

import asyncio
import secrets
from collections.abc import Mapping
from socket import socket

import structlog

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.domain.request import ClientCertificate, Connection
from gatekeeper.domain.source import source_of
from gatekeeper.enforcement.flow.account import NotAllowed, Opening, certified_account, offered, opening
from gatekeeper.enforcement.flow.attempt import Attempts, hold
from gatekeeper.enforcement.flow.certificate import presented
from gatekeeper.enforcement.flow.dialogue import Dialogue, Farewell, UpstreamLogin
from gatekeeper.enforcement.flow.front import Front
from gatekeeper.enforcement.flow.introduction import introduced, is_load_balancer
from gatekeeper.enforcement.flow.live import LiveSession
from gatekeeper.enforcement.flow.preamble import proxy_header
from gatekeeper.enforcement.flow.upstream import Outcome, UpstreamLeg
from gatekeeper.gate.admit import Admitted, Answer, Claim, Faulted, Refused
from gatekeeper.net.alpn import is_foreign
from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.net.preface import Preface
from gatekeeper.net.transport import Transport
from gatekeeper.protocols.login import Failed, LoggedIn, Rejected
from gatekeeper.protocols.proxy_protocol.header import MalformedHeader, canonical
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism

_log = structlog.get_logger("gatekeeper.flow")

_NO_DETAIL: Mapping[str, str | int] = {}
_NOBODY = Rejected(None, "Authentication failed", is_temporary=False)
_NOT_ANOTHER = Rejected(None, "Acting as another user is not allowed.", is_temporary=False, is_delegation=True)
_FROM_MEMORY = LoggedIn("")
"""Stands for the mail server's answer where a refusal needs none."""


def accept(front: Front, sock: socket, peer: tuple[str, int]) -> None:
    """Take an accepted connection, or turn it away when a limit is reached."""
    front.accepted += 1
    connection = Connection(secrets.token_hex(8), front.protocol, front.name, canonical(peer[0]), peer[1], front.port)
    is_behind = bool(front.load_balancers) and is_load_balancer(connection.client_address, front.load_balancers)
    limit = front.limit_reached("" if is_behind else source_of(connection.client_address))
    if limit is not None:
        sock.close()
        front.turn_away(connection, limit)
    elif is_behind:
        Flow(front, connection, sock).await_introduction(sock)
    else:
        Flow(front, connection, sock).begin()


class Flow(asyncio.Protocol):
    """A connection that is not admitted yet; implements `dialogue.Peer`."""

    __slots__ = (
        "_account",
        "_attempts",
        "_attempts_n",
        "_authcid",
        "_busy",
        "_claim",
        "_dialogue",
        "_finished",
        "_front",
        "_hint",
        "_leg",
        "_mechanism",
        "_transport",
        "connection",
    )

    def __init__(self, front: Front, connection: Connection, sock: socket) -> None:
        self.connection = connection
        self._front = front
        self._attempts = Attempts(front, connection.client_address)
        self._attempts_n = 0
        self._finished = False
        self._leg: UpstreamLeg | None = None
        self._account = ""
        self._authcid = ""
        """Who logs in to `_account`, when that is somebody else."""
        self._hint = ""
        """What the client says of itself."""
        self._mechanism = ""
        self._busy = False
        """A log-in is under way or held back: what arrives meanwhile is only kept."""
        self._claim: Claim | None = None
        self._transport = Transport(
            sock,
            self,
            poller=front.poller,
            loop=front.loop,
            peername=(connection.client_address, connection.client_port),
        )
        self._transport.max_unsent = front.limits.max_unsent_octets
        self._dialogue: Dialogue = front.new_dialogue(self)

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

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """Bearer tokens where the mail server takes them; EXTERNAL where a certificate names an account."""
        front = self._front
        named = front.service is not None and certified_account(front.accounts, self._certificate()) is not None
        return offered(front.upstream_offers, takes_certificate=named)

    def _certificate(self) -> ClientCertificate | None:
        front = self._front
        return presented(self._transport.tls(), front.clock.now(), front.revocations_until)

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

    def log_in(self, credentials: Credentials) -> None:
        """Try these credentials upstream, then ask the gate."""
        front = self._front
        self._attempts_n += 1
        self._mechanism = credentials.mechanism.value
        if self._attempts_n > front.limits.max_attempts:
            self.say_goodbye(Farewell.TOO_MANY_ATTEMPTS)
            return
        self._busy = True
        certificate = self._certificate()
        found = opening(front.accounts, credentials, certificate, front.service)
        if isinstance(found, NotAllowed):
            self._not_tried(found)
            return
        self._account = found.account
        self._authcid = "" if found.authcid == found.account else found.authcid
        if front.audit.writable:
            self._attempt(found, certificate)
        else:
            self._unavailable("the audit log cannot be written")

    def _not_tried(self, found: NotAllowed) -> None:
        self._account, self._authcid = found.authcid, ""
        detail = {"authzid": found.authzid} if found.authzid else _NO_DETAIL
        self._record(EventCode.CREDENTIALS_REFUSED, found.reason, self._mechanism, detail)
        if found.is_delegation:
            self._tell(_NOT_ANOTHER)
        else:
            self._failed(_NOBODY)

    def _attempt(self, found: Opening, certificate: ClientCertificate | None) -> None:
        """Try as soon as the throttle lets this account try from this source."""
        wait_s = self._attempts.begin(self._account)
        if wait_s:
            hold(self._front, self, wait_s, lambda: self._attempt(found, certificate))
            return
        claim = self._claim = Claim(
            connection=self.connection,
            account=self._account,
            mechanism=self._mechanism,
            certificate=certificate,
            facts=self._facts(),
        )
        if not self._attempts.refused_again(
            claim, found.credentials, lambda answer: self._answered(_FROM_MEMORY, answer)
        ):
            self._dial(found.credentials)

    def _dial(self, credentials: Credentials) -> None:
        front = self._front
        login = UpstreamLogin(
            name=self._account,
            starttls=front.upstream.tls is TlsMode.STARTTLS,
            tag=self.connection.conn[:8],
            client_address=self.connection.client_address,
            client_port=self.connection.client_port,
            tells_address=front.upstream.client_address,
        )
        leg = UpstreamLeg(
            front, lambda: self._dialogue.login(credentials, login), self._logged_in, self.fault, self._preamble
        )
        self._leg = leg
        leg.start()

    def _preamble(self, upstream: Upstream) -> bytes:
        return proxy_header(upstream, self.connection, self._transport)

    # What comes of a log-in.

    def _logged_in(self, outcome: Outcome) -> None:
        if self._finished:
            return
        try:
            self._proceed(outcome)
        except Exception as error:  # noqa: BLE001  the connection's guard: whoever calls serves others too
            self.fault(error)

    def _proceed(self, outcome: Outcome) -> None:
        match outcome:
            case LoggedIn():
                self._attempts.succeeded()
                if self._claim is not None:
                    self._front.gate.admit(self._claim, lambda answer: self._answered(outcome, answer))
            case Rejected(text=text, is_temporary=False) if self._mechanism == Mechanism.EXTERNAL:
                # The phone has proven itself: what was refused is the service account, which is not the phone's fault.
                self._attempts.came_to_nothing()
                self._unavailable(f"the mail server refused the service account: {text}")
            case Rejected(is_temporary=True):
                self._leg = None
                self._attempts.came_to_nothing()
                self._tell(outcome)
            case Rejected():
                self._leg = None
                self._record(EventCode.CREDENTIALS_REFUSED, "The mail server refused the credentials", self._mechanism)
                self._failed(outcome)
            case Failed():
                self._attempts.came_to_nothing()
                self._unavailable(outcome.reason)

    def _failed(self, outcome: Rejected) -> None:
        """The credentials were refused: say so when the throttle lets us."""
        wait_s = self._attempts.failed(self._account)
        if wait_s:
            hold(self._front, self, wait_s, lambda: self._tell(outcome))
        else:
            self._tell(outcome)

    def _tell(self, outcome: Rejected) -> None:
        self._busy = False
        self._dialogue.rejected(outcome)
        self._go_on()

    def _answered(self, logged_in: LoggedIn, answer: Answer) -> None:
        if not self._finished:
            try:
                self._act_on(logged_in, answer)
            except Exception as error:  # noqa: BLE001  as above
                self.fault(error)
            else:
                return
        if isinstance(answer, Admitted):
            # The client went while the decision was being recorded: `finish` has written its terminal record.
            self._front.gate.sessions.discard(answer.admission)

    def _act_on(self, logged_in: LoggedIn, answer: Answer) -> None:
        match answer:
            case Admitted(admission):
                front, place = self._front, (self._front.crowd, self._attempts.source)
                self._hand_over(logged_in, LiveSession(front.gate, admission, front.last_words, place))
            case Refused(decision, text):
                if self._leg is not None:  # else it came from memory, where it ages
                    self._attempts.refused(decision)
                self._end_leg()
                self._busy = False
                self._dialogue.refused(text)
                self._go_on()
            case Faulted(reason):
                self._unavailable(reason)

    def _hand_over(self, logged_in: LoggedIn, session: LiveSession) -> None:
        """From here on both sockets belong to the relay."""
        reply = self._dialogue.admitted(logged_in)
        leg, self._leg = self._leg, None
        self._finished = True
        self._release()
        self._front.crowd.settle(self._attempts.source)
        upstream = None if leg is None or self._transport.is_closing() else leg.detach()
        if leg is None or upstream is None:
            session.never_began()
            if leg is not None:
                leg.close()
            self.close(self._dialogue.farewell(Farewell.FAULT))
            self._dialogue.closed()
            return
        upstream_sock, to_upstream = upstream
        client_sock, to_client = self._transport.detach()
        unread = self._dialogue.unread()
        self._dialogue.closed()
        session.begin(
            self._front.relay,
            (client_sock, to_client + reply + leg.trailing_data),
            (upstream_sock, to_upstream + unread),
        )

    def fault(self, error: Exception) -> None:
        """An unexpected error on either side: a bug of ours, which lets nobody in."""
        _log.error("connection.fault", conn=self.connection.conn, exc_info=error)
        self.say_goodbye(Farewell.FAULT)

    def _unavailable(self, reason: str) -> None:
        self._record(EventCode.GATE_FAULT, "Mail sign-in refused for now", self._mechanism, {"fault": reason})
        _log.warning("login.unavailable", conn=self.connection.conn, reason=reason, listener=self.connection.listener)
        self._end_leg()
        self._busy = False
        self._dialogue.unavailable()
        self._go_on()

    def _go_on(self) -> None:
        """The dialogue goes on, unless it has just ended: read again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _end_leg(self) -> None:
        leg, self._leg = self._leg, None
        if leg is not None:
            leg.close()

    # The end.

    def say_goodbye(self, why: Farewell) -> None:
        """End the connection for a reason of ours."""
        if self not in self._front.handshakes:
            self.close(self._dialogue.farewell(why))
        self.finish(why.value)
        self._transport.abort()  # whoever does not even take these words does not keep the connection

    def handshake_too_slow(self) -> None:
        """End the connection without a word."""
        self._transport.abort()
        self.finish(Farewell.TIMEOUT.value)

    def give_way(self, limit: str) -> bool:
        """End the connection without a word, unless a log-in is under way."""
        if self._leg is not None:
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
        self._release()
        self._front.crowd.leave(self._attempts.source, settled=False)
        self._dialogue.closed()
        self._transport.close()

    def _release(self) -> None:
        self._front.waiting.discard(self)
        self._front.handshakes.discard(self)
        self._front.holds.discard(self)

    def _facts(self, detail: Mapping[str, str | int] = _NO_DETAIL) -> Mapping[str, str | int]:
        """What the records of this connection's log-ins say besides; never in place of what they say themselves."""
        if not (self._hint or self._authcid):
            return detail
        facts = {"client_id": self._hint, "authcid": self._authcid}
        return {**{name: fact for name, fact in facts.items() if fact}, **detail}

    def _record(
        self, code: EventCode, message: str, mechanism: str, detail: Mapping[str, str | int] = _NO_DETAIL
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
