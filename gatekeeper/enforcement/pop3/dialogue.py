"""A phone's POP3 dialogue before admission: a closed set of six commands (RFC 1939 §4, RFC 2449, 2595 and 5034)."""

from collections.abc import Callable

from gatekeeper.enforcement.flow.dialogue import DialogueLimits, Farewell, Peer, UpstreamLogin
from gatekeeper.enforcement.flow.talk import Talk
from gatekeeper.enforcement.pop3 import replies
from gatekeeper.protocols.lines import Fatal
from gatekeeper.protocols.login import LoggedIn, LoginClient, Rejected
from gatekeeper.protocols.pop3.client import Pop3Login
from gatekeeper.protocols.pop3.server import MAX_COMMAND_OCTETS, Command, Receiver, parse_command
from gatekeeper.protocols.sasl.mechanisms import (
    MAX_RESPONSE_OCTETS,
    Credentials,
    Mechanism,
    Problem,
    SaslError,
    decode_base64,
    parse_response,
    password_credentials,
)

MAX_COMMANDS = 100
"""Before log-in. Clients send up to six; the rest is somebody who does not mean to log in."""
MAX_ERRORS = 3
"""Dovecot's CLIENT_MAX_BAD_COMMANDS."""

_OWN = DialogueLimits()
_ASKS_NAME = b"VXNlcm5hbWU6"
_ASKS_PASSWORD = b"UGFzc3dvcmQ6"
"""`Username:` and `Password:`, as every server of AUTH LOGIN asks."""
_PROBLEMS = {
    Problem.MALFORMED: replies.BAD_RESPONSE,
    Problem.REFUSED: replies.WRONG_CREDENTIALS,
    Problem.AUTHZID: replies.NOT_ANOTHER,
}


class Pop3Dialogue(Talk):
    """One client's dialogue; see `flow.dialogue.Dialogue`."""

    __slots__ = ("_awaits", "_name", "_receiver")

    def __init__(self, peer: Peer, limits: DialogueLimits = _OWN) -> None:
        super().__init__(peer, limits)
        self._receiver = self._new_receiver()
        self._name: bytes | None = None
        """What USER said."""
        self._awaits: Callable[[bytes], None] | None = None
        """Takes the next line, which is no command but the answer to a challenge."""

    def greet(self) -> None:
        """Say hello, without the timestamp that would invite APOP (RFC 1939 §7)."""
        self._answer(replies.GREETING)

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        self._receiver.receive_data(data)
        self._go_on()

    def tls_started(self) -> None:
        """Forget everything; the client asks for capabilities again (RFC 2595 §4)."""
        self._receiver = self._new_receiver()
        self._name = self._awaits = None
        self._commands = self._errors = 0

    def login(self, credentials: Credentials, login: UpstreamLogin) -> LoginClient:
        """The client that logs in upstream."""
        client = (login.client_address, login.client_port) if login.tells_address == "xclient" else None
        return Pop3Login(credentials, name=login.name, starttls=login.starttls, client=client)

    def admitted(self, logged_in: LoggedIn) -> bytes:
        """The mail server's welcome."""
        return replies.logged_in(logged_in.text) + b"\r\n"

    def rejected(self, rejected: Rejected) -> None:
        """The mail server refused; a bearer mechanism's error is passed on first (RFC 7628 §3.2.3)."""
        reply = replies.rejected(rejected)
        if rejected.challenge:
            self._busy = False
            self._challenge(rejected.challenge, lambda _line: self._answer(reply))
            self._go_on()
        else:
            self._outcome(reply)

    def refused(self, text: str) -> None:
        """The policy refused. What the client pipelined behind its log-in is answered here, like any other command."""
        self._outcome(replies.refused(text))

    def unavailable(self) -> None:
        """A fault of ours."""
        self._outcome(replies.FAULT)

    def farewell(self, why: Farewell) -> bytes:
        """Mostly nothing: POP3 has no word for it."""
        return replies.farewell(why)

    def unread(self) -> bytes:
        """What the client sent behind its log-in."""
        return self._receiver.trailing_data

    def closed(self) -> None:
        """Let go of the flow."""
        self._peer = self._awaits = None

    def _outcome(self, reply: bytes) -> None:
        """Of a log-in that does not let the client in."""
        self._busy = False
        self._answer(reply)
        self._go_on()

    def _go_on(self) -> None:
        while not self._busy and self._peer is not None:
            line = self._receiver.next_command() if self._awaits is None else self._receiver.next_response()
            if line is None:
                return
            if isinstance(line, Fatal):
                self._bye()
            elif self._awaits is None:
                self._line(line)
            else:
                self._response(line, self._awaits)

    def _line(self, line: bytes) -> None:
        command = parse_command(line)
        self._commands += 1
        if command is None or self._commands > (self._limits.max_commands or MAX_COMMANDS):
            self._bye()
            return
        answer = _COMMANDS.get(command.name)
        if answer is None:
            self._error(replies.UNKNOWN)
        else:
            answer(self, command)

    def _capa(self, command: Command) -> None:
        if command.argument is not None:
            self._error(replies.UNKNOWN)
            return
        peer = self._peer
        if peer is None:
            return
        own = ["RESP-CODES", "AUTH-RESP-CODE"]
        if peer.offers_tls:
            own.append("STLS")
        if peer.takes_credentials:
            own += ["USER", " ".join(["SASL", *self._mechanisms()])]
        self._answer(replies.capabilities(peer.upstream_offers, own))

    def _quit(self, command: Command) -> None:  # noqa: ARG002  whoever wants to go may go
        self._close(replies.GOODBYE + b"\r\n")

    def _stls(self, command: Command) -> None:
        peer = self._peer
        if command.argument is not None or peer is None or not peer.offers_tls:
            self._error(replies.UNKNOWN)
            return
        peer.start_tls(replies.START_TLS + b"\r\n", leftover=self._receiver.trailing_data)

    def _user(self, command: Command) -> None:
        if not self._may_log_in(""):
            return
        name = command.argument or b""
        # Octets beyond ASCII would have to be agreed by UTF8 (RFC 6856 §2.1), which is not offered.
        if not name or any(not 0x20 <= octet < 0x7F for octet in name):
            self._name = None
            self._error(replies.BAD_NAME)
            return
        self._name = name
        self._answer(replies.DONE)

    def _pass(self, command: Command) -> None:
        """Everything behind the first space is the password (RFC 1939 §7)."""
        password = command.argument
        if not self._may_log_in(Mechanism.LOGIN.value if password else ""):
            return
        name, self._name = self._name, None
        if name is None or password is None:
            self._error(replies.USER_FIRST if name is None else replies.UNKNOWN)
        else:
            self._try(lambda: password_credentials(Mechanism.LOGIN, name, password))

    def _auth(self, command: Command) -> None:
        """AUTH alone asks for the list (RFC 1734's drafts; old Outlook)."""
        words = (command.argument or b"").split()
        mechanism = self._mechanisms().get(words[0].decode("ascii", "replace").upper()) if words else None
        exposed = "other" if mechanism is None else mechanism.value
        if not self._may_log_in(exposed if len(words) > 1 else ""):
            return
        self._name = None
        if not words:
            self._answer(replies.listed(self._mechanisms()))
        elif mechanism is None or len(words) > 2:
            self._error(replies.NOT_OFFERED if mechanism is None else replies.UNKNOWN)
        elif len(words) == 2:
            self._exchange(mechanism, words[1])
        else:
            asks = _ASKS_NAME if mechanism is Mechanism.LOGIN else b""
            self._challenge(asks, lambda line: self._exchange(mechanism, line))

    def _exchange(self, mechanism: Mechanism, line: bytes) -> None:
        """The first response of an exchange."""
        if mechanism is Mechanism.LOGIN:
            self._challenge(_ASKS_PASSWORD, lambda password: self._try(lambda: _login_credentials(line, password)))
        else:
            self._try(lambda: parse_response(mechanism, decode_base64(line)))

    def _challenge(self, challenge: bytes, then: Callable[[bytes], None]) -> None:
        self._awaits = then
        self._answer(b"+ " + challenge)

    def _response(self, line: bytes, then: Callable[[bytes], None]) -> None:
        self._awaits = None
        if line == b"*":
            self._error(replies.CANCELLED)
        else:
            then(line)

    def _try(self, credentials: Callable[[], Credentials]) -> None:
        """Hand good credentials to the flow, answer bad ones."""
        try:
            found = credentials()
        except SaslError as error:
            self._error(_PROBLEMS[error.problem])
            return
        self._log_in(found)

    def _may_log_in(self, exposed: str) -> bool:
        """Whether credentials are taken now; `exposed` names how they were sent already."""
        if self._takes_credentials(exposed):
            return True
        self._answer(replies.NEEDS_TLS)
        return False

    def _mechanisms(self) -> dict[str, Mechanism]:
        """What is offered now: passwords always, tokens and certificates where they are taken."""
        more = () if self._peer is None else self._peer.mechanisms
        return {found.value: found for found in (Mechanism.PLAIN, Mechanism.LOGIN, *more)}

    def _new_receiver(self) -> Receiver:
        limits = self._limits
        return Receiver(limits.max_line_octets or MAX_COMMAND_OCTETS, limits.max_response_octets or MAX_RESPONSE_OCTETS)

    def _error(self, reply: bytes) -> None:
        self._errors += 1
        if self._errors >= (self._limits.max_errors or MAX_ERRORS):
            self._bye()
        else:
            self._answer(reply)

    def _answer(self, reply: bytes) -> None:
        if self._peer is not None:
            self._peer.send(reply + b"\r\n")

    def _bye(self) -> None:
        self._close(replies.farewell(Farewell.TOO_MANY_ERRORS))


_COMMANDS: dict[bytes, Callable[[Pop3Dialogue, Command], None]] = {
    b"CAPA": Pop3Dialogue._capa,  # noqa: SLF001  the closed set, as a table
    b"QUIT": Pop3Dialogue._quit,  # noqa: SLF001
    b"STLS": Pop3Dialogue._stls,  # noqa: SLF001
    b"USER": Pop3Dialogue._user,  # noqa: SLF001
    b"PASS": Pop3Dialogue._pass,  # noqa: SLF001
    b"AUTH": Pop3Dialogue._auth,  # noqa: SLF001
}


def _login_credentials(name: bytes, password: bytes) -> Credentials:
    return password_credentials(Mechanism.LOGIN, decode_base64(name), decode_base64(password))
