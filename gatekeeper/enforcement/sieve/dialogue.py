"""A client's ManageSieve dialogue before admission: a closed set of five commands (RFC 5804 §2)."""

from collections.abc import Callable, Sequence

from gatekeeper.enforcement.flow.dialogue import DialogueLimits, Farewell, Peer, UpstreamLogin
from gatekeeper.enforcement.flow.talk import Talk
from gatekeeper.enforcement.sieve import replies
from gatekeeper.enforcement.sieve.exchange import Exchange
from gatekeeper.protocols.login import LoggedIn, LoginClient, Rejected
from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS, Credentials, Mechanism, Problem, SaslError
from gatekeeper.protocols.sieve.client import SieveLogin
from gatekeeper.protocols.sieve.server import (
    MAX_LINE_OCTETS,
    NEED_DATA,
    Command,
    Event,
    Fatal,
    Malformed,
    Receiver,
    Response,
)
from gatekeeper.protocols.sieve.strings import MAX_QUOTED_OCTETS

MAX_COMMANDS = 100
"""Before log-in, as many as on IMAP; clients send up to five."""
MAX_ERRORS = 3
"""Pigeonhole's CLIENT_MAX_BAD_COMMANDS."""

_PROBLEMS = {
    Problem.MALFORMED: replies.BAD_RESPONSE,
    Problem.REFUSED: replies.WRONG_CREDENTIALS,
    Problem.AUTHZID: replies.NOT_ANOTHER,
}


_OWN = DialogueLimits()


class SieveDialogue(Talk):
    """One client's dialogue; see `flow.dialogue.Dialogue`."""

    __slots__ = ("_exchange", "_last_reply", "_receiver")

    def __init__(self, peer: Peer, limits: DialogueLimits = _OWN) -> None:
        super().__init__(peer, limits)
        self._receiver = self._new_receiver()
        self._exchange: Exchange | None = None
        """Waits for the client's response."""
        self._last_reply = b""
        """What follows once the client has answered a bearer mechanism's error."""

    def greet(self) -> None:
        """Say hello with the capabilities (RFC 5804 §1.7)."""
        self._send(self._capabilities() + replies.READY)

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        self._receiver.receive_data(data)
        self._go_on()

    def tls_started(self) -> None:
        """Forget everything, and say unasked what is offered now (RFC 5804 §2.2)."""
        self._receiver = self._new_receiver()
        self._exchange = None
        self._commands = self._errors = 0
        self._send(self._capabilities() + replies.TLS_IS_ON)

    def login(self, credentials: Credentials, login: UpstreamLogin) -> LoginClient:
        """The client that logs in upstream."""
        return SieveLogin(credentials, name=login.name, starttls=login.starttls, xclient=_xclient(login))

    def admitted(self, logged_in: LoggedIn) -> bytes:
        """OK. The client asks anew for capabilities when it cares; the mail server answers."""
        return replies.logged_in(logged_in.text)

    def rejected(self, rejected: Rejected) -> None:
        """The mail server refused; a bearer mechanism's error is passed on first (RFC 7628 §3.2.3)."""
        self._busy = False
        reply = replies.rejected(rejected)
        if rejected.challenge:
            self._last_reply = reply
            self._ask(rejected.challenge)
        else:
            self._send(reply)
        self._go_on()

    def refused(self, text: str) -> None:
        """The policy refused. What the client pipelined behind its log-in is answered here, like any other command."""
        self._busy = False
        self._send(replies.refused(text))
        self._go_on()

    def unavailable(self) -> None:
        """A fault of ours."""
        self._busy = False
        self._send(replies.FAULT)
        self._go_on()

    def farewell(self, why: Farewell) -> bytes:
        """BYE."""
        return replies.farewell(why)

    def unread(self) -> bytes:
        """What the client sent behind its log-in."""
        return self._receiver.trailing_data

    def _go_on(self) -> None:
        while not self._busy and self._peer is not None:
            event = self._receiver.next_event()
            if event is NEED_DATA:
                return
            self._event(event)

    def _event(self, event: Event) -> None:
        match event:
            case Command():
                self._command(event)
            case Response(value):
                self._response(value)
            case Malformed() if self._last_reply:
                self._response(b"")
            case Malformed():
                reply = replies.UNKNOWN if self._exchange is None else replies.BAD_RESPONSE
                self._exchange = None
                self._error(reply)
            case Fatal():
                self._close(replies.farewell(Farewell.TOO_MANY_ERRORS))

    def _command(self, command: Command) -> None:
        self._commands += 1
        if self._commands > (self._limits.max_commands or MAX_COMMANDS):
            self._close(replies.farewell(Farewell.TOO_MANY_ERRORS))
            return
        answer = _COMMANDS.get(command.name)
        if answer is None:
            self._error()
        else:
            answer(self, command.arguments)

    def _capability(self, arguments: Sequence[bytes]) -> None:
        if arguments:
            self._error()
        else:
            self._send(self._capabilities() + replies.DONE)

    def _noop(self, arguments: Sequence[bytes]) -> None:
        if len(arguments) > 1 or any(len(tag) > MAX_QUOTED_OCTETS for tag in arguments):
            self._error()
        else:
            self._send(replies.noop(arguments[0] if arguments else None))

    def _logout(self, arguments: Sequence[bytes]) -> None:  # noqa: ARG002  whoever wants to go may go
        self._close(replies.GOODBYE)

    def _starttls(self, arguments: Sequence[bytes]) -> None:
        peer = self._peer
        if arguments or peer is None or not peer.offers_tls:
            self._error()
            return
        peer.start_tls(replies.START_TLS, leftover=self._receiver.trailing_data)

    def _authenticate(self, arguments: Sequence[bytes]) -> None:
        if not arguments or len(arguments) > 2:
            self._error()
            return
        mechanism = self._mechanisms().get(arguments[0].upper())
        exposed = "other" if mechanism is None else mechanism.value
        if not self._may_log_in(exposed if len(arguments) == 2 else ""):
            return
        if mechanism is None:
            self._error(replies.NOT_OFFERED)
            return
        self._exchange = Exchange(mechanism)
        if len(arguments) == 2:
            self._respond(arguments[1])
        else:
            self._ask(self._exchange.challenge)

    def _response(self, value: bytes) -> None:
        if self._last_reply:
            reply, self._last_reply = self._last_reply, b""
            self._send(reply)
        elif value == b"*":
            self._exchange = None
            self._error(replies.CANCELLED)
        else:
            self._respond(value)

    def _respond(self, value: bytes) -> None:
        """Go on with the exchange: ask for more, hand good credentials to the flow, answer bad ones."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or self._peer is None:
            return
        try:
            credentials = exchange.respond(value)
        except SaslError as error:
            self._error(_PROBLEMS[error.problem])
            return
        if credentials is None:
            self._exchange = exchange
            self._ask(exchange.challenge)
            return
        self._log_in(credentials)

    def _ask(self, challenge: bytes) -> None:
        self._receiver.expect_response()
        self._send(replies.challenge(challenge))

    def _may_log_in(self, exposed: str) -> bool:
        """Whether credentials are taken now; `exposed` names how they were sent already."""
        if self._takes_credentials(exposed):
            return True
        self._send(replies.NEEDS_TLS)
        return False

    def _mechanisms(self) -> dict[bytes, Mechanism]:
        more = () if self._peer is None else self._peer.mechanisms
        return {found.value.encode(): found for found in (Mechanism.PLAIN, Mechanism.LOGIN, *more)}

    def _capabilities(self) -> bytes:
        """Without mechanisms where they may not be used: the list is empty, and STARTTLS is offered (RFC 5804 §1.7)."""
        peer = self._peer
        if peer is None:
            return b""
        mechanisms = self._mechanisms().values() if peer.takes_credentials else ()
        return replies.capabilities(peer.upstream_offers, mechanisms, starttls=peer.offers_tls)

    def _new_receiver(self) -> Receiver:
        limits = self._limits
        return Receiver(limits.max_line_octets or MAX_LINE_OCTETS, limits.max_response_octets or MAX_RESPONSE_OCTETS)

    def _error(self, reply: bytes = replies.UNKNOWN) -> None:
        """Answer, and end a dialogue of too many errors."""
        self._errors += 1
        self._send(reply)
        if self._errors >= (self._limits.max_errors or MAX_ERRORS):
            self._close(replies.farewell(Farewell.TOO_MANY_ERRORS))


_COMMANDS: dict[bytes, Callable[[SieveDialogue, Sequence[bytes]], None]] = {
    b"AUTHENTICATE": SieveDialogue._authenticate,  # noqa: SLF001  the closed set, as a table
    b"CAPABILITY": SieveDialogue._capability,  # noqa: SLF001
    b"LOGOUT": SieveDialogue._logout,  # noqa: SLF001
    b"NOOP": SieveDialogue._noop,  # noqa: SLF001
    b"STARTTLS": SieveDialogue._starttls,  # noqa: SLF001
}


def _xclient(login: UpstreamLogin) -> str | None:
    """What tells the mail server whose connection this is (Pigeonhole's XCLIENT, for `login_trusted_networks`)."""
    if login.tells_address != "xclient":
        return None
    return f"ADDR={login.client_address} PORT={login.client_port} SESSION={login.tag}"
