"""A directory that is asked: when, what counts meanwhile, and for how long."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.groups.asked import AGAIN_AFTER, AskedGroups
from gatekeeper.adapters.groups.settings import AskedSettings, ScimSettings
from gatekeeper.ports.groups import DirectoryError, Found

SALES, LAB = frozenset({"alice@example.com"}), frozenset({"bob@example.com"})
REFRESH, KEEP = timedelta(minutes=5), timedelta(hours=24)
SETTINGS = AskedSettings(
    directory=ScimSettings(host="h", port=1, path="", token_file=Path("t")), refresh=REFRESH, keep=KEEP
)


class FakeDirectory:
    """A directory in memory: the port's own suites run on real ones."""

    def __init__(self) -> None:
        self.groups = {"sales": SALES, "lab": LAB}
        self.is_away = False
        self.asked: list[frozenset[str]] = []

    place = "memory"

    def ask(self, wanted: Collection[str], within_s: float) -> Found:
        """What is there."""
        assert within_s > 0
        self.asked.append(frozenset(wanted))
        if self.is_away:
            raise DirectoryError("away")
        return Found(
            members={group: self.groups[group] for group in wanted if group in self.groups},
            unknown={group: "not there" for group in wanted if group not in self.groups},
        )

    def give_up(self) -> None:
        """Nothing waits."""


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        """The time."""
        return self.time


class Bed:
    """A directory, a clock, and processes that share a file."""

    def __init__(self, path: Path) -> None:
        self.path = path / "groups.json"
        self.directory = FakeDirectory()
        self.clock = HandClock()

    def process(self) -> AskedGroups:
        """Another one."""
        return AskedGroups(self.directory, self.path, SETTINGS, self.clock)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    """Fresh."""
    return Bed(tmp_path)


def test_one_asks_and_all_know(bed: Bed) -> None:
    """Who did not ask follows the file; a process that begins later knows it, too."""
    asks, follows = bed.process(), bed.process()
    assert asks.members() == follows.members() == {}
    asks.ask({"sales", "nowhere"})
    assert asks.has_changed()
    assert follows.has_changed()
    assert asks.members() == follows.members() == bed.process().members() == {"sales": SALES}
    assert not follows.has_changed()
    assert follows.unknown == {"nowhere": "not there"}
    assert len(bed.directory.asked) == 1


def test_when_it_is_asked(bed: Bed) -> None:
    """At once, then every `refresh`; at once for a group that was never asked for; sooner after a failure."""
    groups = bed.process()
    assert groups.is_due({"sales"})
    groups.ask({"sales"})
    groups.members()
    assert not groups.is_due({"sales"})
    bed.clock.time += timedelta(seconds=2)
    assert groups.is_due({"sales", "lab"})
    assert not groups.is_due({"sales"})
    bed.clock.time += REFRESH
    assert groups.is_due({"sales"})
    bed.directory.is_away = True
    with pytest.raises(DirectoryError, match="away"):
        groups.ask({"sales"})
    assert not groups.is_due({"sales", "lab"})
    bed.clock.time += AGAIN_AFTER
    assert groups.is_due({"sales"})
    bed.clock.time -= timedelta(hours=1)
    assert groups.is_due({"sales"})


def test_what_was_known_counts_until_it_is_too_old(bed: Bed) -> None:
    """Then the groups are unknown, which is not the same as empty; the next answer makes them known."""
    groups = bed.process()
    groups.ask({"sales"})
    assert groups.members() == {"sales": SALES}
    bed.directory.is_away = True
    for _ in range(2):
        bed.clock.time += KEEP / 2 - timedelta(seconds=1)
        with pytest.raises(DirectoryError):
            groups.ask({"sales"})
        assert not groups.has_changed()
        assert groups.members() == {"sales": SALES}
    assert groups.standing.silent_since == bed.clock.time - KEEP / 2 + timedelta(seconds=1)
    bed.clock.time += timedelta(seconds=2)
    assert groups.has_changed()
    assert groups.members() == {}
    assert groups.is_expired
    assert not groups.has_changed()
    bed.directory.is_away = False
    groups.ask({"sales"})
    assert groups.standing.silent_since is None
    assert groups.members() == {"sales": SALES}
    assert not groups.is_expired


def test_further_groups_are_learned_until_an_answer_has_them(bed: Bed) -> None:
    """Only those of which nothing is known are asked for, and nothing is written; a directory that is away is told."""
    groups = bed.process()
    groups.ask({"sales", "nowhere"})
    assert groups.learn({"sales", "nowhere"}) == ("`nowhere`: not there",)
    assert groups.learn({"sales", "lab", "none"}) == ("`none`: not there",)
    assert bed.directory.asked[1:] == [{"lab", "none"}]
    assert groups.members() == {"sales": SALES, "lab": LAB}
    assert bed.process().members() == {"sales": SALES}
    bed.directory.groups["lab"] = SALES
    groups.ask({"sales", "lab"})
    assert groups.members() == {"sales": SALES, "lab": SALES}
    bed.directory.is_away = True
    assert groups.learn({"lab", "other"}) == ("memory: away",)
    assert groups.learn({"lab"}) == ()


def test_a_file_that_goes_or_breaks_takes_nothing_away(bed: Bed) -> None:
    """What a process knows it keeps; one that begins then knows nothing, and says why."""
    groups = bed.process()
    groups.ask({"sales"})
    groups.members()
    bed.path.write_text("{")
    assert groups.has_changed()
    assert groups.members() == {"sales": SALES}
    assert "is not JSON" in groups.unusable
    fresh = bed.process()
    assert fresh.members() == {}
    assert "is not JSON" in fresh.unusable
    bed.path.unlink()
    assert groups.members() == {"sales": SALES}


def test_a_file_that_cannot_be_written_is_a_fault(bed: Bed) -> None:
    """The last answer that could be kept counts on."""
    groups = bed.process()
    bed.path.mkdir()
    with pytest.raises(DirectoryError, match="cannot be written"):
        groups.ask({"sales"})
    assert groups.standing.fault
