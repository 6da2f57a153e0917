"""A session whose commands are read, because its mail server would let it become another account's.

What holds inside:

* Every line that reaches the mail server, but for the octets of literals that it asked for itself, was looked at as a
  command, and is not one of `STOPPED`. That holds whatever server and gate may think differently of a line: a literal
  that would not wait (RFC 7888) is made to, and its octets go on when the server has said `+`, or nowhere. (Dovecot
  2.3 reads the octets behind `a SELECT "x {18+}` as commands, for the string has no end.)
* A continuation request is the answer to what we think it answers: what asks for one waits until all earlier commands
  have ended, and nothing goes behind it before the answer.
* Memory is bounded: one line of the client's, and what came with it in one read.
"""

import re
from enum import Enum, auto

from gatekeeper.protocols.imap.capabilities import is_hidden_where_commands_are_read
from gatekeeper.protocols.imap.responses import FollowedResponses
from gatekeeper.protocols.login import Octets

STOPPED = frozenset({b"UNAUTHENTICATE", b"PROXYAUTH", b"STARTTLS", b"LOGIN", b"AUTHENTICATE", b"COMPRESS"})
"""What would make the session another account's, or unreadable."""
MAX_LINE_OCTETS = 65536
"""Dovecot's imap_max_line_length."""
MAX_OPEN = 100
"""Commands without a result; a client that has more waits."""
MAX_REFUSED = 20
"""Lines that were answered here; then the session ends. Dovecot takes 20 errors in a row after log-in."""

_COMMAND = re.compile(rb"([!#-$&',-\[\]-z|}~]{1,126}) ([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?=[ \r])")
_TAG = re.compile(rb"([!#-$&',-\[\]-z|}~]{1,126}) ")
_ANNOUNCED = re.compile(rb"\{([0-9]{1,19})(\+?)\}\r\n\Z")
_ANNOUNCED_LIKE = re.compile(rb"\{[0-9]{20,}\+?\}\r\n\Z")
_REFUSED = b" BAD Not understood, or not available here.\r\n"
_BYE = b"* BYE Not understood.\r\n"


class _Place(Enum):
    """What the client's next line is."""

    COMMAND = auto()
    MORE = auto()
    """Of a command, behind a literal."""
    DROPPED = auto()
    """Likewise, of one that has been refused."""
    DONE = auto()
    """The end of IDLE (RFC 2177)."""


class CommandScreen:
    """Reads commands and responses; see `protocols.login.Screen`."""

    __slots__ = (
        "_asks",
        "_held",
        "_idle",
        "_left",
        "_open",
        "_place",
        "_refused",
        "_responses",
        "_tag",
        "holds",
        "is_over",
    )

    reads_client = True

    def __init__(self) -> None:
        self.holds = False
        self.is_over = False
        self._responses = FollowedResponses(is_hidden_where_commands_are_read)
        self._held = b""
        """Of the client's, not looked at yet."""
        self._place = _Place.COMMAND
        self._tag = b""
        """Of the client's last command."""
        self._open: set[bytes] = set()
        """Tags of commands that have no result yet."""
        self._asks: tuple[int, bool] | None = None
        """Octets of the literal that waits for the server's word, and whether the client waits too; -1: it is IDLE."""
        self._left = 0
        """Octets of the client's literal."""
        self._refused = 0

    def begin(self, from_upstream: bytes, from_client: bytes) -> tuple[bytes, bytes]:
        """Take what either side has sent behind the log-in."""
        told, sent = self.from_upstream(from_upstream)
        answers, more = self.from_client(from_client)
        return bytes(told) + bytes(answers), bytes(sent) + bytes(more)

    def from_upstream(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the mail server."""
        told = self._responses.edit(octets)
        if self._responses.heard:
            heard, self._responses.heard = self._responses.heard, []
            for word in heard:
                self._heard(word)
        if not self._held:
            return told, b""
        answers, sent = self._go_on()
        return (bytes(told) + answers if answers else told), sent

    def from_client(self, octets: Octets) -> tuple[Octets, Octets]:
        """Take octets from the client."""
        if self._left >= len(octets) and self._place is _Place.MORE and not self._held:
            self._left -= len(octets)
            return b"", octets
        self._held += octets
        return self._go_on()

    def _heard(self, word: bytes) -> None:
        """A continuation request, or the tag of a command that has its result."""
        if word == b"+":
            if self._asks is not None:
                octets, _ = self._asks
                self._place = _Place.DONE if octets < 0 else _Place.MORE
                self._left = max(octets, 0)
                self._asks = None
            return
        self._open.discard(word)
        if word != self._tag:
            return
        if self._asks is not None:
            # Refused. A client that has not waited for it sends its literal all the same.
            octets, waits = self._asks
            self._asks = None
            self._responses.swallows = False
            self._place = _Place.COMMAND if waits else _Place.DROPPED
            self._left = 0 if waits else octets
        elif self._place is _Place.DONE:
            self._place = _Place.COMMAND

    def _go_on(self) -> tuple[bytes, bytes]:
        """Look at what the client said, as far as that can be; what is to be told, and what goes to the server."""
        told: list[bytes] = []
        sent: list[bytes] = []
        held, at = self._held, 0
        self.holds = False
        while at < len(held) and not self.is_over and not self.holds:
            if self._left:
                octets = held[at : at + self._left]
                at += len(octets)
                self._left -= len(octets)
                if self._place is not _Place.DROPPED:
                    sent.append(octets)
                continue
            end = held.find(b"\n", at, at + MAX_LINE_OCTETS) + 1
            line = held[at:end]
            if self._asks is not None:
                self.holds = True
            elif not end:
                if len(held) - at >= MAX_LINE_OCTETS:
                    self._end(told)
                break
            elif not _is_line(line):
                self._end(told)
            elif self._take(line, told, sent):
                at = end
            else:
                self.holds = True
        self._held = b"" if self.is_over else held[at:]
        return b"".join(told), b"".join(sent)

    def _take(self, line: bytes, told: list[bytes], sent: list[bytes]) -> bool:
        """Deal with a line; False: not before the server has said more."""
        announced = _ANNOUNCED.search(line)
        match self._place:
            case _Place.COMMAND:
                return self._command(line, announced, told, sent)
            case _Place.MORE if line.startswith((b" ", b")", b"\r\n")):
                self._pass_on(line, announced, sent)
            case _Place.DROPPED:
                self._drop(announced)
            case _Place.DONE if line.upper() == b"DONE\r\n":
                self._place = _Place.COMMAND
                sent.append(line)
            case _:
                self._end(told)
        return True

    def _command(self, line: bytes, announced: re.Match[bytes] | None, told: list[bytes], sent: list[bytes]) -> bool:
        command = _COMMAND.match(line)
        name = b"" if command is None else command[2].upper()
        if command is None or name in STOPPED:
            if self._open or not self._responses.is_between:
                return False
            self._refuse(line, told)
            self._drop(announced)
            return True
        tag = command[1]
        if tag in self._open or len(self._open) >= (1 if announced or name == b"IDLE" else MAX_OPEN):
            return False
        self._open.add(tag)
        self._tag = tag
        self._pass_on(line, announced, sent)
        if name == b"IDLE" and announced is None:
            self._asks = -1, True
        return True

    def _pass_on(self, line: bytes, announced: re.Match[bytes] | None, sent: list[bytes]) -> None:
        """A line of a command; if it announces a literal, one that waits."""
        self._place = _Place.COMMAND
        if announced is None:
            sent.append(line)
            return
        waits = not announced[2]
        sent.append(line if waits else line[: announced.start(2)] + b"}\r\n")
        self._asks = int(announced[1]), waits
        self._responses.swallows = not waits

    def _drop(self, announced: re.Match[bytes] | None) -> None:
        """The literal of a line that goes nowhere comes all the same, if it does not wait."""
        self._place = _Place.COMMAND
        if announced is not None and announced[2]:
            self._left = int(announced[1])
            self._place = _Place.DROPPED

    def _refuse(self, line: bytes, told: list[bytes]) -> None:
        self._refused += 1
        if self._refused > MAX_REFUSED:
            self._end(told)
            return
        tag = _TAG.match(line)
        told.append((b"*" if tag is None else tag[1]) + _REFUSED)

    def _end(self, told: list[bytes]) -> None:
        """What follows can no longer be told apart, or is meant to deceive."""
        self.is_over = True
        if self._responses.is_between:
            told.append(_BYE)


def _is_line(line: bytes) -> bool:
    """Whether a line, if it is one, ends in CRLF, and is one line to every server."""
    inner = line[:-2]
    return line.endswith(b"\r\n") and b"\r" not in inner and b"\0" not in inner and not _ANNOUNCED_LIKE.search(line)
