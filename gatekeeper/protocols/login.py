"""Logging in upstream, as every mail protocol does it: octets in, steps out.

Each protocol's log-in client (the `client` module of its package) speaks to the mail server and yields these steps;
whoever owns the connection carries them out. A log-in ends in exactly one of `LoggedIn`, `Rejected` and `Failed`; a
client that was given no credentials ends in `Learnt` instead, having sent none.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

MAX_LINE_OCTETS = 65536
"""Of a mail server's line during log-in: capability lists are long, but not that long."""
MAX_LINES = 1000
"""Of a mail server's lines during one log-in."""


class NeedData(Enum):
    """Nothing to do until the mail server says more."""

    NEED_DATA = "need data"


NEED_DATA = NeedData.NEED_DATA


Octets = bytes | memoryview


class Screen(Protocol):
    """Follows a session after its log-in, and changes what must not pass.

    Octets in, octets out: for the client and for the mail server, in this order. What passes as it is comes back as the
    very object that was given.
    """

    @property
    def reads_client(self) -> bool:
        """Whether it looks at what the client says at all; else `from_client` may be left out."""
        ...

    @property
    def holds(self) -> bool:
        """Whether what the client said waits for the mail server: no more of it is to be read meanwhile."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the session ends, for what the client said; what was returned last is still to be told."""
        ...

    def begin(self, from_upstream: bytes, from_client: bytes) -> tuple[bytes, bytes]:
        """Take what either side has sent behind the log-in."""
        ...

    def from_upstream(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the mail server."""
        ...

    def from_client(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the client."""
        ...


@dataclass(frozen=True, slots=True)
class Send:
    """Octets for the mail server."""

    data: bytes
    bears_credentials: bool = field(default=True, compare=False)
    """Whether a credential, or a part of one, is in it. Once one was sent no other server is tried in this log-in."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """Upgrade now, then call `tls_started`."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The mail server accepted the credentials."""

    text: str
    """Its reply to people, cleaned."""
    capabilities: tuple[str, ...] | None = None
    """What it offers after log-in, without what a client must not use through us; None: it did not say."""
    screen: Screen | None = field(default=None, compare=False)
    """What the session must pass through from here on; None: it may be relayed unread."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The mail server refused the credentials, or the session, in its own words."""

    code: str | None
    """IMAP or POP3 response code, or SMTP's `535 5.7.8`; None: it gave none."""
    text: str
    """Cleaned, one line."""
    is_temporary: bool
    """Not about the credentials: the client should try again later."""
    is_delegation: bool = False
    """Somebody else's mailbox was asked for, which is refused before the mail server hears of it."""
    challenge: bytes = b""
    """The base64 error that a bearer mechanism sent first (RFC 7628 §3.2.2)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No log-in was possible; the reason is for operators, never for the client."""

    reason: str


@dataclass(frozen=True, slots=True)
class Learnt:
    """There are no credentials to try: `offers` now holds what the mail server takes, under TLS where configured."""


Step = Send | StartTls | LoggedIn | Rejected | Failed | Learnt


class LoginClient(Protocol):
    """One log-in."""

    def receive_data(self, data: bytes) -> None:
        """Take octets from the mail server."""
        ...

    def next_step(self) -> Step | NeedData:
        """The next thing to do."""
        ...

    def tls_started(self) -> None:
        """The connection is encrypted now: everything learnt before is forgotten."""
        ...

    @property
    def trailing_data(self) -> bytes:
        """Octets received after the log-in's end, for the phone."""
        ...

    @property
    def offers(self) -> frozenset[str]:
        """What the mail server offered before log-in, upper case."""
        ...


class LineBuffer:
    """A mail server's lines, bounded."""

    __slots__ = ("_buffer", "_lines", "_skipped")

    def __init__(self) -> None:
        self._buffer = b""
        self._lines = 0
        self._skipped = 0

    def receive_data(self, data: bytes) -> None:
        """Take octets from the wire."""
        self._buffer += data

    def next_line(self) -> bytes | None:
        """A line without its end, None when none is complete. Raises OverflowError over a limit."""
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > MAX_LINE_OCTETS:
                raise OverflowError("the mail server's line is too long")
            return None
        self._lines += 1
        if self._lines > MAX_LINES or end > MAX_LINE_OCTETS:
            raise OverflowError("the mail server talks too much during log-in")
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.removesuffix(b"\r")

    def skip(self, octets: int) -> bool:
        """Drop that many octets (a literal) as they come; False, to be called again, while they are not all here."""
        left = octets - self._skipped
        self._skipped += min(left, len(self._buffer))
        self._buffer = self._buffer[left:]
        if self._skipped < octets:
            return False
        self._skipped = 0
        return True

    @property
    def rest(self) -> bytes:
        """Octets not taken as lines."""
        return self._buffer


class LineLogin:
    """What the log-in clients of line protocols share; a protocol adds `_line`, which says what a line amounts to.

    Nothing is read any more after a step that is not `Send`: after `StartTls` until `_ask`, else for good.
    """

    __slots__ = ("_asks", "_lines", "_rests")

    def __init__(self) -> None:
        self._lines = LineBuffer()
        self._asks = b""
        self._rests = False

    @property
    def trailing_data(self) -> bytes:
        """What the server sent behind its last answer."""
        return self._lines.rest

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server."""
        self._lines.receive_data(data)

    def next_step(self) -> Step | NeedData:
        """The next thing to do; see `LoginClient`."""
        if self._asks:
            asks, self._asks = self._asks, b""
            return Send(asks, bears_credentials=False)
        while not self._rests:
            try:
                line = self._next_line()
            except OverflowError as error:
                return self._end(Failed(str(error)))
            if line is None:
                return NEED_DATA
            step = self._line(line)
            if step is not None:
                self._rests = not isinstance(step, Send)
                return step
        return NEED_DATA

    def _ask(self, command: bytes) -> None:
        """Go on with this command, which bears no credentials."""
        self._asks = command
        self._rests = False

    def _end(self, step: Step) -> Step:
        self._rests = True
        return step

    def _next_line(self) -> bytes | None:
        return self._lines.next_line()

    def _line(self, line: bytes) -> Step | None:
        """What to do about a line; None: nothing."""
        raise NotImplementedError


def clean_text(octets: bytes, limit: int = 400) -> str:
    """A mail server's text in one line of printable ASCII, for a client or a log."""
    text = octets[:limit].decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        text = "".join(character if "\x20" <= character < "\x7f" else "?" for character in text)
    return text.strip()
