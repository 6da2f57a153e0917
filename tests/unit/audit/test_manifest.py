"""The manifest of an export."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.checkpoint import Checkpoint
from gatekeeper.audit.manifest import TITLE, Manifest, Outline, Tally
from gatekeeper.audit.stored import read
from gatekeeper.signing.note import NoteError, parse_note
from testkit.audit_log import ORIGIN, chained, event


def manifest(asked: str = "user=alice@example.com", by: str = "root") -> Manifest:
    tally = Tally()
    for line in chained([event("c1"), event("c2"), event("c3")])[1:]:
        tally.add(read(line))
    return Manifest(
        format="csv",
        made="2020-07-10T18:00:00Z",
        by=by,
        asked=asked,
        read="log",
        file="records.csv",
        octets=123,
        sha256="ab" * 32,
        tally=tally,
        checkpoints=[Checkpoint(ORIGIN, 3, bytes(32))],
    )


def test_it_says_what_was_asked_and_what_came() -> None:
    """The whole text."""
    assert manifest().note().text.splitlines() == [
        "gatekeeper audit export 1",
        "format: csv",
        "made: 2020-07-10T18:00:00Z",
        "by: root",
        "asked: user=alice@example.com",
        "read: log",
        "file: records.csv",
        "octets: 123",
        f"sha256: {'ab' * 32}",
        "records: 2",
        "first: 2020-07-10T17:00:00.000Z",
        "last: 2020-07-10T17:00:00.000Z",
        "log: tests.example/audit/1 records 2 from 1 to 2",
        f"checkpoint: tests.example/audit/1 3 {'A' * 43}=",
    ]


def test_it_is_read_back_from_the_note() -> None:
    """Unsigned as well."""
    note = parse_note(manifest().note().encode())
    assert Outline.parse(note.text) == Outline("records.csv", 123, "ab" * 32, 2)


@given(st.text(), st.text())
def test_no_text_adds_a_line(asked: str, by: str) -> None:
    """Whatever somebody looked for, and whatever an account is called."""
    made = manifest(asked, by).note()
    assert made.text.count("\n") == 14
    assert Outline.parse(parse_note(made.encode()).text) == Outline("records.csv", 123, "ab" * 32, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "some other note\n",
        f"{TITLE}\n",
        f"{TITLE}\nfile: ../../etc/passwd\nsha256: {'ab' * 32}\noctets: 1\nrecords: 1\n",
        f"{TITLE}\nfile: records.csv\nsha256: {'AB' * 32}\noctets: 1\nrecords: 1\n",
        f"{TITLE}\nfile: records.csv\nsha256: {'ab' * 32}\noctets: -1\nrecords: 1\n",
        f"{TITLE}\nfile: records.csv\nsha256: {'ab' * 32}\noctets: 1\nrecords: {'1' * 30}\n",
    ],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    """It names no file outside of its directory, and no number that is none."""
    with pytest.raises(NoteError):
        Outline.parse(text)


def test_nothing_is_an_export_too() -> None:
    """Of no records there is no first and no last."""
    tally = Tally()
    assert (tally.records, tally.first_ms, tally.logs) == (0, None, {})
