"""The disposable index: right, thrown away, stale, damaged, of somebody else."""

import os
import sqlite3
import stat
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.index import NAME, Indexed, IndexUnusable, LogIndex
from gatekeeper.audit.wanted import Wanted
from testkit.audit_log import NOW, chained, connection, event, pack_segments, write_segments

LINES = chained(
    [
        event("c0"),
        event("c1", account="bob@example.com", connection=connection("c1", address="203.0.113.9")),
        event("c2", time=NOW - timedelta(hours=1), connection=connection("c2", address="2001:db8:1::1")),
    ]
)
OFFSETS = [0, len(LINES[0]), len(LINES[0]) + len(LINES[1])]


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A closed segment."""
    return write_segments(tmp_path, LINES)[0]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(account="alice@example.com"), [0, 2]),
        (Wanted(account="alice"), []),
        (Wanted(device="ph-001"), [0, 1, 2]),
        (Wanted(account="bob@example.com", device="ph-001"), [1]),
        (Wanted(account="bob@example.com", conn="c0"), []),
        (Wanted(conn="c2"), [2]),
        (Wanted(rule="no-tiktok", conn="c0"), [0]),
        (Wanted(app="com.ZHILIAOAPP.*"), [0, 1, 2]),
        (Wanted(app="com.other"), []),
        (Wanted(codes=frozenset({"GK1002W", "GK1001I"})), [0, 1, 2]),
        (Wanted(codes=frozenset()), []),
        (Wanted(network=ip_network("203.0.113.77")), [1]),
        (Wanted(network=ip_network("0.0.0.0/0")), [0, 1]),
        (Wanted(network=ip_network("2001:db8::/32")), [2]),
        (Wanted(network=ip_network("2001:db8:1:2::/64")), [2]),
        (Wanted(network=ip_network("2001:db8:2::/48")), []),
    ],
)
def test_lines_are_found_by_their_terms(tmp_path: Path, segment: Path, wanted: Wanted, expected: list[int]) -> None:
    """All filters have to hold; the order is that of the log."""
    index = LogIndex(tmp_path)
    assert index.offsets(index.segment(segment), wanted) == [OFFSETS[number] for number in expected]
    index.close()


def test_what_it_has_no_word_for_does_not_narrow_the_search(tmp_path: Path, segment: Path) -> None:
    """Protocol and time are not in it."""
    index = LogIndex(tmp_path)
    assert index.offsets(index.segment(segment), Wanted(protocol="imap", since=NOW)) is None
    index.close()


def test_it_knows_the_times_of_a_segment_whatever_the_clock_did(tmp_path: Path, segment: Path) -> None:
    """The earliest and the latest, not the first and the last."""
    index = LogIndex(tmp_path)
    indexed = index.segment(segment)
    assert (indexed.first_ms, indexed.last_ms) == (1594396800000, 1594400400000)
    assert indexed.faults == 0
    index.close()


def test_a_segment_is_indexed_once(tmp_path: Path, segment: Path) -> None:
    """The next one who opens the index finds it there."""
    added: list[bool] = []
    for _ in range(2):
        index = LogIndex(tmp_path, lambda: added.append(True))
        number = index.segment(segment).number
        index.close()
    assert added == [True]
    assert number == 1


def test_two_that_index_the_same_do_not_take_it_from_each_other(tmp_path: Path) -> None:
    """Whoever comes second uses what the first one made, and is still looking at."""
    segments = write_segments(tmp_path, LINES[:2], LINES[2:])
    found: list[Indexed] = []

    def first_one_is_quicker() -> None:
        found.extend(one.segment(path) for path in segments)

    one, two = LogIndex(tmp_path), LogIndex(tmp_path, first_one_is_quicker)
    assert two.segment(segments[0]) == found[0]
    assert one.offsets(found[0], Wanted(conn="c1")) == [OFFSETS[1]]
    one.close()
    two.close()


def test_an_index_outlives_the_compression(tmp_path: Path) -> None:
    """The segment is the same: it is not indexed anew, and its lines are where they were."""
    segments = write_segments(tmp_path, LINES, LINES[:1])
    added: list[bool] = []
    index = LogIndex(tmp_path, lambda: added.append(True))
    before = index.segment(segments[0])
    pack_segments(tmp_path)
    assert index.segment(segments[0]) == before
    assert index.offsets(before, Wanted(conn="c2")) == [OFFSETS[2]]
    index.close()
    assert added == [True]


def test_lines_that_are_no_records_are_counted_and_left_out(tmp_path: Path) -> None:
    """Also one that is longer than a record may be, which comes in pieces."""
    path = write_segments(tmp_path, [b"garbage\n", LINES[0], b"x" * 40_000 + b"\n", LINES[1]])[0]
    index = LogIndex(tmp_path)
    indexed = index.segment(path)
    assert index.offsets(indexed, Wanted(device="ph-001")) == [8, 8 + len(LINES[0]) + 40_001]
    assert indexed.faults >= 2
    index.close()


def test_a_segment_that_was_replaced_is_indexed_anew(tmp_path: Path, segment: Path) -> None:
    """Same name and size, another last line: a restored or rewritten log."""
    index = LogIndex(tmp_path)
    index.segment(segment)
    segment.write_bytes(b"".join(LINES).replace(b"ph-001", b"ph-002"))
    indexed = index.segment(segment)
    assert index.offsets(indexed, Wanted(device="ph-001")) == []
    assert index.offsets(indexed, Wanted(device="ph-002")) == OFFSETS
    index.close()


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to look like one" * 50])
def test_a_damaged_index_is_made_again(tmp_path: Path, segment: Path, content: bytes) -> None:
    """Whatever lies there."""
    (tmp_path / NAME).write_bytes(content)
    index = LogIndex(tmp_path)
    assert index.offsets(index.segment(segment), Wanted(conn="c1")) == [OFFSETS[1]]
    index.close()


def test_an_index_of_another_version_is_made_again(tmp_path: Path, segment: Path) -> None:
    """Nothing of it is believed."""
    index = LogIndex(tmp_path)
    index.segment(segment)
    index.close()
    database = sqlite3.connect(tmp_path / NAME)
    database.execute("PRAGMA user_version = 99")
    database.execute("DELETE FROM posting")
    database.commit()
    database.close()
    index = LogIndex(tmp_path)
    assert index.offsets(index.segment(segment), Wanted(conn="c1")) == [OFFSETS[1]]
    index.close()


def test_what_is_gone_from_the_log_is_forgotten(tmp_path: Path, segment: Path) -> None:
    """A pruned segment leaves no names of people behind in the index."""
    index = LogIndex(tmp_path)
    index.segment(segment)
    index.forget_others([segment])
    assert index._database.execute("SELECT count(*) FROM posting").fetchone() != (0,)
    index.forget_others([])
    assert index._database.execute("SELECT count(*) FROM posting").fetchone() == (0,)
    index.close()


def test_only_the_log_s_owner_and_group_read_it(tmp_path: Path) -> None:
    """It says who reads mail where, as the log does; root makes it for the owner of the directory."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
    LogIndex(tmp_path).close()
    found = (tmp_path / NAME).stat()
    assert stat.S_IMODE(found.st_mode) & 0o027 == 0
    assert found.st_uid == tmp_path.stat().st_uid


def test_where_nothing_can_be_written_there_is_none(tmp_path: Path) -> None:
    """It is said why."""
    (tmp_path / NAME).mkdir()
    with pytest.raises(IndexUnusable, match=NAME):
        LogIndex(tmp_path)


def test_an_index_that_somebody_else_holds_is_done_without(
    tmp_path: Path, segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search does not wait for ever for another one that is making the index."""
    monkeypatch.setattr("gatekeeper.adapters.sinks.index._BUSY_S", 0.05)
    LogIndex(tmp_path).close()
    other = sqlite3.connect(tmp_path / NAME)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(IndexUnusable):
            LogIndex(tmp_path).segment(segment)
    finally:
        other.close()


def test_a_segment_beyond_what_offsets_can_say_is_not_indexed(
    tmp_path: Path, segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read through instead of being indexed wrongly."""
    monkeypatch.setattr("gatekeeper.adapters.sinks.index._MAX_SEGMENT", 100)
    index = LogIndex(tmp_path)
    with pytest.raises(IndexUnusable, match="too large"):
        index.segment(segment)
    index.close()
