"""What is said of the directory of groups."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.groups.asked import AskedGroups
from gatekeeper.adapters.groups.kept import Kept, write
from gatekeeper.adapters.groups.settings import AskedSettings, ScimSettings
from gatekeeper.config.settings import GroupsSettings
from gatekeeper.ports.groups import DirectoryError, Found
from gatekeeper.server.group_standing import checks, described, figures

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTINGS = AskedSettings(directory=ScimSettings(host="h", port=1, path="", token_file=Path("t")))


class Noon:
    """A clock that stands."""

    def now(self) -> datetime:
        """The time."""
        return NOON


class Away:
    """A directory that does not answer."""

    place = "https://h"

    def ask(self, wanted: object, within_s: float) -> Found:
        """Never."""
        raise DirectoryError(f"away ({within_s:.0f})")

    def give_up(self) -> None:
        """Nothing waits."""


def _groups(path: Path) -> AskedGroups:
    found = AskedGroups(Away(), path, SETTINGS, Noon())
    found.members()
    return found


def test_a_file_and_nothing_are_told_too() -> None:
    """Neither is asked, so there is no age."""
    assert described(None, GroupsSettings(), NOON) == {}
    assert described(None, GroupsSettings(file=Path("g.csv")), NOON) == {"file": "g.csv"}
    assert (checks(None), figures(None, NOON)) == ({}, None)


def test_what_was_never_asked_and_what_is_silent(tmp_path: Path) -> None:
    """The state, the last answer with its age, what it does not have, and a file that is of no use."""
    path = tmp_path / "groups.json"
    groups = _groups(path)
    assert described(groups, GroupsSettings(asked=SETTINGS), NOON) == {
        "directory": "https://h",
        "state": "not asked yet by this process",
        "answered": "never, as far as is on record",
    }
    assert figures(groups, NOON) == (True, None)

    kept = Kept(answered_at=NOON - timedelta(minutes=2), members={}, unknown={"lab": "there is no such group"})
    write(path, kept, SETTINGS.meaning)
    groups = _groups(path)
    with pytest.raises(DirectoryError):
        groups.ask({"lab"})
    found = described(groups, GroupsSettings(asked=SETTINGS), NOON)
    assert found["state"] == "SILENT since 2026-01-01T12:00:00Z: away (60)"
    assert found["answered"] == "2026-01-01T11:58:00Z, 120 s ago"
    assert found["unknown lab"] == "there is no such group"
    assert figures(groups, NOON) == (False, 120.0)
    assert checks(groups)["groups"].startswith(
        "ok, but the directory of groups does not answer since 2026-01-01T12:00:00Z"
    )

    path.write_text("{")
    assert "is not JSON" in str(described(_groups(path), GroupsSettings(asked=SETTINGS), NOON)["last_answer"])


def test_an_answer_that_is_too_old_is_told(tmp_path: Path) -> None:
    """As unknown, in capitals; and the gate is ready all the same."""
    path = tmp_path / "groups.json"
    write(path, Kept(answered_at=NOON - timedelta(days=1), members={}, unknown={}), SETTINGS.meaning)
    groups = _groups(path)
    found = described(groups, GroupsSettings(asked=SETTINGS), NOON)
    assert str(found["answered"]).endswith("older than groups.keep, its groups are UNKNOWN")
    assert checks(groups)["groups"] == "ok, but the directory's last answer is too old: its groups are unknown"
