"""The file with a directory's last good answer."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gatekeeper.adapters.groups.kept import Kept, NotUsable, read, write

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANSWER = Kept(
    answered_at=NOON,
    members={"CN=Sales": frozenset({"alice@example.com", "bob@example.com"}), "empty": frozenset()},
    unknown={"gone": "there is no such group"},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """For this user alone, in a directory that is made; what was there before is replaced."""
    path = tmp_path / "state" / "groups.json"
    assert read(path, "ldap") is None
    write(path, Kept(answered_at=NOON, members={}, unknown={}), "ldap")
    write(path, ANSWER, "ldap")
    assert read(path, "ldap") == ANSWER
    assert ANSWER.asked == {"CN=Sales", "empty", "gone"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["groups.json"]


def test_nothing_else_stands_there(tmp_path: Path) -> None:
    """Names of groups, accounts, reasons, a time; not even where the directory is."""
    path = tmp_path / "groups.json"
    write(path, ANSWER, "ldap\ndc=secret")
    document = json.loads(path.read_bytes())
    assert set(document) == {"version", "meaning", "answered_at", "members", "unknown"}
    assert "secret" not in path.read_text()


def test_an_answer_for_another_meaning_is_none(tmp_path: Path) -> None:
    """Another base, another attribute: other people."""
    path = tmp_path / "groups.json"
    write(path, ANSWER, "mail")
    assert read(path, "uid") is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not what this version writes"),
        (b'{"version": 2, "meaning": ""}', "is not what this version writes"),
        (b'{"version": 1, "meaning": "", "answered_at": "soon", "members": {}, "unknown": {}}', "is not what"),
        (
            b'{"version":1,"meaning":"","answered_at":"2026-01-01T00:00:00Z","members":{"a":[1]},"unknown":{}}',
            "is not what",
        ),
    ],
    ids=["empty", "deep", "list", "version", "time", "members"],
)
def test_a_broken_file_is_told(tmp_path: Path, data: bytes, reason: str) -> None:
    """With its name."""
    path = tmp_path / "groups.json"
    path.write_bytes(data)
    with pytest.raises(NotUsable, match=reason):
        read(path, "ldap")
    with pytest.raises(NotUsable, match="cannot be read"):
        read(tmp_path, "ldap")
