"""A phone's IMAP dialogue before admission: a closed set of eight commands (RFC 9051 §6.1 and §6.2, RFC 2971)."""

from collections.abc import Callable, Sequence

from gatekeeper.enforcement.flow.dialogue import DialogueLimits, Farewell, NewDialogue, Peer, UpstreamLogin
from gatekeeper.enforcement.flow.talk import Talk
from gatekeeper.enforcement.imap import replies
from gatekeeper.enforcement.imap.replies import RefusalCode
from gatekeeper.protocols.imap.client import ImapLogin
from gatekeeper.protocols.imap.client_id import described
from gatekeeper.protocols.imap.server import (
    MAX_ID_OCTETS,
    MAX_LINE_OCTETS,
    MAX_LITERAL_OCTETS,
    NEED_DATA,
    Argument,
    Command,
    Event,
    Fatal,
    LiteralExpected,
    Malformed,
    Receiver,
    Response,
)
from gatekeeper.protocols.login import LoggedIn, LoginClient, Rejected
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
"""`Username:` and `Password:`, as every server of SASL LOGIN asks."""
_PROBLEMS = {
    Problem.MALFORMED: replies.BAD_RESPONSE,
    Problem.REFUSED: replies.WRONG_CREDENTIALS,
    Problem.AUTHZID: replies.NOT_ANOTHER,
}


class ImapDialogue(Talk):
    """One client's dialogue; see `flow.dialogue.Dialogue`."""

    __slots__ = ("_asked", "_challenged", "_code", "_mechanism", "_name", "_receiver", "_tag")

    def __init__(self, peer: Peer, code: RefusalCode, limits: DialogueLimits = _OWN) -> None:
        super().__init__(peer, limits)
        self._code = code
        self._receiver = self._new_receiver()
        self._tag = b""
        """Of the command that is being answered."""
        self._mechanism: Mechanism | None = None
        """An exchange waits for the client's response."""
        self._name: bytes | None = None
        """What SASL LOGIN was told; its password is what it waits for."""
        self._challenged: bytes = b""
        """The reply that follows once the client has answered a bearer mechanism's error."""
        self._asked = False
        """The client asked for capabilities itself, so it may not look at a response code."""

    def greet(self) -> None:
        """Say hello with the capabilities: it saves a round trip, and clients act on it."""
        self._send(b"* OK [CAPABILITY " + self._capabilities() + b"] Ready.\r\n")

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        self._receiver.receive_data(data)
        self._go_on()

    def tls_started(self) -> None:
        """Forget everything; the client asks for capabilities again (RFC 9051 §6.2.1)."""
        self._receiver = self._new_receiver()
        self._asked = False
        self._commands = self._errors = 0

    def login(self, credentials: Credentials, login: UpstreamLogin) -> LoginClient:
        """The client that logs in upstream."""
        return ImapLogin(
            credentials, name=login.name, starttls=login.starttls, tag=login.tag, id_fields=_id_fields(login)
        )

    def admitted(self, logged_in: LoggedIn) -> bytes:
        """The tagged OK, with the mail server's capabilities where the client will see them."""
        if logged_in.capabilities is None:
            return self._tag + b" OK " + logged_in.text.encode() + b"\r\n"
        offered = " ".join(logged_in.capabilities).encode()
        if self._asked:
            return b"* CAPABILITY %b\r\n%b OK %b\r\n" % (offered, self._tag, logged_in.text.encode())
        return b"%b OK [CAPABILITY %b] %b\r\n" % (self._tag, offered, logged_in.text.encode())

    def rejected(self, rejected: Rejected) -> None:
        """The mail server refused; a bearer mechanism's error is passed on first (RFC 7628 §3.2.3)."""
        self._busy = False
        reply = replies.rejected(rejected)
        if rejected.challenge:
            self._challenged = reply
            self._ask(rejected.challenge)
        else:
            self._answer(reply)
        self._go_on()

    def refused(self, text: str) -> None:
        """The policy refused. What the client pipelined behind its log-in is answered here, like any other command."""
        self._busy = False
        self._answer(replies.refused(self._code, text))
        self._go_on()

    def unavailable(self) -> None:
        """A fault of ours."""
        self._busy = False
        self._answer(replies.FAULT)
        self._go_on()

    def farewell(self, why: Farewell) -> bytes:
        """BYE."""
        return replies.farewell(why)

    def unread(self) -> bytes:
        """What the client sent behind its log-in."""
        return self._receiver.trailing_data

    def _new_receiver(self) -> Receiver:
        limits = self._limits
        line = limits.max_line_octets
        # A bound that the operator sets holds for ID too.
        return Receiver(line or MAX_LINE_OCTETS, limits.max_literal_octets or MAX_LITERAL_OCTETS, line or MAX_ID_OCTETS)

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
            case LiteralExpected():
                self._send(b"+ OK\r\n")
            case Response(line):
                self._response(line)
            case Malformed(tag):
                self._error(tag)
            case Fatal(is_too_big=True):
                self._close(replies.TOO_BIG)
            case Fatal():
                self._bye(Farewell.TOO_MANY_ERRORS)

    def _command(self, command: Command) -> None:
        self._tag = command.tag
        self._commands += 1
        if self._commands > (self._limits.max_commands or MAX_COMMANDS):
            self._bye(Farewell.TOO_MANY_ERRORS)
            return
        answer = _COMMANDS.get(command.name)
        if answer is None:
            self._error(command.tag)
        else:
            answer(self, command.arguments)

    def _capability(self, arguments: Sequence[Argument]) -> None:
        if arguments:
            self._error(self._tag)
            return
        self._asked = True
        self._send(b"* CAPABILITY " + self._capabilities() + b"\r\n")
        self._answer(b"OK Done.")

    def _noop(self, arguments: Sequence[Argument]) -> None:
        if arguments:
            self._error(self._tag)
        else:
            self._answer(b"OK Done.")

    def _logout(self, arguments: Sequence[Argument]) -> None:  # noqa: ARG002  whoever wants to go may go
        self._close(b"* BYE Goodbye.\r\n" + self._tag + b" OK Done.\r\n")

    def _starttls(self, arguments: Sequence[Argument]) -> None:
        peer = self._peer
        if arguments or peer is None or not peer.offers_tls:
            self._error(self._tag)
            return
        peer.start_tls(self._tag + b" OK Begin TLS now.\r\n", leftover=self._receiver.trailing_data)

    def _id(self, arguments: Sequence[Argument]) -> None:
        """Answered here: what a client says of itself is a hint that anybody can give, and never goes upstream."""
        fields = arguments[0] if len(arguments) == 1 else b""
        if isinstance(fields, bytes) or (fields is not None and (len(fields) % 2 or None in fields[::2])):
            self._error(self._tag)
            return
        if fields and self._peer is not None:
            self._peer.client_says(described(fields))
        self._send(b"* ID NIL\r\n")
        self._answer(b"OK Done.")

    def _enable(self, arguments: Sequence[Argument]) -> None:
        if not arguments or any(not isinstance(argument, bytes) for argument in arguments):
            self._error(self._tag)
            return
        self._send(b"* ENABLED\r\n")
        self._answer(b"OK Nothing can be enabled before logging in.")

    def _login(self, arguments: Sequence[Argument]) -> None:
        name, password = arguments if len(arguments) == 2 else (None, None)
        if not isinstance(name, bytes) or not isinstance(password, bytes):
            self._error(self._tag)
        elif self._may_log_in("LOGIN"):
            self._try(lambda: password_credentials(Mechanism.LOGIN, name, password))

    def _authenticate(self, arguments: Sequence[Argument]) -> None:
        words = [argument for argument in arguments if isinstance(argument, bytes)]
        if not words or len(words) != len(arguments) or len(words) > 2:
            self._error(self._tag)
            return
        mechanism = self._mechanisms().get(words[0].upper())
        exposed = "other" if mechanism is None else mechanism.value
        if not self._may_log_in(exposed if len(words) == 2 else ""):
            return
        if mechanism is None:
            self._errors += 1
            self._answer(replies.NOT_OFFERED)
            self._give_up()
            return
        self._mechanism = mechanism
        if len(words) == 2:
            self._exchange(words[1])
        else:
            self._ask(_ASKS_NAME if mechanism is Mechanism.LOGIN else b"")

    def _ask(self, challenge: bytes) -> None:
        self._receiver.expect_response(self._limits.max_response_octets or MAX_RESPONSE_OCTETS)
        self._send(b"+ " + challenge + b"\r\n")

    def _response(self, line: bytes) -> None:
        if self._challenged:
            reply, self._challenged = self._challenged, b""
            self._answer(reply)
        elif line == b"*":
            self._mechanism = self._name = None
            self._errors += 1
            self._answer(replies.CANCELLED)
            self._give_up()
        else:
            self._exchange(line)

    def _exchange(self, line: bytes) -> None:
        mechanism, name = self._mechanism, self._name
        if mechanism is Mechanism.LOGIN and name is None:
            self._name = line
            self._ask(_ASKS_PASSWORD)
            return
        self._mechanism = self._name = None
        if mechanism is None:
            self._error(self._tag)
        elif name is not None:
            self._try(lambda: password_credentials(mechanism, decode_base64(name), decode_base64(line)))
        else:
            self._try(lambda: parse_response(mechanism, decode_base64(line)))

    def _try(self, credentials: Callable[[], Credentials]) -> None:
        """Hand good credentials to the flow, answer bad ones."""
        try:
            found = credentials()
        except SaslError as error:
            self._errors += 1
            self._answer(_PROBLEMS[error.problem])
            self._give_up()
            return
        self._log_in(found)

    def _may_log_in(self, exposed: str) -> bool:
        """Whether credentials are taken now; `exposed` names how they were sent already."""
        if self._takes_credentials(exposed):
            return True
        self._answer(replies.NEEDS_TLS)
        return False

    def _mechanisms(self) -> dict[bytes, Mechanism]:
        """PLAIN always, LOGIN where the mail server has it: the LOGIN command says the same with less."""
        if self._peer is None:
            return {}
        login = (Mechanism.LOGIN,) if "AUTH=LOGIN" in self._peer.upstream_offers else ()
        return {found.value.encode(): found for found in (Mechanism.PLAIN, *login, *self._peer.mechanisms)}

    def _capabilities(self) -> bytes:
        peer = self._peer
        names = [*self._revisions(), *self._literals(), b"SASL-IR", b"ID", b"ENABLE", b"IDLE"]
        if peer is not None and peer.offers_tls:
            names.append(b"STARTTLS")
        if peer is not None and peer.takes_credentials:
            names += [b"AUTH=" + name for name in self._mechanisms()]
        else:
            names.append(b"LOGINDISABLED")
        return b" ".join(names)

    def _revisions(self) -> list[bytes]:
        """Of IMAP, as the mail server has them; before log-in they are the same to us (RFC 9051 App. E)."""
        offers = frozenset() if self._peer is None else self._peer.upstream_offers
        return [name.encode() for name in ("IMAP4rev1", "IMAP4rev2") if name.upper() in offers] or [b"IMAP4rev1"]

    def _literals(self) -> list[bytes]:
        """Literals without a round trip, as the mail server takes them: clients go on using them after the log-in."""
        offers = frozenset() if self._peer is None else self._peer.upstream_offers
        offered = [name for name in ("LITERAL+", "LITERAL-") if name in offers][:1]
        self._receiver.limits_literals = offered == ["LITERAL-"]
        return [name.encode() for name in offered]

    def _error(self, tag: bytes | None) -> None:
        self._errors += 1
        self._send((tag or b"*") + b" " + replies.UNKNOWN + b"\r\n")
        self._give_up()

    def _give_up(self) -> None:
        """End a dialogue of too many errors."""
        if self._errors >= (self._limits.max_errors or MAX_ERRORS):
            self._bye(Farewell.TOO_MANY_ERRORS)

    def _answer(self, reply: bytes) -> None:
        self._send(self._tag + b" " + reply + b"\r\n")

    def _bye(self, why: Farewell) -> None:
        self._close(replies.farewell(why))


_COMMANDS: dict[bytes, Callable[[ImapDialogue, Sequence[Argument]], None]] = {
    b"CAPABILITY": ImapDialogue._capability,  # noqa: SLF001  the closed set, as a table
    b"NOOP": ImapDialogue._noop,  # noqa: SLF001
    b"LOGOUT": ImapDialogue._logout,  # noqa: SLF001
    b"STARTTLS": ImapDialogue._starttls,  # noqa: SLF001
    b"ID": ImapDialogue._id,  # noqa: SLF001
    b"ENABLE": ImapDialogue._enable,  # noqa: SLF001
    b"LOGIN": ImapDialogue._login,  # noqa: SLF001
    b"AUTHENTICATE": ImapDialogue._authenticate,  # noqa: SLF001
}


def imap_dialogue(code: RefusalCode = RefusalCode.UNAVAILABLE, limits: DialogueLimits = _OWN) -> NewDialogue:
    """How a listener starts its dialogues."""
    return lambda peer: ImapDialogue(peer, code, limits)


def _id_fields(login: UpstreamLogin) -> tuple[tuple[str, str], ...]:
    """What tells the mail server whose connection this is (Dovecot's `login_trusted_networks`)."""
    if login.tells_address != "id":
        return ()
    return (
        ("x-originating-ip", login.client_address),
        ("x-originating-port", str(login.client_port)),
        ("x-session-id", login.tag),
    )
