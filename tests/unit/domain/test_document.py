"""Reading a document strictly: typed values, and every fault with its key."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum

import pytest

from gatekeeper.domain.document import DocumentError, Fault, Table, parse_duration, parse_instant


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


NOON = datetime(2020, 7, 10, 12, tzinfo=UTC)


def table(values: dict[str, object]) -> tuple[Table, list[Fault]]:
    """A table and where its faults go."""
    faults: list[Fault] = []
    return Table(values, source="x.toml", faults=faults), faults


Reader = Callable[[Table], object]

READERS: dict[str, tuple[Reader, object, object, object]] = {
    "text": (lambda table: table.text("k", "d"), "v", "v", "d"),
    "optional text": (lambda table: table.optional_text("k"), "v", "v", None),
    "integer": (lambda table: table.integer("k", 5), 7, 7, 5),
    "boolean": (lambda table: table.boolean("k", default=True), False, False, True),
    "choice": (lambda table: table.choice("k", Colour, Colour.GREEN), "red", Colour.RED, Colour.GREEN),
    "duration": (lambda table: table.duration("k", "5m"), "2h", timedelta(hours=2), timedelta(minutes=5)),
    "instant": (lambda table: table.instant("k"), NOON, NOON, None),
    "texts": (lambda table: table.texts("k", ["d"]), ["a", "b"], ("a", "b"), ("d",)),
    "raw": (lambda table: table.raw("k"), [1], [1], None),
    "has": (lambda table: table.has("k"), 0, True, False),
}
"""Reader, a value in the document, what is read, and what is read when there is none."""


@pytest.mark.parametrize("name", READERS)
def test_a_right_value_is_read_without_fault(name: str) -> None:
    """And its key is known."""
    read, value, expected, _ = READERS[name]
    found, faults = table({"k": value})

    assert read(found) == expected
    found.done()
    assert faults == []


@pytest.mark.parametrize("name", READERS)
def test_an_absent_value_is_the_default(name: str) -> None:
    """Without a fault."""
    read, _, _, default = READERS[name]
    found, faults = table({})

    assert read(found) == default
    assert faults == []


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("raw", "has")])
def test_a_wrong_type_is_a_fault(name: str) -> None:
    """With source, key and what it must be."""
    found, faults = table({"k": {"not": "it"}})
    READERS[name][0](found)

    assert [(fault.source, fault.key) for fault in faults] == [("x.toml", "k")]


@pytest.mark.parametrize(
    "read",
    [
        lambda table: table.text("k"),
        lambda table: table.integer("k"),
        lambda table: table.choice("k", Colour),
        lambda table: table.instant("k", required=True),
        lambda table: table.duration("k"),
    ],
)
def test_a_required_value_must_be_there(read: Reader) -> None:
    """One fault, however it is read."""
    found, faults = table({})
    read(found)

    assert [str(fault) for fault in faults] == ["x.toml: k: is required"]


@pytest.mark.parametrize(
    ("read", "value", "reason"),
    [
        (lambda table: table.text("k", max_length=3), "four", "longer than 3"),
        (lambda table: table.integer("k", low=1, high=3), 0, "between 1 and 3"),
        (lambda table: table.integer("k", low=1, high=3), 4, "between 1 and 3"),
        (lambda table: table.integer("k"), True, "whole number"),
        (lambda table: table.integer("k"), 1.0, "whole number"),
        (lambda table: table.boolean("k", default=False), 1, "true or false"),
        (lambda table: table.choice("k", Colour), "rd", "one of red, green (did you mean `red`?)"),
        (lambda table: table.choice("k", Colour), "blue", "one of red, green"),
        (lambda table: table.duration("k"), "30", "is not a duration"),
        (lambda table: table.duration("k"), 30, "must be a duration"),
        (lambda table: table.instant("k"), "noon", "is not a date"),
        (lambda table: table.instant("k"), 3, "is not a date"),
        (lambda table: table.texts("k"), ["a", 1], "list of texts"),
        (lambda table: table.texts("k"), "a", "list of texts"),
        (lambda table: table.table("k"), 3, "must be a table"),
        (lambda table: table.tables("k"), {}, "list of tables ([[k]])"),
    ],
)
def test_a_wrong_value_is_a_fault(read: Reader, value: object, reason: str) -> None:
    """With a reason that says what would be right."""
    found, faults = table({"k": value})
    read(found)

    assert len(faults) == 1
    assert reason in faults[0].reason


def test_keys_of_nested_tables_are_dotted() -> None:
    """Lists by index; a fault of a table itself has the table's key."""
    found, faults = table({"rule": [{"apps": [{}]}, 3], "a": {"b": {"c": 1}}})
    rule = found.tables("rule")[0]
    rule.tables("apps")[0].text("id")
    found.table("a").table("b").fault("", "no")
    found.fault("", "at all")

    assert [str(fault) for fault in faults] == [
        "x.toml: rule[1]: must be a table",
        "x.toml: rule[0].apps[0].id: is required",
        "x.toml: a.b: no",
        "x.toml: at all",
    ]


def test_unknown_keys_are_faults() -> None:
    """With the nearest key that exists, when one is near."""
    found, faults = table({"nmae": "x", "zzz": 1, "name": "y"})
    found.text("name")
    found.done()

    assert [str(fault) for fault in faults] == [
        "x.toml: nmae: unknown key (did you mean `name`?)",
        "x.toml: zzz: unknown key",
    ]


def test_a_table_with_free_names_has_no_unknown_ones() -> None:
    """Asking for the names is asking for all of them."""
    found, faults = table({"a": 1, "b": 2})

    assert list(found.names()) == ["a", "b"]
    found.done()
    assert faults == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("24h", timedelta(days=1)),
        ("7d", timedelta(days=7)),
        ("0s", timedelta(0)),
        ("", None),
        ("30", None),
        ("s", None),
        ("-1s", None),
        ("1.5h", None),
        ("1h30m", None),
        (" 1s", None),
        ("1s\n", None),
        ("1S", None),
        ("1" * 10 + "s", None),
    ],
)
def test_durations(text: str, expected: timedelta | None) -> None:
    """A whole number and a unit, nothing else."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOON, NOON),
        (datetime(2020, 7, 10, 5, tzinfo=timezone(timedelta(hours=-7))), NOON),
        (datetime(2020, 7, 10, 12), NOON),  # noqa: DTZ001  TOML's local date-time
        (date(2020, 7, 10), datetime(2020, 7, 10, tzinfo=UTC)),
        ("2020-07-10T12:00:00Z", NOON),
        ("2020-07-10T05:00:00-07:00", NOON),
        ("2020-07-10", datetime(2020, 7, 10, tzinfo=UTC)),
        ("0001-01-01T00:00:00+10:00", None),
        ("9999-12-31T23:00:00-10:00", None),
        ("yesterday", None),
        (20200710, None),
        (None, None),
    ],
)
def test_instants(value: object, expected: datetime | None) -> None:
    """Always aware and in UTC; None for what is none."""
    instant = parse_instant(value)

    assert instant == expected
    assert instant is None or instant.tzinfo is UTC


def test_an_error_says_every_fault() -> None:
    """One a line, and the parts for machines."""
    error = DocumentError([Fault("a", "k", "one"), Fault("a", "", "two")])

    assert str(error) == "a: k: one\na: two"
    assert [fault.key for fault in error.faults] == ["k", ""]
