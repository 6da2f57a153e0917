"""App versions and ranges of them, three-valued: what cannot be compared is unknown, and unknown is never false.

Grammar of a range::

    range       = alternative *( "||" alternative )      ; one of them holds
    alternative = "*" | term *( "," term )               ; all of them hold
    term        = [ "code" ] ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) version

`version` is dotted numbers (`1.2` equals `1.2.0`); with `code` it is one whole number, Android's versionCode. App
stores know no common scheme for suffixes: whether `2.3-beta` comes before or after `2.3` is unknown.
"""

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MAX_RANGE_LENGTH = 512

_OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_TERM = re.compile(r"(code\s*)?(<=|>=|==|!=|<|>)\s*([0-9.]+)", re.ASCII)
# 18 digits stay inside a 64-bit integer, which is what versionCode is and more than any version component.
_NUMBERS = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18}){0,15}", re.ASCII)
_CODE = re.compile(r"[0-9]{1,18}", re.ASCII)
_DIGIT_OR_DOT = frozenset("0123456789")


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison."""

    of_code: bool
    symbol: str
    bound: tuple[int, ...]

    def holds(self, version: str | None, code: int | None) -> bool | None:
        """True, false, or None: not known."""
        order = _order_of_code(code, self.bound[0]) if self.of_code else _order(version, self.bound)
        return None if order is None else _OPERATORS[self.symbol](order, 0)


@dataclass(frozen=True, slots=True)
class VersionRange:
    """A compiled range."""

    text: str
    alternatives: tuple[tuple[Term, ...], ...]

    @classmethod
    def parse(cls, text: str) -> "VersionRange":
        """Compile `text`. Raises ValueError with the reason when it is no range."""
        if len(text) > MAX_RANGE_LENGTH:
            raise ValueError(f"longer than {MAX_RANGE_LENGTH} characters")
        return cls(text, tuple(_alternative(part.strip()) for part in text.split("||")))

    def contains(self, version: str | None, code: int | None) -> bool | None:
        """Whether an app's version lies in the range; None: not known."""
        return _any(_all(term.holds(version, code) for term in terms) for terms in self.alternatives)

    @property
    def can_hold(self) -> bool:
        """Whether any version lies in it."""
        return any(_is_satisfiable(terms) for terms in self.alternatives)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Bound:
    """The oldest version that is good, as dotted numbers."""

    text: str
    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Bound":
        """Compile `text`. Raises ValueError with the reason when it is no version."""
        if _NUMBERS.fullmatch(text) is None:
            raise ValueError("is not a version in dotted numbers such as 17.4")
        return cls(text, tuple(map(int, text.split("."))))

    def is_above(self, version: str | None) -> bool | None:
        """Whether `version` is older than this; None: not known."""
        order = _order(version, self.numbers)
        return None if order is None else order < 0

    def __str__(self) -> str:
        return self.text


def _is_satisfiable(terms: tuple[Term, ...]) -> bool:
    """Whether one version and one code satisfy all terms: just at, below or above one of their bounds."""
    for of_code in (False, True):
        ours = [term for term in terms if term.of_code is of_code]
        bounds = {term.bound for term in ours}
        tried = (
            bounds | {(*bound, 0, 1) for bound in bounds} | {_just_below(bound) for bound in bounds} | {(10**18 - 1,)}
        )
        if of_code:
            tried = {(bound[0] + step,) for bound in bounds for step in (-1, 0, 1) if bound[0] + step >= 0}
        if ours and not any(all(_holds(term, point) for term in ours) for point in tried):
            return False
    return True


def _just_below(bound: tuple[int, ...]) -> tuple[int, ...]:
    """A version below `bound` and above every other version below it that a policy is likely to name."""
    numbers = list(bound)
    while numbers and numbers[-1] == 0:
        numbers.pop()
    if not numbers:
        return (-1,)  # nothing lies below zero, and no term holds for this but `<` and `!=`
    numbers[-1] -= 1
    return (*numbers, 10**18 - 1)


def _holds(term: Term, point: tuple[int, ...]) -> bool:
    if point[0] < 0:
        return False
    width = max(len(point), len(term.bound))
    return _OPERATORS[term.symbol](_compare(_padded(point, width), _padded(term.bound, width)), 0)


def _alternative(text: str) -> tuple[Term, ...]:
    if text == "*":
        return ()
    return tuple(_term(part.strip()) for part in text.split(","))


def _term(text: str) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(f'`{text}` is not a comparison such as ">=1.0", "<2.3" or "code<2023705000"')
    of_code, symbol, number = match[1] is not None, match[2], match[3]
    if (_CODE if of_code else _NUMBERS).fullmatch(number) is None:
        raise ValueError(f"`{number}` is not {'a whole number' if of_code else 'a version in dotted numbers'}")
    return Term(of_code, symbol, tuple(map(int, number.split("."))))


def _order_of_code(code: int | None, bound: int) -> int | None:
    return None if code is None else (code > bound) - (code < bound)


def _order(version: str | None, bound: tuple[int, ...]) -> int | None:
    """-1, 0, 1 as `version` is below, at or above `bound`; None when that is not known."""
    text = (version or "").strip().removeprefix("v")
    match = _NUMBERS.match(text)
    if match is None:
        return None
    suffix = text[match.end() :]
    if suffix[:1] in _DIGIT_OR_DOT or (suffix.startswith(".") and suffix[1:2] in _DIGIT_OR_DOT):
        return None  # a component too long, or too many of them
    numbers = tuple(map(int, match[0].split(".")))
    if suffix:
        # What follows a suffix is not comparable; only the numbers before it can decide.
        known = numbers, (*bound, *(0,) * len(numbers))[: len(numbers)]
        return None if known[0] == known[1] else _compare(*known)
    width = max(len(numbers), len(bound))
    return _compare(_padded(numbers, width), _padded(bound, width))


def _padded(numbers: tuple[int, ...], width: int) -> tuple[int, ...]:
    return (*numbers, *(0,) * (width - len(numbers)))


def _compare(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    return (left > right) - (left < right)


def _all(values: Iterable[bool | None]) -> bool | None:
    """Kleene's and."""
    known = True
    for value in values:
        if value is False:
            return False
        known = known and value is not None
    return True if known else None


def _any(values: Iterable[bool | None]) -> bool | None:
    """Kleene's or."""
    known = True
    for value in values:
        if value:
            return True
        known = known and value is not None
    return False if known else None
