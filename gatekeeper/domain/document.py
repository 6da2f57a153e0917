"""Reading a TOML document strictly: every fault at once, each with its key and reason.

Used for the configuration and the policy alike. A `Table` hands out typed values and remembers which keys were asked
for; what nobody asked for is an unknown key. Faults are collected, never raised one by one.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import TypeVar

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_UNIT = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a document."""

    source: str
    """File name as the user gave it."""
    key: str
    """Dotted path, lists by index: `rule[2].apps[0].platform`; empty: the document as a whole."""
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.key, self.reason) if part)


class DocumentError(Exception):
    """A document cannot be used; `faults` says everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def parse_duration(text: str) -> timedelta | None:
    """`"30s"`, `"24h"`, `"7d"`, `"250ms"`, `"5m"` as a timedelta; None when it is none."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNIT[match[2]] if match else None


def parse_instant(value: object, zone: tzinfo = UTC) -> datetime | None:
    """An aware UTC datetime from an RFC 3339 text, a TOML date-time, or a date (its first instant).

    `zone` is meant where the value names none; of a local time that comes twice the first is taken.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=zone)
    if isinstance(value, datetime):
        try:
            return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
        except OverflowError:  # the first or last hours of the calendar, seen from another zone
            return None
    return None


def parse_toml(data: bytes, source: str, most: int) -> dict[str, object]:
    """The document in `data`, at most so many octets; raises `DocumentError` with the reason when it is none."""
    if len(data) > most:
        raise DocumentError([Fault(source, "", f"larger than {most} octets")])
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise DocumentError([Fault(source, "", f"is not UTF-8 (at line {line})")]) from exc
    except tomllib.TOMLDecodeError as exc:
        raise DocumentError([Fault(source, "", f"is not TOML: {exc}")]) from exc
    except RecursionError as exc:
        raise DocumentError([Fault(source, "", "is nested too deeply")]) from exc
    except (ValueError, OverflowError) as exc:  # a number too long for int(), a date out of the calendar
        raise DocumentError([Fault(source, "", f"is not TOML: {exc}")]) from exc


class Table:
    """A table of the document, read key by key."""

    def __init__(self, values: Mapping[str, object], *, source: str, path: str = "", faults: list[Fault]) -> None:
        self._values = values
        self._source = source
        self._path = path
        self._faults = faults
        self._asked: set[str] = set()

    def key(self, name: str) -> str:
        """The dotted path of `name` in this table."""
        return f"{self._path}.{name}" if self._path else name

    def fault(self, name: str, reason: str) -> None:
        """Record that key `name` (empty: the table itself) is wrong."""
        self._faults.append(Fault(self._source, self.key(name) if name else self._path, reason))

    def has(self, name: str) -> bool:
        """Whether the key is present; counts as asking for it."""
        self._asked.add(name)
        return name in self._values

    def raw(self, name: str) -> object:
        """The value as TOML gave it, None when absent."""
        self._asked.add(name)
        return self._values.get(name)

    def names(self) -> Iterator[str]:
        """The keys of a table whose names are free (counts as asking for all of them)."""
        self._asked.update(self._values)
        return iter(self._values)

    def text(self, name: str, default: str | None = None, *, max_length: int = 4096) -> str:
        """A string; required when there is no default."""
        value = self._typed(name, str, "a text")
        if value is None:
            return self._absent(name, default, "")
        if len(value) > max_length:
            self.fault(name, f"longer than {max_length} characters")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None when absent."""
        return self._typed(name, str, "a text")

    def integer(self, name: str, default: int | None = None, *, low: int = 0, high: int = 2**31) -> int:
        """An integer between `low` and `high`, both included."""
        value = self._typed(name, int, "a whole number")
        if value is None:
            return self._absent(name, default, low)
        if not low <= value <= high:
            self.fault(name, f"must lie between {low} and {high}")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        """`true` or `false`."""
        value = self._typed(name, bool, "true or false")
        return default if value is None else value

    def choice(self, name: str, choices: type[E], default: E | None = None) -> E:
        """One of an enumeration's values."""
        value = self._typed(name, str, "a text")
        first = next(iter(choices))
        if value is None:
            return self._absent(name, default, first)
        try:
            return choices(value)
        except ValueError:
            names = ", ".join(choice.value for choice in choices)
            self.fault(name, f"`{value}` is not one of {names}{suggestion(value, [c.value for c in choices])}")
            return default or first

    def members(self, name: str, choices: type[E]) -> frozenset[E]:
        """A list of an enumeration's values, which are not repeated and not none."""
        known = [choice.value for choice in choices]
        texts = self.texts(name)
        if self.raw(name) == []:
            self.fault(name, "must not be empty: leave the key out instead")
        for index, text in enumerate(texts):
            if text not in known:
                near = suggestion(text, sorted(known))
                self.fault(f"{name}[{index}]", f"`{text}` is not one of {', '.join(known)}{near}")
        return frozenset(choices(text) for text in texts if text in known)

    def duration(self, name: str, default: str | None = None) -> timedelta:
        """A duration with a unit."""
        value = self._typed(name, str, 'a duration such as "30s", "24h" or "7d"')
        if value is None:
            value = self._absent(name, default, "0s")
        parsed = parse_duration(value)
        if parsed is None:
            self.fault(name, f'`{value}` is not a duration such as "30s", "24h" or "7d"')
            return timedelta(0)
        return parsed

    def instant(self, name: str, *, required: bool = False, zone: tzinfo = UTC) -> datetime | None:
        """An instant (aware UTC), None when absent; `zone` is meant where the value names none."""
        value = self.raw(name)
        if value is None:
            if required:
                self.fault(name, "is required")
            return None
        instant = parse_instant(value, zone)
        if instant is None:
            self.fault(name, f"`{value}` is not a date or a date and time such as 2020-07-10T17:00:00-07:00")
        return instant

    def texts(self, name: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """A list of strings."""
        value = self._typed(name, list, "a list of texts")
        if value is None:
            return tuple(default)
        texts = tuple(item for item in value if isinstance(item, str))
        if len(texts) != len(value):
            self.fault(name, "must be a list of texts")
        return texts

    def table(self, name: str) -> "Table":
        """A sub-table; an absent one reads as empty."""
        value = self._typed(name, dict, "a table")
        return Table(value or {}, source=self._source, path=self.key(name), faults=self._faults)

    def tables(self, name: str) -> "list[Table]":
        """A list of tables (`[[name]]`), empty when absent."""
        value = self._typed(name, list, f"a list of tables ([[{self.key(name)}]])")
        found = []
        for index, item in enumerate(value or []):
            if isinstance(item, dict):
                found.append(Table(item, source=self._source, path=f"{self.key(name)}[{index}]", faults=self._faults))
            else:
                self.fault(f"{name}[{index}]", "must be a table")
        return found

    def done(self) -> None:
        """Report every key that nobody asked for, with the nearest one that exists."""
        for name in self._values:
            if name not in self._asked:
                self.fault(name, f"unknown key{suggestion(name, sorted(self._asked))}")

    def _typed(self, name: str, kind: type[T], words: str) -> T | None:
        self._asked.add(name)
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        self.fault(name, f"must be {words}")
        return None

    def _absent(self, name: str, default: T | None, stand_in: T) -> T:
        if default is not None:
            return default
        if name not in self._values:
            self.fault(name, "is required")
        return stand_in


def suggestion(word: str, known: Sequence[str]) -> str:
    """The nearest known word, as the end of a fault; empty when none is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""
