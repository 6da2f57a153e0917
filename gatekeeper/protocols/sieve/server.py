"""What a phone may say before log-in, framed first and parsed second (RFC 5804 §4).

What holds inside:

* Every size is checked where it is announced: a line before its end is there, a literal before any of it is kept.
* Octets of a literal are never read as a command, whatever command they came with.
* Clients' literals are `{n+}`, as the RFC has it: one that would wait for an answer ends the dialogue, and so do a bare
  LF, a NUL, and whatever is over its limit (`Fatal`).
* Garbage yields `Malformed` or `Fatal` and nothing else, in bounded memory.
"""

import re
from dataclasses import dataclass
from enum import Enum

from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS
from gatekeeper.protocols.sieve.strings import QUOTED, unescape

MAX_LINE_OCTETS = 8192
"""Pigeonhole's limit before log-in (MAX_MANAGESIEVE_LINE)."""
_BESIDE_OCTETS = 1024
MAX_COMMAND_OCTETS = MAX_RESPONSE_OCTETS + _BESIDE_OCTETS
"""Of one command, or one SASL response, with its literals: limits on each alone are no limit (CVE-2024-34055)."""
MAX_LITERALS = 4
"""In one command; AUTHENTICATE can use two."""

_LITERAL = re.compile(rb"\{([0-9]{1,10})\+\}\Z")
_LITERAL_LIKE = re.compile(rb"\{[0-9]+\+?\}\Z")
_HTTP = re.compile(rb"[A-Z]+ [^ ]+ HTTP/[0-9.]+\Z")
_NAME = re.compile(rb"[A-Za-z]{1,32}(?= |\Z)")
_STRING = re.compile(rb" " + QUOTED)


class NeedData(Enum):
    """No complete event in what was received."""

    NEED_DATA = "need data"


NEED_DATA = NeedData.NEED_DATA


@dataclass(frozen=True, slots=True)
class Command:
    """A complete command whose arguments are all strings, of the closed set or of a name we do not know."""

    name: bytes
    """Upper case."""
    arguments: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """The string after `expect_response`: a SASL response, or `*` to cancel."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that is no command, or no response; the dialogue can go on."""


@dataclass(frozen=True, slots=True)
class Fatal:
    """Something after which the octets can no longer be told apart: say BYE and close."""

    reason: str


Event = Command | Response | Malformed | Fatal


class Receiver:
    """Turns a client's octets into events; `b""` is never fed, the end of a connection is its owner's matter."""

    __slots__ = ("_buffer", "_expects_response", "_literal_left", "_max_line", "_max_response", "_pieces", "_size")

    def __init__(self, max_line: int = MAX_LINE_OCTETS, max_response: int = MAX_RESPONSE_OCTETS) -> None:
        """Octets of a line, and of a SASL response; a command with all its literals may be a little larger."""
        self._max_line = max_line
        self._max_response = max_response
        self._buffer = b""
        self._pieces: list[tuple[bytes, bool]] = []
        """The command so far: octets, and whether they are a literal."""
        self._size = 0
        self._literal_left = 0
        self._expects_response = False

    def receive_data(self, data: bytes) -> None:
        """Take octets from the wire."""
        self._buffer = self._buffer + data if self._buffer else data

    def expect_response(self) -> None:
        """Read a string next, as a SASL response, instead of a command."""
        self._expects_response = True

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
            event = self._take(line)
            if event is not None:
                return event

    def _line(self) -> bytes | Fatal | NeedData:
        limit = self._max_response + _BESIDE_OCTETS if self._expects_response else self._max_line
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

    def _take(self, line: bytes) -> Event | None:
        """What one line of a command amounts to; None: a literal follows."""
        self._size += len(line)
        self._pieces.append((line, False))
        if self._size > self._max_response + _BESIDE_OCTETS:
            return Fatal("command too long")
        if _LITERAL_LIKE.search(line):
            return self._announced(_LITERAL.search(line))
        pieces, self._pieces, self._size = self._pieces, [], 0
        if self._expects_response:
            self._expects_response = False
            return _response(pieces)
        if _HTTP.match(line):
            return Fatal("HTTP")  # a browser made to speak to us (ALPACA): nothing of it is answered
        return _command(pieces)

    def _announced(self, literal: re.Match[bytes] | None) -> Fatal | None:
        if literal is None:
            return Fatal("literal that waits, or is too large")
        self._size += int(literal[1])
        if self._size > self._max_response + _BESIDE_OCTETS:
            return Fatal("literal too large")
        if len(self._pieces) >= 2 * MAX_LITERALS:
            return Fatal("too many literals")
        self._literal_left = int(literal[1])
        if not self._literal_left:
            self._pieces.append((b"", True))
        return None


def _command(pieces: list[tuple[bytes, bool]]) -> Command | Malformed:
    first = pieces[0][0]
    name = _NAME.match(first)
    if name is None:
        return Malformed()
    strings = _strings([(first[name.end() :], False), *pieces[1:]])
    return Malformed() if strings is None else Command(name[0].upper(), strings)


def _response(pieces: list[tuple[bytes, bool]]) -> Response | Malformed:
    strings = _strings([(b" " + pieces[0][0], False), *pieces[1:]])
    return Response(strings[0]) if strings is not None and len(strings) == 1 else Malformed()


def _strings(pieces: list[tuple[bytes, bool]]) -> tuple[bytes, ...] | None:
    """Strings with a space before each; None when that is not all. A trailing space is tolerated."""
    found: list[bytes] = []
    for piece, is_literal in pieces:
        if is_literal:
            found.append(piece)
            continue
        text = _LITERAL.sub(b"", piece)
        at = 0
        while string := _STRING.match(text, at):
            found.append(unescape(string[1]))
            at = string.end()
        if text[at:] != b" " and (text[at:] or text != piece):
            return None  # before a literal there is a space
    return tuple(found)
