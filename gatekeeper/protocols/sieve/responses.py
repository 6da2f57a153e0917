"""A ManageSieve server's responses, bounded: capabilities, SASL challenges, OK, NO and BYE (RFC 5804 §1.3, §4)."""

import re
from dataclasses import dataclass

from gatekeeper.protocols.login import MAX_LINE_OCTETS, LineBuffer
from gatekeeper.protocols.sieve.strings import QUOTED, unescape

_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\Z")
_LITERAL_LIKE = re.compile(rb"\{[0-9]+\+?\}\Z")
_TOKEN = re.compile(rb' *(?:([()])|([^ "()\\{}]+)|' + QUOTED + rb")")
_STATUSES = frozenset({b"OK", b"NO", b"BYE"})

_Token = tuple[str, bytes]
"""`atom`, `string`, or a parenthesis as its own kind."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response, whole."""

    status: bytes
    """`OK`, `NO` or `BYE`; empty: a line of strings, a capability or a challenge."""
    code: str
    """Upper case, without what stands behind it: referrals are not followed. Empty: none."""
    strings: tuple[bytes, ...]
    """The capability and its value, the challenge, or the text for people."""


class ResponseBuffer:
    """Turns a server's octets into responses."""

    __slots__ = ("_left", "_lines", "_pieces", "_size")

    def __init__(self) -> None:
        self._lines = LineBuffer()
        self._pieces: list[tuple[bytes, bool]] = []
        """The response so far: octets, and whether they are a literal."""
        self._size = 0
        self._left = 0
        """Octets of a literal that was announced."""

    def receive_data(self, data: bytes) -> None:
        """Take octets from the wire."""
        self._lines.receive_data(data)

    def next_response(self) -> Response | None:
        """A response; None when none is complete. Raises OverflowError over a limit, ValueError for other octets."""
        while True:
            if self._left:
                literal = self._lines.rest[: self._left]
                if len(literal) < self._left or not self._lines.skip(self._left):
                    return None
                self._left = 0
                self._pieces.append((literal, True))
            line = self._lines.next_line()
            if line is None:
                return None
            self._pieces.append((line, False))
            self._size += len(line)
            if _LITERAL_LIKE.search(line):
                self._announced(_LITERAL.search(line))
                continue
            pieces, self._pieces, self._size = self._pieces, [], 0
            return _parse(pieces)

    def _announced(self, literal: re.Match[bytes] | None) -> None:
        self._left = MAX_LINE_OCTETS + 1 if literal is None else int(literal[1])
        self._size += self._left
        if self._size > MAX_LINE_OCTETS:
            raise OverflowError("the mail server's literal is too large")
        if not self._left:
            self._pieces.append((b"", True))

    @property
    def rest(self) -> bytes:
        """Octets not taken as responses."""
        return self._lines.rest


def _parse(pieces: list[tuple[bytes, bool]]) -> Response:
    tokens = _tokens(pieces)
    status = b""
    code = ""
    if tokens and tokens[0][0] == "atom":
        status = tokens.pop(0)[1].upper()
        if status not in _STATUSES:
            raise ValueError("the mail server does not speak ManageSieve")
        if tokens and tokens[0][0] == "(":
            code, tokens = _code(tokens)
    strings = tuple(value for kind, value in tokens if kind == "string")
    if len(strings) != len(tokens) or len(strings) > (1 if status else 2) or not (status or strings):
        raise ValueError("the mail server's response is malformed")
    return Response(status, code, strings)


def _code(tokens: list[_Token]) -> tuple[str, list[_Token]]:
    """The response code in parentheses (RFC 5804 §1.3), and what follows it."""
    end = next((at for at, (kind, _) in enumerate(tokens) if kind == ")"), 0)
    if end < 2 or tokens[1][0] != "atom":
        raise ValueError("the mail server's response code is malformed")
    return tokens[1][1].decode("ascii", "replace").upper(), tokens[end + 1 :]


def _tokens(pieces: list[tuple[bytes, bool]]) -> list[_Token]:
    found: list[_Token] = []
    for piece, is_literal in pieces:
        if is_literal:
            found.append(("string", piece))
            continue
        text = _LITERAL.sub(b"", piece).rstrip(b" ")
        at = 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                raise ValueError("the mail server's response is malformed")
            at = token.end()
            parenthesis, atom, quoted = token.groups()
            if parenthesis:
                found.append((parenthesis.decode(), b""))
            elif atom:
                found.append(("atom", atom))
            else:
                found.append(("string", unescape(quoted)))
    return found
