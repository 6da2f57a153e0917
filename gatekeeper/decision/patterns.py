"""Patterns of app ids, names and publishers: case-folded text in which only `*` and `?` mean something.

Not a regular expression, so that nobody has to escape a dot and no pattern can be slow: matching is linear in the
text for any number of stars.
"""

import re
from dataclasses import dataclass, field

from gatekeeper.domain.app import head_of

MAX_PATTERN_LENGTH = 255
"""Characters; Android and Apple both keep identifiers below this."""

_WILDCARDS = re.compile(r"[*?]+")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern; `Pattern.parse` makes it, an instance is valid."""

    text: str
    """Case-folded."""
    is_exact: bool
    head: str | None
    """`domain.app.head_of` every id that can match; None when the pattern leaves the first two labels open."""
    prefix: str
    """What comes before the first wildcard."""
    literal: str
    """The longest piece without wildcards: what cannot match does mostly not contain it."""
    _regex: re.Pattern[str] | None = field(repr=False, compare=False)
    """None: exact. Most of ten thousand patterns are, and compiling them would take most of reading a policy."""

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Compile `text`. Raises ValueError with the reason when it is no pattern."""
        if not text.strip():
            raise ValueError("must not be empty")
        if len(text) > MAX_PATTERN_LENGTH:
            raise ValueError(f"longer than {MAX_PATTERN_LENGTH} characters")
        if not text.isprintable():
            raise ValueError("contains a control character")
        folded = text.casefold()
        pieces = [piece for piece in _WILDCARDS.split(folded) if piece]
        if not any(char.isalnum() for piece in pieces for char in piece):
            raise ValueError("only wildcards: it would match every app")
        is_exact = pieces == [folded]
        prefix = _WILDCARDS.split(folded, maxsplit=1)[0]
        # Two dots before the first wildcard: only then is the second label whole.
        head = head_of(prefix) if is_exact or prefix.count(".") >= 2 else None
        regex = None if is_exact else re.compile(_regex(folded), re.DOTALL)
        return cls(folded, is_exact, head, prefix, max(pieces, key=len), regex)

    def matches(self, folded: str) -> bool:
        """Whether the case-folded text is one that the pattern means."""
        return self.text == folded if self._regex is None else self._regex.fullmatch(folded) is not None

    def __str__(self) -> str:
        return self.text


def _regex(folded: str) -> str:
    first, *others = (
        "".join("." if char == "?" else re.escape(char) for char in piece) for piece in re.split(r"\*+", folded)
    )
    if not others:
        return first
    *middle, last = others
    # The leftmost place of each middle piece is as good as any other, so an atomic group may keep it: no backtracking.
    return first + "".join(f"(?>.*?{piece})" for piece in middle) + ".*" + last
