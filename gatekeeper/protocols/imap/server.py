"""What a phone may say before log-in, framed first and parsed second (RFC 9051 §9, RFC 7888).

What holds inside:

* Every size is checked where it is announced: a line before its end is there, a literal before `+` is sent.
* Only LOGIN and ID may carry literals. Octets announced for any other command are never read as commands.
* Lines end in CRLF. A bare LF, a NUL, or a line or literal over its limit ends the dialogue (`Fatal`).
* Garbage yields `Malformed` or `Fatal` and nothing else, in bounded memory.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

MAX_LINE_OCTETS = 8192
"""Dovecot's limit before log-in (IMAP_LOGIN_MAX_LINE_LENGTH)."""
MAX_ID_OCTETS = 32_768
"""Of an ID, in one line or with literals: thirty fields with values of 1024 octets are allowed (RFC 2971 §3.3)."""
MAX_LITERAL_OCTETS = 8192
MAX_LITERAL_MINUS_OCTETS = 4096
"""Of a literal that does not wait, where LITERAL- is offered (RFC 7888 §5)."""
MAX_COMMAND_OCTETS = 2 * max(MAX_LINE_OCTETS, MAX_LITERAL_OCTETS)
"""Of one command but ID with all its literals: limits on each literal alone are no limit (CVE-2024-34055)."""
MAX_TAG_OCTETS = 126
"""Dovecot's IMAP_TAG_MAX_LEN."""
MAX_ID_PAIRS = 30
"""RFC 2971 §3.3."""
MAX_LITERALS = 2 * MAX_ID_PAIRS
"""In one command; each of them may be answered with `+`."""
_MAX_LITERAL_DIGITS = 10

_LITERAL = re.compile(rb"\{([0-9]{1,10})(\+?)\}\Z")
_LITERAL_LIKE = re.compile(rb"\{[0-9]+\+?\}\Z")
_ID = re.compile(rb"[^ \r\n]{1,126} ID ", re.IGNORECASE)
_HTTP = re.compile(rb"[A-Z]+ [^ ]+ HTTP/[0-9.]+\Z")
_TAG = re.compile(rb"[!#-$&'*,-\[\]-z|}~]{1,126}")  # ASTRING-CHAR except `+`; `*` is taken out below
_NAME = re.compile(rb"[A-Za-z]{1,32}")
_TOKEN = re.compile(
    rb'[ ()]|"(?P<quoted>(?:[^"\\\r\n\0]|\\["\\])*)"'
    # Lenient: ASTRING-CHAR and 8-bit octets, as servers accept them.
    rb"|(?P<atom>[!#-$&'+-\[\]^-z|}~\x80-\xff]+)"
)
_ESCAPED = re.compile(rb'\\(["\\])')
_SPACE, _OPEN, _CLOSE = (" ", None), ("(", None), (")", None)

Token = tuple[str, bytes | None]
Argument = bytes | tuple[bytes | None, ...] | None
"""A string as octets, a list of strings, or NIL."""


class NeedData(Enum):
    """No complete event in what was received."""

    NEED_DATA = "need data"


NEED_DATA = NeedData.NEED_DATA


@dataclass(frozen=True, slots=True)
class Command:
    """A complete command of the closed set, or of a name we do not know."""

    tag: bytes
    name: bytes
    """Upper case."""
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class LiteralExpected:
    """The client waits for a continuation before it sends its literal."""


@dataclass(frozen=True, slots=True)
class Response:
    """The line after `expect_response`: a SASL response, or `*` to cancel."""

    line: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that is no command; the dialogue can go on."""

    tag: bytes | None
    """None: there was no usable tag, the reply is untagged."""


@dataclass(frozen=True, slots=True)
class Fatal:
    """Something after which the octets can no longer be told apart: say BYE and close."""

    reason: str
    is_too_big: bool = False
    """The client broke the bound that LITERAL- sets, and is told so (RFC 7888 §5)."""


Event = Command | LiteralExpected | Response | Malformed | Fatal


class _ParseError(Exception):
    pass


class Receiver:
    """Turns a client's octets into events; `b""` is never fed, the end of a connection is its owner's matter."""

    __slots__ = (
        "_buffer",
        "_literal_left",
        "_max_id",
        "_max_line",
        "_max_literal",
        "_pieces",
        "_response_limit",
        "_size",
        "limits_literals",
    )

    def __init__(
        self, max_line: int = MAX_LINE_OCTETS, max_literal: int = MAX_LITERAL_OCTETS, max_id: int = MAX_ID_OCTETS
    ) -> None:
        """Octets of a line, of one literal, and of a whole ID; any other command may be twice the larger of the two."""
        self._max_line = max_line
        self._max_id = max_id
        self._max_literal = max_literal
        self.limits_literals = False
        """Whether LITERAL- was offered, and not LITERAL+."""
        self._buffer = b""
        self._pieces: list[tuple[bytes, bool]] = []
        """The command so far: octets, and whether they are a literal."""
        self._size = 0
        self._literal_left = 0
        self._response_limit = 0

    def receive_data(self, data: bytes) -> None:
        """Take octets from the wire."""
        self._buffer = self._buffer + data if self._buffer else data

    def expect_response(self, limit: int) -> None:
        """Read the next line as a SASL response of at most `limit` octets."""
        self._response_limit = limit

    @property
    def trailing_data(self) -> bytes:
        """Octets received and not consumed, for the mail server after log-in."""
        return self._buffer

    def next_event(self) -> Event | NeedData:
        """The next event, or NEED_DATA."""
        while True:
            if self._literal_left:
                if len(self._buffer) < self._literal_left:
                    return NEED_DATA
                literal, self._buffer = self._buffer[: self._literal_left], self._buffer[self._literal_left :]
                self._literal_left = 0
                self._pieces.append((literal, True))
                if 0 in literal:
                    return Fatal("NUL in a literal")
            line = self._line()
            if not isinstance(line, bytes):
                return line
            if self._response_limit:
                self._response_limit = 0
                return Response(line)
            event = self._command_line(line)
            if event is not None:
                return event

    def _line(self) -> bytes | Fatal | NeedData:
        limit = self._response_limit or self._line_limit()
        end = self._buffer.find(b"\n", 0, limit + 2)
        if end < 0:
            # One octet more than the limit may be the CR, whose LF is still on its way.
            return Fatal("line too long") if len(self._buffer) > limit + 1 else NEED_DATA
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        if not line.endswith(b"\r"):
            return Fatal("bare LF")
        line = line[:-1]
        if b"\r" in line or b"\0" in line:
            return Fatal("control octet in a line")
        return line

    def _line_limit(self) -> int:
        return max(self._max_line, self._max_id - self._size) if self._is_id() else self._max_line

    def _is_id(self) -> bool:
        """Whether what is being read is an ID, which may be longer than other commands."""
        return _ID.match(self._pieces[0][0] if self._pieces else self._buffer) is not None

    def _command_line(self, line: bytes) -> Event | None:
        """What one line of a command amounts to; None: a literal follows that needs no answer."""
        self._size += len(line)
        self._pieces.append((line, False))
        announced = _LITERAL.search(line)
        if announced is None:
            too_many_digits = _LITERAL_LIKE.search(line) is not None
            pieces, self._pieces = self._pieces, []
            self._size = 0
            if too_many_digits:
                return Fatal("literal too large")
            if _HTTP.match(line):
                return Fatal("HTTP")  # a browser made to speak to us (ALPACA): nothing of it is answered
            return _parse(pieces)
        return self._announced(int(announced[1]), synchronising=not announced[2])

    def _announced(self, octets: int, *, synchronising: bool) -> Event | None:
        tag, name = _tag_and_name(self._pieces[0][0])
        self._size += octets
        if self.limits_literals and not synchronising and octets > MAX_LITERAL_MINUS_OCTETS:
            return Fatal("literal too large for LITERAL-", is_too_big=True)
        longest = 2 * max(self._max_line, self._max_literal)
        if octets > self._max_literal or self._size > (max(self._max_id, longest) if self._is_id() else longest):
            return Fatal("literal too large")
        if len(self._pieces) > 2 * MAX_LITERALS:
            return Fatal("too many literals")
        if tag is None or name not in (b"LOGIN", b"ID"):
            self._pieces, self._size = [], 0
            # An unsynchronised literal is on its way already and would be read as commands.
            return Malformed(tag) if synchronising else Fatal("unexpected literal")
        self._literal_left = octets
        if not octets:
            self._pieces.append((b"", True))
        return LiteralExpected() if synchronising else None


def _tag_and_name(line: bytes) -> tuple[bytes | None, bytes]:
    tag, _, rest = line.partition(b" ")
    if not _TAG.fullmatch(tag) or b"*" in tag:
        return None, b""
    name = rest.partition(b" ")[0]
    return tag, name.upper() if _NAME.fullmatch(name) else b""


def _parse(pieces: list[tuple[bytes, bool]]) -> Command | Malformed:
    first = pieces[0][0]
    tag, name = _tag_and_name(first)
    if tag is None or not name:
        return Malformed(tag)
    rest = first[len(tag) + 1 + len(name) :]
    try:
        arguments = tuple(_arguments([(rest, False), *pieces[1:]]))
    except _ParseError:
        return Malformed(tag)
    return Command(tag, name, arguments)


def _arguments(pieces: list[tuple[bytes, bool]]) -> list[Argument]:
    """Parse ` arg arg …`; an argument is a string or one list of strings. A trailing space is tolerated."""
    tokens = _tokens(pieces)
    found: list[Argument] = []
    for separator in tokens:
        if separator != _SPACE:
            raise _ParseError
        token = next(tokens, None)
        if token is None:
            break
        if token == _OPEN:
            found.append(_list(tokens))
        else:
            found.append(_value(token))
    return found


def _list(tokens: Iterator[Token]) -> tuple[bytes | None, ...]:
    """The rest of a list whose parenthesis was read."""
    items: list[bytes | None] = []
    token = next(tokens, None)
    while token != _CLOSE or items:
        if token is None or len(items) == 2 * MAX_ID_PAIRS:
            raise _ParseError
        items.append(_value(token))
        token = next(tokens, None)
        if token == _CLOSE:
            break
        if token != _SPACE:
            raise _ParseError
        token = next(tokens, None)
    return tuple(items)


def _value(token: Token) -> bytes | None:
    kind, value = token
    if kind != "value":
        raise _ParseError
    return value


def _tokens(pieces: list[tuple[bytes, bool]]) -> Iterator[Token]:
    """Spaces, parentheses and values in order; literals are values, their announcements nothing."""
    for piece, is_literal in pieces:
        if is_literal:
            yield "value", piece
            continue
        text = _LITERAL.sub(b"", piece)
        at = 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                raise _ParseError
            at = token.end()
            if token["quoted"] is not None:
                yield "value", _unescape(token["quoted"])
            elif token["atom"] is not None:
                yield "value", None if token["atom"].upper() == b"NIL" else token["atom"]
            else:
                yield token[0].decode(), None


def _unescape(quoted: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", quoted)
