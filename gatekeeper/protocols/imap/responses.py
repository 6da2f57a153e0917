"""A mail server's responses after log-in, as they stream by: its lists of capabilities lose what phones must not see.

A list stands in an untagged response, or in the response code of any other (RFC 9051 §7.1, §7.2.2). Everything else
passes as it is, whatever its size.

What holds inside:

* Octets of a literal, and the text that people are told, are never taken for a response.
* What passes does so at once. Only a word of a list waits for its end: an answer is never late by its framing, not even
  when these are no responses any more (after COMPRESS, RFC 4978).
* Memory is bounded: the beginning of a line until it is known what it is, one word of a list, the end of a long line.
"""

import re
from collections.abc import Callable
from enum import Enum, auto

from gatekeeper.protocols.imap.capabilities import is_hidden
from gatekeeper.protocols.login import Octets

_MAX_TAG_OCTETS = 256
"""So much is kept of a first word that has no end yet."""
_MAX_WORD_OCTETS = 1024
"""Of one capability; what is longer is none, and is left out."""
_TAIL_OCTETS = len(b"{18446744073709551615}\r\n")

_REST_OF_PLAIN = rb"[^\[}\n]*(?:(?:\[(?![Cc])|\}(?!\r?\n))[^\[}\n]*)*\n"
_MESSAGE_DATA = rb"(?:\* [0-9][^\n]*\{([0-9]{1,20})\+?\}\r?\n)?"
_REST_OF_DATA = rb"[^}\n]*(?:\}(?!\r?\n)[^}\n]*)*\n"


class _Skipped:
    """What is skipped at one stroke, for it is much.

    Possessive quantifiers would say better what is meant, but match what they should not before CPython 3.11.5
    (gh-106052). There is nothing to backtrack into: what may follow a repeated set is never in it.
    """

    def __init__(self, line: bytes) -> None:
        """`line`: a line that holds no list and announces no literal; nearly all are such."""
        lines = rb"(?:" + line + rb")*"
        self.lines = re.compile(lines)
        self.between = re.compile(lines + _MESSAGE_DATA)
        """Such lines, and then perhaps a message's data up to a literal."""
        self.behind = re.compile(_REST_OF_DATA + lines + _MESSAGE_DATA)
        """The rest of a line that announces no other literal, and then the same."""


_ANY = _Skipped(rb"(?!\* [Cc])" + _REST_OF_PLAIN)
_UNTAGGED = _Skipped(rb"\* (?![Cc])" + _REST_OF_PLAIN)
_LITERAL = re.compile(rb"\{([0-9]{1,20})\+?\}\r?\n\Z")
_WORD_END = re.compile(rb"[ \r\n]")
_LIST_END = re.compile(rb"[\r\n]")
_CODE_END = re.compile(rb"[]\r\n]")
_WORD = re.compile(rb" +[^ ]*")
_RESULT = re.compile(rb"([^ *+][^ ]*) (?:OK|NO|BAD)(?=[ \r\n])", re.IGNORECASE)
_CODE = b"[CAPABILITY"
_STATUSES = frozenset({b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"})


class _Place(Enum):
    """Where in the stream we are."""

    BEGINNING = auto()
    """Of a line that is not known yet."""
    TEXT = auto()
    """In a line that announces no literal, whatever it looks like: what people are told is anybody's words."""
    DATA = auto()
    """In one whose end may."""
    LIST = auto()
    CODE = auto()
    UNTOLD = auto()
    """In a line that the client does not get."""


_BEGINNING = _Place.BEGINNING


class Responses:
    """Edits one session's stream."""

    __slots__ = ("_head", "_hides", "_left", "_place", "_tail", "_word")

    _skipped = _ANY

    def __init__(self, hides: Callable[[str], bool] = is_hidden) -> None:
        """`hides` says of a capability's name whether phones do not see it."""
        self._hides = hides
        self._place = _BEGINNING
        self._head = b""
        """The beginning of the line that has passed already."""
        self._tail = b""
        """The last octets of a line that came in pieces."""
        self._word = b""
        """The beginning of a capability, with the space before it."""
        self._left = 0
        """Octets of a literal."""

    def edit(self, octets: Octets) -> Octets:
        """What the client is to get for these octets: themselves, where nothing is taken away."""
        if self._left >= len(octets):
            self._left -= len(octets)
            return octets
        if self._place is _BEGINNING and not self._head:
            plain = self._skipped.lines.match(octets)
            if plain is not None and plain.end() == len(octets):
                return octets
        return self._edited(bytes(octets))

    def _edited(self, octets: bytes) -> bytes:
        kept: list[bytes] = []
        at = passed = 0
        while at < len(octets):
            if self._left:
                step = min(self._left, len(octets) - at)
                self._left -= step
                at += step
            elif (ahead := self._skip(octets, at)) > at:
                at = ahead
            elif self._place is _BEGINNING:
                at = self._begin(octets, at)
            elif self._place is _Place.UNTOLD:
                kept.append(octets[passed:at])
                at = passed = self._rest(octets, at)
            elif self._place in (_Place.LIST, _Place.CODE):
                kept.append(octets[passed:at])
                at = passed = self._list(octets, at, kept)
            else:
                at = self._rest(octets, at)
        kept.append(octets[passed:])
        return b"".join(kept)

    def _skip(self, octets: bytes, at: int) -> int:
        """Where what is of no interest ends, which is mostly a literal's beginning."""
        skipped = None
        if self._place is _BEGINNING and not self._head:
            skipped = self._skipped.between.match(octets, at)
        elif self._place is _Place.DATA and not self._tail:
            skipped = self._skipped.behind.match(octets, at)
        if skipped is None or skipped.end() == at:
            return at
        literal = skipped[1]
        self._left = int(literal or 0)
        self._place = _BEGINNING if literal is None else _Place.DATA
        return skipped.end()

    def _begin(self, octets: bytes, at: int) -> int:
        end = octets.find(b"\n", at) + 1
        had = len(self._head)
        head = self._head + octets[at : end or len(octets)]
        place, known = self._kind(head)
        if place is _BEGINNING:
            is_tag = _WORD_END.search(head) is None
            self._head = b"" if end else head[:_MAX_TAG_OCTETS] if is_tag else head
            if end:
                self._ended()
            return end or len(octets)
        self._place = place
        self._tail = self._head[-_TAIL_OCTETS:]
        self._head = b""
        return at + max(known - had, 0)

    def _rest(self, octets: bytes, at: int) -> int:
        end = octets.find(b"\n", at) + 1
        if not end:
            self._tail = (self._tail + octets[at:][-_TAIL_OCTETS:])[-_TAIL_OCTETS:]
            return len(octets)
        literal = None
        if self._place is _Place.DATA:
            literal = _LITERAL.search(self._tail + octets[max(at, end - _TAIL_OCTETS) : end])
        self._tail = b""
        if literal is not None:
            self._left = int(literal[1])
        else:
            self._place = _BEGINNING
            self._ended()
        return end

    def _kind(self, head: bytes) -> tuple[_Place, int]:
        return _kind(head)

    def _ended(self) -> None:
        """A line of any kind has ended, but for those that are skipped."""

    def _list(self, octets: bytes, at: int, kept: list[bytes]) -> int:
        found = (_LIST_END if self._place is _Place.LIST else _CODE_END).search(octets, at)
        end = len(octets) if found is None else found.start()
        words = self._word + octets[at:end]
        each = _WORD.findall(words)
        if found is None:
            self._word = each.pop()[: _MAX_WORD_OCTETS + 1]
        else:
            self._word, self._place = b"", _Place.TEXT
        kept += filter(self._passes, each)
        return end

    def _passes(self, word: bytes) -> bool:
        return len(word) <= _MAX_WORD_OCTETS and not self._hides(word.lstrip(b" ").decode("ascii", "replace"))


class FollowedResponses(Responses):
    """Edits likewise, and notes what bears on commands: their results, and continuation requests."""

    __slots__ = ("_noted", "heard", "swallows")

    _skipped = _UNTAGGED

    def __init__(self, hides: Callable[[str], bool]) -> None:
        super().__init__(hides)
        self.heard: list[bytes] = []
        """Tags of commands that have ended, and `+`, in the order of the lines' ends; for whoever asks to take out."""
        self.swallows = False
        """Whether the next continuation request is not told; it ends with that."""
        self._noted = b""

    @property
    def is_between(self) -> bool:
        """Whether something of our own could be told now without falling into the middle of a response."""
        return self._place is _BEGINNING and not self._head and not self._left

    def _kind(self, head: bytes) -> tuple[_Place, int]:
        if head.startswith(b"+"):
            self._noted = b"+"
            if self.swallows:
                self.swallows = False
                return _Place.UNTOLD, 0
        elif not self._noted:
            result = _RESULT.match(head)
            self._noted = b"" if result is None else result[1]
        return _kind(head)

    def _ended(self) -> None:
        if self._noted:
            self.heard.append(self._noted)
            self._noted = b""


def _kind(head: bytes) -> tuple[_Place, int]:
    """What a line is that begins so, and where its list begins; `BEGINNING` while that cannot be told."""
    first = _WORD_END.search(head)
    if first is None:
        return _BEGINNING, 0
    if head.startswith(b"+"):
        return _code(head, first.end())
    second = _WORD_END.search(head, first.end())
    word = head[first.end() : len(head) if second is None else second.start()].upper()
    is_untagged = head.startswith(b"* ")
    if second is None:
        if len(word) <= len(b"CAPABILITY"):
            return _BEGINNING, 0
    elif word in _STATUSES:
        return _code(head, second.end())
    elif is_untagged and word == b"CAPABILITY":
        return _Place.LIST, second.start()
    return (_Place.DATA if is_untagged else _Place.TEXT), 0


def _code(head: bytes, at: int) -> tuple[_Place, int]:
    """A line whose text begins at `at`, with a response code or without."""
    begins = head[at : at + len(_CODE) + 1].upper()
    if begins == _CODE + b" ":
        return _Place.CODE, at + len(_CODE)
    return (_BEGINNING if _CODE.startswith(begins) else _Place.TEXT), 0
