"""The end of a log before it is written to: recovered where nothing was promised, refused where something is missing."""

import hashlib
import json
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogDamaged, note_head
from gatekeeper.adapters.sinks.opening import Ending, cut_off, find_ending, tail_of
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.report import Head
from testkit.audit_log import ORIGIN, head_of, log_of, write_segments

LOG = log_of(8)


def ending(directory: Path) -> Ending:
    return find_ending(directory, ORIGIN, FileOperations())


def note(directory: Path, head: Head) -> None:
    note_head(directory, head, ORIGIN, FileOperations())


def test_a_new_log_begins_with_nothing(tmp_path: Path) -> None:
    """No segment: the first record has the number 0."""
    assert ending(tmp_path) == Ending(None, ())


def test_a_whole_log_ends_with_its_last_record(tmp_path: Path) -> None:
    """Nothing is cut, nothing is changed."""
    write_segments(tmp_path, LOG[:3], LOG[3:])
    note(tmp_path, head_of(LOG))
    assert ending(tmp_path) == Ending(head_of(LOG), ())


def test_a_torn_last_record_is_cut_at_every_length(tmp_path: Path) -> None:
    """However much of the last record got to the disk without its newline, it is cut and told."""
    whole = b"".join(LOG[:-1])
    for kept in range(1, len(LOG[-1])):
        directory = tmp_path / str(kept)
        (segment,) = write_segments(directory, [*LOG[:-1], LOG[-1][:kept]])
        note(directory, head_of(LOG[:-1]))

        found = ending(directory)

        assert found.last == head_of(LOG[:-1])
        (cut,) = found.cuts
        assert (cut.segment, cut.offset, cut.length) == (segment.name, len(whole), kept)
        assert cut.sha256 == hashlib.sha256(LOG[-1][:kept]).hexdigest()
        assert segment.read_bytes() == whole


def test_a_last_line_that_is_no_record_is_cut(tmp_path: Path) -> None:
    """Garbage with a newline at the very end."""
    write_segments(tmp_path, [*LOG, b"\0\0\0\n"])
    found = ending(tmp_path)
    assert found.last == head_of(LOG)
    assert found.cuts[0].length == 4


def test_a_segment_of_which_nothing_is_left_is_removed(tmp_path: Path) -> None:
    """Torn in its first record: the log ends with the segment before."""
    _, second = write_segments(tmp_path, LOG[:4], [LOG[4][:50]])
    found = ending(tmp_path)
    assert found.last == head_of(LOG[:4])
    assert found.cuts[0].length == 50
    assert not second.exists()


def test_empty_segments_are_removed(tmp_path: Path) -> None:
    """A crash right after a segment was made."""
    _, second = write_segments(tmp_path, LOG[:4], [])
    assert ending(tmp_path) == Ending(head_of(LOG[:4]), ())
    assert not second.exists()


@pytest.mark.parametrize(
    ("segments", "where"),
    [
        ([[*LOG[:2], LOG[2].replace(b"alice", b"malle"), *LOG[3:]]], "line 3"),
        ([[*LOG[:2], *LOG[3:]]], "line 3"),
        ([[*LOG[:2], b"garbage\n", *LOG[2:]]], "line 3"),
        ([[*LOG[:-1], LOG[-2]]], "line 8"),
        ([LOG[:4], [*LOG[5:], LOG[5][:10]]], "line 1"),
        ([LOG[:3], [LOG[3].replace(b"alice", b"malle"), *LOG[4:]]], "line 1"),
        ([[*LOG[:3], LOG[3].replace(b"alice", b"malle")], LOG[4:]], "line 1"),
        ([[*LOG[:3], b"garbage\n"], LOG[4:]], "last line"),
        ([LOG[1:]], "line 1"),
    ],
    ids=[
        "changed", "dropped", "inserted", "does-not-chain", "dropped-and-torn", "first-changed", "end-of-segment-before",
        "garbage-before", "beginning-gone",
    ],
)  # fmt: skip
def test_a_damaged_log_is_refused_with_its_place(tmp_path: Path, segments: list[list[bytes]], where: str) -> None:
    """Nothing that may once have been acknowledged is repaired; segment and line are named."""
    paths = write_segments(tmp_path, *segments)
    before = [path.read_bytes() for path in paths]
    with pytest.raises(AuditLogDamaged, match=where) as raised:
        ending(tmp_path)
    assert any(path.name in str(raised.value) for path in paths)
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize("kept", [0, 3, 7])
def test_a_log_behind_its_head_is_refused(tmp_path: Path, kept: int) -> None:
    """Records that were durable are gone: continuing would hide it."""
    write_segments(tmp_path, LOG[:kept])
    note(tmp_path, head_of(LOG))
    with pytest.raises(AuditLogDamaged, match="knows record 7"):
        ending(tmp_path)


def test_a_torn_record_that_the_head_knows_is_refused_and_left(tmp_path: Path) -> None:
    """A record that was durable and is torn now was damaged, not interrupted."""
    (segment,) = write_segments(tmp_path, [*LOG[:-1], LOG[-1][:50]])
    note(tmp_path, head_of(LOG))
    with pytest.raises(AuditLogDamaged):
        ending(tmp_path)
    assert segment.read_bytes().endswith(LOG[-1][:50])


def test_a_last_record_other_than_the_head_is_refused(tmp_path: Path) -> None:
    """The last record was changed while nobody wrote."""
    write_segments(tmp_path, [*LOG[:-1], LOG[-1].replace(b"closed", b"opened")])
    note(tmp_path, head_of(LOG))
    with pytest.raises(AuditLogDamaged, match="line 8"):
        ending(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"sequence": true, "sha256": "x"}', '{"sequence": 1}'])
def test_a_head_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    """Without the head a cut tail would go unnoticed."""
    write_segments(tmp_path, LOG)
    (tmp_path / "head.json").write_text(text)
    with pytest.raises(AuditLogDamaged, match=r"head\.json"):
        ending(tmp_path)


def test_the_head_is_put_down_as_json(tmp_path: Path) -> None:
    """Log, number and digest, readable for people and programs."""
    note(tmp_path, Head(3, "c" * 64))
    assert json.loads((tmp_path / "head.json").read_bytes()) == {
        "v": 1,
        "log": ORIGIN,
        "sequence": 3,
        "sha256": "c" * 64,
    }
    assert not (tmp_path / "head.json.new").exists()


def test_what_is_cut_is_told(tmp_path: Path) -> None:
    """Length and digest of what is cut go into the record."""
    (segment,) = write_segments(tmp_path, [b"kept\n", b"cut"])
    assert tail_of(segment, 5).detail() == {
        "segment": segment.name,
        "offset": 5,
        "cut_length": 3,
        "cut_sha256": hashlib.sha256(b"cut").hexdigest(),
    }
    cut_off(segment, 5, FileOperations())
    assert segment.read_bytes() == b"kept\n"
