"""aiosmtpd's `SMTP` class as the front before log-in, hardened and without its streams, tasks and timers.

aiosmtpd reads and dispatches the commands. Its coroutine waits for nothing but the next line and what the dialogue
finds out, so the dialogue resumes it by hand (`begin`, then `send`): there is no task that could outlive a
connection, and nothing is read ahead of the command that is being answered.

What holds inside:

* The command set is closed: `_COMMANDS` is all that aiosmtpd finds. None of them takes mail.
* aiosmtpd's own error texts, which quote the client or an exception, never go out (`push`, `handle_exception`).
* Credentials are taken only where the flow takes them; decoded, they leave here as `Credentials` and in no log.
"""

# ruff: noqa: N802, N815  the names of methods are aiosmtpd's
import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Generator, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from types import coroutine
from typing import Final

from aiosmtpd.smtp import SMTP, Session

from gatekeeper.enforcement.flow.dialogue import Farewell, Peer
from gatekeeper.enforcement.smtp import replies
from gatekeeper.protocols.sasl.mechanisms import (
    Credentials,
    Mechanism,
    Problem,
    SaslError,
    decode_base64,
    parse_response,
    password_credentials,
)

_COMMANDS: Final = (
    *("EHLO", "HELO", "STARTTLS", "AUTH", "NOOP", "RSET", "HELP", "QUIT"),
    *("MAIL", "RCPT", "DATA", "BDAT", "VRFY", "EXPN", "ETRN", "TURN"),
    *("GET", "POST", "CONNECT"),
)
_ANY_SIZE = 2**31
_USER_NAME_PROMPT = b"VXNlcm5hbWU6"
"""`Username:`; Thunderbird compares the octets (draft-murchison-sasl-login has them)."""
_PASSWORD_PROMPT = b"UGFzc3dvcmQ6"
_PROBLEMS = {
    Problem.MALFORMED: replies.BAD_RESPONSE,
    Problem.REFUSED: replies.WRONG_CREDENTIALS,
    Problem.AUTHZID: replies.NOT_ANOTHER,
}


class Wants(Enum):
    """What the coroutine waits for; besides, it waits for the verdict on `Credentials`."""

    COMMAND = auto()
    RESPONSE = auto()
    TLS = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a log-in."""

    reply: bytes
    challenge: bytes = b""
    """A bearer mechanism's error, which the client answers before the reply."""


Want = Wants | Credentials
Given = bytes | Verdict | None
Dialogued = Coroutine[Want, Given, None]


@coroutine
def _wait(want: Wants) -> Generator[Want, bytes, bytes]:
    return (yield want)


@coroutine
def _log_in(credentials: Credentials) -> Generator[Want, Verdict, Verdict]:
    return (yield credentials)


class _Lines:
    """Stands where aiosmtpd expects its stream."""

    async def readuntil(self) -> bytes:
        """The next command."""
        return await _wait(Wants.COMMAND)


class _NoHooks:
    """Stands where aiosmtpd expects a handler: all that is ours are methods of `Submission`."""

    def __dir__(self) -> Iterable[str]:
        return ()


class _NoTransport(asyncio.Transport):
    """Stands where aiosmtpd expects its socket, which is the flow's."""

    def close(self) -> None:
        """Do nothing: whoever makes too many errors is told so by the dialogue."""


_LINES = _Lines()
_NO_HOOKS = _NoHooks()
_NO_TRANSPORT = _NoTransport()


class _CancelledError(Exception):
    """The client gave up its AUTH (RFC 4954 §4)."""


class Submission(SMTP):
    """One client before log-in."""

    def __init__(self, peer: Peer, hostname: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            _NO_HOOKS,
            data_size_limit=None,
            hostname=hostname,  # else it would ask the DNS
            ident="ESMTP",
            enable_SMTPUTF8=True,  # or a host name with an umlaut after EHLO would be an error
            auth_required=True,
            auth_require_tls=True,
            loop=loop,
        )
        self._peer = peer
        self._current = Session(loop)
        self.ehlo_name = ""
        self.errors = 0
        self.fault: Exception | None = None

    def __dir__(self) -> Iterable[str]:
        """Where aiosmtpd looks for commands; a full listing would take most of a millisecond for each connection."""
        return [f"smtp_{name}" for name in _COMMANDS]

    def begin(self) -> Dialogued:
        """The dialogue from the greeting on; in place of `connection_made`, which would make streams and a task."""
        self._reader = _LINES  # type: ignore[assignment]  # all that is asked of it is `readuntil`
        self.transport = _NO_TRANSPORT
        self._forget()
        # Lines are bounded before they come here.
        self.command_size_limit = _ANY_SIZE
        self.command_size_limits = defaultdict(lambda: _ANY_SIZE)
        return self._handle_client()

    def release(self) -> None:
        """Break the reference cycles that aiosmtpd's tables of bound methods are."""
        vars(self).clear()

    def _forget(self) -> None:
        self.envelope = self._create_envelope()
        self.session = self._current = Session(self.loop)
        self.ehlo_name = ""
        self.errors = 0

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Do nothing: deadlines are the flow's."""

    async def push(self, status: str | bytes) -> None:
        """Send a reply; one fixed text stands for all of aiosmtpd's own about commands it cannot read."""
        reply = status.encode("ascii", "replace") if isinstance(status, str) else status
        if reply.startswith(b"50"):
            self.errors += 1
            if isinstance(status, str):
                reply = replies.BAD_ARGUMENTS if reply.startswith(b"501") else replies.UNKNOWN
        elif status == "250 OK":
            reply = replies.OK  # to NOOP and RSET; with ENHANCEDSTATUSCODES every reply has one (RFC 2034 §4)
        self._peer.send(reply + b"\r\n")

    async def handle_exception(self, error: Exception) -> str:
        """Keep an unexpected error for the dialogue; the client is told fixed words."""
        self.fault = error
        return replies.farewell(Farewell.FAULT).decode()

    # Commands.

    async def smtp_EHLO(self, hostname: str | None) -> None:
        """Offer what the mail server can do, and the next step towards it."""
        if not hostname:
            await self.push(replies.BAD_ARGUMENTS)
            return
        self._current.extended_smtp = True
        self._current.host_name = self.ehlo_name = hostname
        own = []
        if self._peer.offers_tls:
            own.append("STARTTLS")
        if self._peer.takes_credentials:
            own.append("AUTH " + " ".join(self._mechanisms()))
        await self.push(replies.ehlo(self.hostname, self._peer.upstream_offers, own))

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """Upgrade; afterwards this is a new session (RFC 3207 §4.2)."""
        if arg:
            await self.push(replies.BAD_ARGUMENTS)
        elif self._peer.is_encrypted:
            await self.push(replies.TLS_ALREADY)
        elif not self._peer.offers_tls:
            await self.push(replies.NO_TLS)
        else:
            await _wait(Wants.TLS)
            self._forget()

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: ARG002  whoever wants to go may go
        """Say goodbye."""
        await self._end(replies.GOODBYE)

    async def smtp_HELP(self, arg: str | None) -> None:  # noqa: ARG002  the same for every command
        """Be of little help."""
        await self.push(replies.HELP)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: ARG002  not looked at before log-in
        """Refuse what needs a log-in."""
        if self._peer.offers_tls and not self._peer.takes_credentials:
            await self.push(replies.NEEDS_STARTTLS)
        elif not self._current.host_name:
            await self.push(replies.EHLO_FIRST)
        else:
            await self.push(replies.NEEDS_LOGIN)

    smtp_RCPT = smtp_DATA = smtp_VRFY = smtp_EXPN = smtp_ETRN = smtp_TURN = smtp_MAIL

    async def smtp_BDAT(self, arg: str | None) -> None:  # noqa: ARG002
        """Refuse and close: the octets that follow are data, and must not be read as commands (RFC 3030 §2)."""
        await self._end(replies.NEEDS_LOGIN)

    async def smtp_GET(self, arg: str | None) -> None:  # noqa: ARG002
        """Close on what is another protocol's (Postfix's smtpd_forbidden_commands)."""
        await self._end(replies.UNKNOWN)

    smtp_POST = smtp_CONNECT = smtp_GET

    async def smtp_AUTH(self, arg: str | None) -> None:
        """Take credentials, have them tried, and answer if that was in vain (RFC 4954 §4)."""
        mechanism_name, *initial = (arg or "").split(" ")
        mechanism = self._mechanisms().get(mechanism_name.upper())
        if not self._peer.takes_credentials:
            if initial:
                self._peer.credentials_exposed(mechanism.value if mechanism else "other")
            await self.push(replies.NEEDS_TLS)
        elif not self._current.extended_smtp:
            await self.push(replies.EHLO_FIRST)
        elif not mechanism_name or len(initial) > 1:
            await self.push(replies.BAD_ARGUMENTS)
        elif mechanism is None:
            await self.push(replies.NO_SUCH_MECHANISM)
        else:
            await self._exchange(mechanism, [response.encode(errors="surrogateescape") for response in initial])

    async def _exchange(self, mechanism: Mechanism, initial: list[bytes]) -> None:
        try:
            credentials = await self._credentials(mechanism, initial)
        except _CancelledError:
            await self.push(replies.CANCELLED)
            return
        except SaslError as error:
            self.errors += error.problem is not Problem.MALFORMED  # `push` counts that one
            await self.push(_PROBLEMS[error.problem])
            return
        verdict = await _log_in(credentials)
        if verdict.challenge:
            self._ask(verdict.challenge)
            await _wait(Wants.RESPONSE)
        await self.push(verdict.reply)

    async def _credentials(self, mechanism: Mechanism, initial: list[bytes]) -> Credentials:
        if mechanism is Mechanism.LOGIN:
            name = decode_base64(initial[0]) if initial else await self._response(_USER_NAME_PROMPT)
            return password_credentials(mechanism, name, await self._response(_PASSWORD_PROMPT))
        response = decode_base64(initial[0]) if initial else await self._response(b"")
        return parse_response(mechanism, response)

    async def _response(self, challenge: bytes) -> bytes:
        self._ask(challenge)
        line = await _wait(Wants.RESPONSE)
        if line == b"*":
            raise _CancelledError
        return decode_base64(line)

    def _ask(self, challenge: bytes) -> None:
        self._peer.send(b"334 " + challenge + b"\r\n")  # the space stays when nothing follows

    def _mechanisms(self) -> dict[str, Mechanism]:
        return {mechanism.value: mechanism for mechanism in (Mechanism.PLAIN, Mechanism.LOGIN, *self._peer.mechanisms)}

    async def _end(self, last_words: bytes) -> None:
        await self.push(last_words)
        await _wait(Wants.END)
