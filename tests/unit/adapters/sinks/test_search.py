"""Searching all logs: with and without the index the same lines are found."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.adapters.sinks.index import NAME, LogIndex
from gatekeeper.adapters.sinks.search import NO_RECORD, Search
from gatekeeper.adapters.sinks.several import last_of_all
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.wanted import Wanted
from testkit.audit_log import NOW, chained, connection, event, pack_segments, write_segments

PEOPLE = ("alice@example.com", "bob@example.com", "carol@example.com")


def _log(first: int, count: int) -> list[bytes]:
    return chained(
        event(
            f"c{number}",
            (EventCode.BLOCKED_APP, EventCode.SESSION_ALLOWED, EventCode.SESSION_ENDED)[number % 3],
            account=PEOPLE[number % 3],
            time=NOW + timedelta(minutes=number),
            connection=connection(f"c{number}", address=f"198.51.{number % 5}.7"),
        )
        for number in range(first, first + count)
    )


def _write(directory: Path, first: int, segments: int) -> None:
    """A log of that many segments of five records each, named by when they were begun."""
    lines = _log(first, 5 * segments)
    for number, path in enumerate(write_segments(directory, *(lines[at : at + 5] for at in range(0, len(lines), 5)))):
        began = NOW + timedelta(minutes=first + 5 * number)
        path.rename(path.with_name(f"{path.name[:20]}-{began:%Y%m%dT%H%M%SZ}.jsonl"))


@pytest.fixture(scope="module", params=["plain", "compressed"])
def directory(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Two workers' logs and an older one, of two and three segments."""
    root = tmp_path_factory.mktemp("audit")
    for log, first, segments in ((root, 0, 3), (root / "worker-1", 15, 2), (root / "worker-2", 20, 2)):
        _write(log, first, segments)
        if request.param == "compressed":
            pack_segments(log)
    return root


WANTED = st.builds(
    Wanted,
    account=st.none() | st.sampled_from([*PEOPLE, "nobody"]),
    device=st.none() | st.just("ph-001"),
    codes=st.none() | st.sets(st.sampled_from(["GK1002W", "GK1001I", "GK9999I"])).map(frozenset),
    conn=st.none() | st.integers(0, 35).map("c{}".format),
    app=st.none() | st.sampled_from(["com.*", "x"]),
    network=st.none() | st.sampled_from([ip_network("198.51.3.0/24"), ip_network("198.51.2.9"), ip_network("::/0")]),
    since=st.none() | st.integers(-15, 50).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    until=st.none() | st.integers(-15, 50).map(lambda minutes: NOW + timedelta(minutes=minutes)),
)


@settings(max_examples=30, deadline=None)
@given(wanted=WANTED, count=st.integers(0, 20))
def test_the_index_changes_nothing_but_the_time_it_takes(directory: Path, wanted: Wanted, count: int) -> None:
    """All, and the last ones, are those that a reading of the whole log finds."""
    said: list[str] = []
    everything = list(Search(directory, Wanted(), said.append).all())
    plain = list(Search(directory, wanted, said.append).all())
    assert plain == list(Search(directory, wanted, said.append).fitting(everything))
    index = LogIndex(directory)
    try:
        assert list(Search(directory, wanted, said.append, index).all()) == plain
        _, positions = last_of_all(directory, 0)
        last = Search(directory, wanted, said.append, index).last(count, positions)
        assert last == plain[max(len(plain) - count, 0) :]
    finally:
        index.close()
    assert said == []


def test_the_last_ones_stand_before_a_position(tmp_path: Path) -> None:
    """What is written after the look is left to whoever follows the log from there."""
    lines = _log(0, 9)
    write_segments(tmp_path, lines[:3], lines[3:6])
    _, positions = last_of_all(tmp_path, 0)
    write_segments(tmp_path, lines[:3], lines[3:8], lines[8:])
    index = LogIndex(tmp_path)
    found = Search(tmp_path, Wanted(account=PEOPLE[0]), lambda _: None, index).last(10, positions)
    index.close()
    assert found == [lines[0], lines[3]]


def test_a_wrong_index_brings_no_wrong_line(tmp_path: Path) -> None:
    """Whoever writes into the index can hide lines from a search by it, but not put one in."""
    lines = _log(0, 6)
    write_segments(tmp_path, lines[:5], lines[5:])
    index = LogIndex(tmp_path)
    list(Search(tmp_path, Wanted(account=PEOPLE[0]), lambda _: None, index).all())
    offsets = index._database.execute("SELECT offsets FROM posting WHERE kind = 1 AND key = ?", (PEOPLE[1].encode(),))
    wrong = offsets.fetchone()[0] + b"\x07\x00\x00\x00\xff\xff\xff\x7f"
    index._database.execute("UPDATE posting SET offsets = ? WHERE kind = 1 AND key = ?", (wrong, PEOPLE[0].encode()))
    said: list[str] = []
    assert list(Search(tmp_path, Wanted(account=PEOPLE[0]), said.append, index).all()) == []
    index.close()
    assert list(Search(tmp_path, Wanted(account=PEOPLE[0]), said.append).all()) == [lines[0], lines[3]]


def test_an_index_that_fails_on_the_way_is_left(tmp_path: Path) -> None:
    """Everything is found all the same, and it is said once."""
    lines = _log(0, 9)
    write_segments(tmp_path, lines[:3], lines[3:6], lines[6:])
    index = LogIndex(tmp_path)
    index.close()
    said: list[str] = []
    assert list(Search(tmp_path, Wanted(account=PEOPLE[0]), said.append, index).all()) == lines[::3]
    assert len(said) == 1
    assert NAME in said[0]


def test_lines_that_are_no_records_are_told(tmp_path: Path) -> None:
    """By the index too."""
    lines = _log(0, 2)
    write_segments(tmp_path, [b"garbage\n", lines[0]], lines[1:])
    index = LogIndex(tmp_path)
    said: list[str] = []
    assert list(Search(tmp_path, Wanted(account=PEOPLE[0]), said.append, index).all()) == lines[:1]
    index.close()
    assert said == [NO_RECORD]
