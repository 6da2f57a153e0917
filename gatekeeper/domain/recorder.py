"""What a reader of a document asks for, as JSON Schema: the reader is the only description of its keys.

A `Recorder` is a `Table` that writes down every question. Keys that are only asked for sometimes are found by reading
documents that lead there; what is asked in two ways may be either.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import TypeVar

from gatekeeper.domain.document import Fault, Table

E = TypeVar("E", bound=StrEnum)
Schema = dict[str, object]

DURATION = r"^[0-9]{1,9}(ms|s|m|h|d)$"


@dataclass(slots=True)
class Asked:
    """The questions that a table was asked, merged over all documents."""

    values: dict[str, list[Schema]] = field(default_factory=dict)
    """By key: what it may be; empty: asked only whether it is there, or as it is."""
    tables: dict[str, "Asked"] = field(default_factory=dict)
    lists: dict[str, "Asked"] = field(default_factory=dict)
    names_are_free: bool = False

    def schema(self) -> Schema:
        """Of the table."""
        names = sorted({*self.values, *self.tables, *self.lists})
        if self.names_are_free:
            ways: list[Schema] = []
            for name in names:
                ways += [way for way in self._ways(name) if way not in ways]
            return {"type": "object", "additionalProperties": _any_of(ways)}
        properties = {name: _any_of(self._ways(name)) for name in names}
        return {"type": "object", "additionalProperties": False, "properties": properties}

    def _ways(self, name: str) -> list[Schema]:
        ways = list(self.values.get(name, ()))
        if name in self.tables:
            ways.append(self.tables[name].schema())
        if name in self.lists:
            ways.append({"type": "array", "items": self.lists[name].schema()})
        return ways


def _any_of(ways: list[Schema]) -> Schema:
    if len(ways) <= 1:
        return ways[0] if ways else {}
    return {"anyOf": ways}


class Recorder(Table):
    """Answers like the `Table` that it is, and takes note."""

    def __init__(
        self, values: Mapping[str, object], *, source: str, path: str = "", faults: list[Fault], asked: Asked
    ) -> None:
        super().__init__(values, source=source, path=path, faults=faults)
        self._record = asked
        self._is_asked_within = False
        """One question puts others to itself."""

    def _note(self, name: str, schema: Schema | None = None, default: object = None) -> None:
        ways = self._record.values.setdefault(name, [])
        if schema is None or self._is_asked_within:
            return
        if default not in (None, "", []):
            schema = {**schema, "default": default}
        if schema not in ways:
            ways.append(schema)

    def has(self, name: str) -> bool:
        """Whether the key is present."""
        if name not in self._record.tables and name not in self._record.lists:
            self._note(name)
        return super().has(name)

    def raw(self, name: str) -> object:
        """The value as TOML gave it."""
        if name not in self._record.tables and name not in self._record.lists:
            self._note(name)
        return super().raw(name)

    def names(self) -> Iterator[str]:
        """The keys of a table whose names are free."""
        self._record.names_are_free = True
        return super().names()

    def text(self, name: str, default: str | None = None, *, max_length: int = 4096) -> str:
        """A string."""
        self._note(name, {"type": "string"}, default)
        return super().text(name, default, max_length=max_length)

    def optional_text(self, name: str) -> str | None:
        """A string, or None when absent."""
        self._note(name, {"type": "string"})
        return super().optional_text(name)

    def integer(self, name: str, default: int | None = None, *, low: int = 0, high: int = 2**31) -> int:
        """An integer."""
        self._note(name, {"type": "integer", "minimum": low, "maximum": high}, default)
        return super().integer(name, default, low=low, high=high)

    def boolean(self, name: str, default: bool) -> bool:
        """`true` or `false`."""
        self._note(name, {"type": "boolean"}, default)
        return super().boolean(name, default)

    def choice(self, name: str, choices: type[E], default: E | None = None) -> E:
        """One of an enumeration's values."""
        self._note(name, {"enum": [choice.value for choice in choices]}, default and default.value)
        return super().choice(name, choices, default)

    def members(self, name: str, choices: type[E]) -> frozenset[E]:
        """A list of an enumeration's values."""
        known = [choice.value for choice in choices]
        self._note(name, {"type": "array", "items": {"enum": known}, "minItems": 1, "uniqueItems": True})
        self._is_asked_within = True
        try:
            return super().members(name, choices)
        finally:
            self._is_asked_within = False

    def duration(self, name: str, default: str | None = None) -> timedelta:
        """A duration."""
        self._note(name, {"type": "string", "pattern": DURATION}, default)
        return super().duration(name, default)

    def instant(self, name: str, *, required: bool = False, zone: tzinfo = UTC) -> datetime | None:
        """An instant."""
        self._note(name, {"type": "string"})
        return super().instant(name, required=required, zone=zone)

    def texts(self, name: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """A list of strings."""
        self._note(name, {"type": "array", "items": {"type": "string"}}, list(default))
        return super().texts(name, default)

    def table(self, name: str) -> Table:
        """A sub-table."""
        inner = super().table(name)
        asked = self._record.tables.setdefault(name, Asked())
        return self._below(inner, asked)

    def tables(self, name: str) -> list[Table]:
        """A list of tables."""
        asked = self._record.lists.setdefault(name, Asked())
        return [self._below(inner, asked) for inner in super().tables(name)]

    def _below(self, inner: Table, asked: Asked) -> "Recorder":
        return Recorder(inner._values, source=self._source, path=inner._path, faults=self._faults, asked=asked)  # noqa: SLF001  of its own kind
