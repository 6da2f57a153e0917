"""The reading side: the last lines, a log that grows, and what lies in a time."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import began, segment_path, segment_paths
from gatekeeper.adapters.sinks.reader import LineCursor, Position, follow, last_line, last_lines, lines, pieces
from gatekeeper.audit.chain import MAX_PIECE
from testkit.audit_log import NOW, log_of, pack_segments, write_segments

LOG = log_of(9)


def test_lines_come_in_order_across_segments(tmp_path: Path) -> None:
    """All complete lines, without the torn one at the end."""
    write_segments(tmp_path, LOG[:4], LOG[4:], [b"torn"])
    assert list(lines(tmp_path)) == LOG


def test_segments_that_get_compressed_meanwhile_are_read_on(tmp_path: Path) -> None:
    """By whoever goes through all lines, takes them one after the other, or follows the log: none lost, none doubled."""
    write_segments(tmp_path, LOG[:4], LOG[4:6], LOG[6:])
    reading, cursor = lines(tmp_path), LineCursor(tmp_path, 0)
    found, taken = [next(reading)], cursor.take(2)
    news = follow(tmp_path, Position(segment_paths(tmp_path)[0].name, len(LOG[0])), list)
    followed = [next(news)]
    assert pack_segments(tmp_path)[0].exists() is False
    assert [*found, *reading] == LOG
    assert taken + cursor.take(7) == LOG
    assert followed + [next(news) for _ in range(7)] == LOG[1:]


def test_a_segment_counts_once_while_it_is_compressed(tmp_path: Path) -> None:
    """Both files are there, and a third that is being written."""
    first, second = write_segments(tmp_path, LOG[:4], LOG[4:])
    plain = first.read_bytes()
    pack_segments(tmp_path)
    first.write_bytes(plain)
    first.with_name(f"{first.name}.gz.new").write_bytes(b"half")
    assert segment_paths(tmp_path) == [first, second]
    assert list(lines(tmp_path)) == LOG


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 9, 100])
def test_the_last_lines_are_found_in_compressed_segments(tmp_path: Path, count: int) -> None:
    """As in plain ones."""
    write_segments(tmp_path, LOG[:4], LOG[4:])
    before = last_lines(tmp_path, count)
    first, _ = pack_segments(tmp_path)
    assert last_lines(tmp_path, count) == before
    assert last_line(first) == LOG[3]
    assert list(pieces(first, end=len(LOG[0]) + 10)) == [LOG[0], LOG[1][:10]]


def test_a_directory_without_segments_has_no_lines(tmp_path: Path) -> None:
    """Also one that does not exist; other files are not looked at."""
    assert list(lines(tmp_path)) == []
    write_segments(tmp_path, LOG)
    (tmp_path / "segments" / "notes.txt").write_text("x")
    assert len(segment_paths(tmp_path)) == 1
    with pytest.raises(ValueError, match=r"notes\.txt"):
        began(tmp_path / "segments" / "notes.txt")


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 9, 100])
def test_the_last_lines_are_found_across_segments(tmp_path: Path, count: int) -> None:
    """As many as asked for or as there are, and the position after them."""
    _, second = write_segments(tmp_path, LOG[:4], LOG[4:])
    found, position = last_lines(tmp_path, count)
    assert found == (LOG[-count:] if count else [])
    assert position == Position(second.name, second.stat().st_size)


def test_an_overlong_line_comes_in_bounded_pieces(tmp_path: Path) -> None:
    """No line is read whole whatever its length."""
    (segment,) = write_segments(tmp_path, [b"x" * 50_000, b"\n"])
    assert [len(piece) for piece in pieces(segment)] == [MAX_PIECE, MAX_PIECE, MAX_PIECE, 50_001 - 3 * MAX_PIECE]
    assert b"".join(pieces(segment, end=20_000)) == b"x" * 20_000


def test_the_last_line_of_a_segment(tmp_path: Path) -> None:
    """With its newline, or without when it is torn; None when there is none."""
    whole, torn, empty = write_segments(tmp_path, LOG, [LOG[0], b"torn"], [])
    assert last_line(whole) == LOG[-1]
    assert last_line(torn) == b"torn"
    assert last_line(empty) is None


class Nothing(Exception):
    """There was nothing more to read."""


def followed(directory: Path, position: Position, *steps: object) -> Iterator[bytes]:
    """Follow; each wait takes the next step, and after the last one it ends."""
    remaining = iter(steps)

    def wait() -> None:
        step = next(remaining, None)
        if step is None:
            raise Nothing
        step()  # type: ignore[operator]  # a callable of the test

    try:
        yield from follow(directory, position, wait)
    except Nothing:
        return


def test_a_log_that_grows_is_followed_into_new_segments(tmp_path: Path) -> None:
    """Half lines wait for their other half; a new segment follows the old one; no line is lost or doubled."""
    (segment,) = write_segments(tmp_path, LOG[:2])

    def grow(data: bytes) -> None:
        with segment.open("ab") as file:
            file.write(data)

    def rotate() -> None:
        grow(LOG[4])
        segment_path(tmp_path, 5, NOW).write_bytes(b"".join(LOG[5:]))

    _, position = last_lines(tmp_path, 1)
    steps = [lambda: grow(LOG[2][:30]), lambda: grow(LOG[2][30:] + LOG[3]), rotate]
    assert list(followed(tmp_path, position, *steps)) == LOG[2:]


def test_an_empty_directory_is_followed_from_its_first_record(tmp_path: Path) -> None:
    """Waiting for a log that does not exist yet."""
    assert list(followed(tmp_path, Position(), lambda: write_segments(tmp_path, LOG))) == LOG


def test_a_tail_that_was_cut_does_not_disturb_following(tmp_path: Path) -> None:
    """The torn line that nobody was shown is gone; what comes instead is shown."""
    (segment,) = write_segments(tmp_path, [*LOG[:2], b"torn"])
    _, position = last_lines(tmp_path, 1)
    assert list(followed(tmp_path, position, lambda: segment.write_bytes(b"".join(LOG[:4])))) == LOG[2:4]


def test_segments_outside_the_asked_time_are_not_read(tmp_path: Path) -> None:
    """`since` and `until` leave out segments that begin too late or end too early."""
    (tmp_path / "segments").mkdir()
    for day in range(4):
        segment_path(tmp_path, day, NOW + timedelta(days=day)).write_bytes(b"%d\n" % day)

    def between(since: float | None, until: float | None) -> list[bytes]:
        instants = [None if days is None else NOW + timedelta(days=days) for days in (since, until)]
        return list(lines(tmp_path, since=instants[0], until=instants[1]))

    assert between(None, None) == [b"0\n", b"1\n", b"2\n", b"3\n"]
    assert between(1.5, None) == [b"1\n", b"2\n", b"3\n"]
    assert between(None, 1.5) == [b"0\n", b"1\n"]
    assert between(1.5, 2.5) == [b"1\n", b"2\n"]
    assert between(-1, None) == [b"0\n", b"1\n", b"2\n", b"3\n"]
    assert between(9, None) == [b"3\n"]
