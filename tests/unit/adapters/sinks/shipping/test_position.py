"""How far a remote has the log, on the disk."""

from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogDamaged
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.shipping.position import (
    least_shipped,
    note_position,
    position_path,
    read_position,
)

ORIGIN = "tests.example/audit/1"


def note(directory: Path, name: str, records: int) -> None:
    note_position(directory, name, ORIGIN, records, FileOperations())


def test_a_position_is_read_back(tmp_path: Path) -> None:
    """A remote that is new has none."""
    assert read_position(tmp_path, "siem", ORIGIN) is None
    note(tmp_path, "siem", 41)
    note(tmp_path, "siem", 42)
    assert read_position(tmp_path, "siem", ORIGIN) == 42
    assert [path.name for path in position_path(tmp_path, "siem").parent.iterdir()] == ["siem.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"log": 1, "records": 1}',
        f'{{"log": "{ORIGIN}", "records": -1}}',
        f'{{"log": "{ORIGIN}", "records": true}}',
    ],
)
def test_what_is_no_position_is_not_believed(tmp_path: Path, text: str) -> None:
    """It is said what to do: nothing is skipped or sent again unasked."""
    note(tmp_path, "siem", 1)
    position_path(tmp_path, "siem").write_text(text)
    with pytest.raises(AuditLogDamaged, match="remove it"):
        read_position(tmp_path, "siem", ORIGIN)


def test_a_log_that_follows_another_is_new_to_the_remote(tmp_path: Path) -> None:
    """Its numbers begin anew."""
    note(tmp_path, "siem", 41)
    assert read_position(tmp_path, "siem", f"{ORIGIN}/2") is None
    note_position(tmp_path, "siem", f"{ORIGIN}/2", 1, FileOperations())
    assert read_position(tmp_path, "siem", f"{ORIGIN}/2") == 1


def test_whoever_removes_old_records_can_ask_what_every_remote_has(tmp_path: Path) -> None:
    """The slowest remote counts, and one whose position cannot be read has nothing."""
    assert least_shipped(tmp_path) is None
    note(tmp_path, "siem", 100)
    note(tmp_path, "archive", 40)
    assert least_shipped(tmp_path) == ("archive", 40)
    position_path(tmp_path, "siem").write_text("?")
    assert least_shipped(tmp_path) == ("siem", 0)
