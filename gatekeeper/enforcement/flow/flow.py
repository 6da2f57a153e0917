"""A client's log-ins, from its credentials to its admission; the same for every protocol.

What holds inside:

* An admitted connection is handed to `LiveSession`, which writes its terminal record.
* The credentials are checked by the mail server before the verdict is told: who has not proven an identity learns
  nothing about a device.
* Nothing of a log-in counts before its record is durable.
"""

import os
from socket import socket

import structlog

from gatekeeper.audit.event import EventCode
from gatekeeper.domain.request import ClientCertificate, Connection
from gatekeeper.domain.source import source_of
from gatekeeper.enforcement.flow.account import NotAllowed, Opening, certified_account, offered, opening
from gatekeeper.enforcement.flow.attempt import hold
from gatekeeper.enforcement.flow.certificate import presented
from gatekeeper.enforcement.flow.connection import NO_DETAIL, ClientConnection
from gatekeeper.enforcement.flow.dialogue import Farewell, UpstreamLogin
from gatekeeper.enforcement.flow.front import Front
from gatekeeper.enforcement.flow.introduction import is_load_balancer
from gatekeeper.enforcement.flow.live import LiveSession
from gatekeeper.enforcement.flow.preamble import proxy_header
from gatekeeper.enforcement.flow.upstream import Outcome, UpstreamLeg
from gatekeeper.gate.admit import Admitted, Answer, Claim, Faulted, Refused
from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.protocols.login import Failed, LoggedIn, Rejected
from gatekeeper.protocols.proxy_protocol.header import canonical
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism

_log = structlog.get_logger("gatekeeper.flow")

_NOBODY = Rejected(None, "Authentication failed", is_temporary=False)
_NOT_ANOTHER = Rejected(None, "Acting as another user is not allowed.", is_temporary=False, is_delegation=True)
_FROM_MEMORY = LoggedIn("")
"""Stands for the mail server's answer where a refusal needs none."""


def accept(front: Front, sock: socket, peer: tuple[str, int]) -> None:
    """Take an accepted connection, or turn it away when a limit is reached."""
    front.accepted += 1
    connection = Connection(os.urandom(8).hex(), front.protocol, front.name, canonical(peer[0]), peer[1], front.port)
    is_behind = bool(front.load_balancers) and is_load_balancer(connection.client_address, front.load_balancers)
    limit = front.limit_reached("" if is_behind else source_of(connection.client_address))
    if limit is not None:
        sock.close()
        front.turn_away(connection, limit)
    elif is_behind:
        Flow(front, connection, sock).await_introduction(sock)
    else:
        Flow(front, connection, sock).begin()


class Flow(ClientConnection):
    """A connection that is not admitted yet; implements `dialogue.Peer`."""

    __slots__ = ("_claim", "_leg", "_mechanism")

    def __init__(self, front: Front, connection: Connection, sock: socket) -> None:
        super().__init__(front, connection, sock)
        self._leg: UpstreamLeg | None = None
        self._mechanism = ""
        self._claim: Claim | None = None
        self._dialogue = front.new_dialogue(self)

    @property
    def is_logging_in(self) -> bool:
        """Whether the mail server is being asked."""
        return self._leg is not None

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """Bearer tokens where the mail server takes them; EXTERNAL where a certificate names an account."""
        front = self._front
        named = front.service is not None and certified_account(front.accounts, self._certificate()) is not None
        return offered(front.upstream_offers, takes_certificate=named)

    def _certificate(self) -> ClientCertificate | None:
        front = self._front
        return presented(self._transport.tls(), front.clock.now(), front.revocations_until)

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
        detail = {"authzid": found.authzid} if found.authzid else NO_DETAIL
        self._record(EventCode.CREDENTIALS_REFUSED, found.reason, self._mechanism, detail)
        if found.is_delegation:
            self._tell(_NOT_ANOTHER)
        else:
            self._failed(_NOBODY)

    def _attempt(self, found: Opening, certificate: ClientCertificate | None, *, is_again: bool = False) -> None:
        """Try as soon as the throttle lets this account try from this source."""
        wait_s = self._attempts.begin(self._account, is_again=is_again)
        if wait_s:
            hold(self._front, self, wait_s, lambda: self._attempt(found, certificate, is_again=True))
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
        leg.start(self._ahead)

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
                self._attempts.came_to_nothing()
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
            _log.warning("login.lost", conn=self.connection.conn, listener=self.connection.listener)
            if leg is not None:
                leg.close()
            self.close(self._dialogue.farewell(Farewell.FAULT))
            self._transport.abort()  # as in `_end`
            self._dialogue.closed()
            return
        upstream_sock, to_upstream = upstream
        client_sock, to_client = self._transport.detach()
        behind, unread, screen = leg.trailing_data, self._dialogue.unread(), logged_in.screen
        self._dialogue.closed()
        if screen is not None:
            behind, unread = screen.begin(behind, unread)
        session.begin(
            self._front.relay,
            (client_sock, to_client + reply + behind),
            (upstream_sock, to_upstream + unread),
            screen,
        )
        self._front.preconnect.logged_in()

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
