"""One place that knows whether a segment is compressed."""

from pathlib import Path

import pytest

from gatekeeper.adapters.sinks import content
from gatekeeper.adapters.sinks.operations import FileOperations
from testkit.audit_log import log_of, pack_segments, write_segments

LOG = log_of(9)


def read(segment: Path) -> bytes:
    with content.opened(segment) as lines:
        return lines.read(1 << 20)


def test_a_segment_is_read_wherever_it_lies(tmp_path: Path) -> None:
    """By its plain name, with its octets counted as lines; where both files are, the plain one counts."""
    first, _ = write_segments(tmp_path, LOG[:4], LOG[4:])
    whole = first.read_bytes()
    assert (read(first), content.size(first)) == (whole, len(whole))
    assert content.room(first) == len(whole)
    pack_segments(tmp_path)
    assert not first.exists()
    assert (read(first), content.size(first)) == (whole, len(whole))
    assert 0 < content.room(first) < len(whole)
    first.write_bytes(LOG[0])
    assert (read(first), content.size(first)) == (LOG[0], len(LOG[0]))


def test_one_that_is_not_there_cannot_be_opened(tmp_path: Path) -> None:
    """As a file that is not there."""
    with pytest.raises(FileNotFoundError):
        content.opened(tmp_path / "x.jsonl")


def test_a_segment_is_removed_in_all_its_forms(tmp_path: Path) -> None:
    """The plain one first, the one that is being written next: a compression under way cannot bring it back."""
    first, second = write_segments(tmp_path, LOG[:4], LOG[4:])
    pack_segments(tmp_path)
    first.write_bytes(b"".join(LOG[:4]))
    content.draft(first).write_bytes(b"half")
    removed: list[str] = []

    class Disk(FileOperations):
        def unlink(self, path: Path) -> None:
            removed.append(path.name.removeprefix(first.name))
            super().unlink(path)

    content.remove(first, Disk())
    assert removed == ["", ".gz.new", ".gz"]
    assert list((tmp_path / "segments").iterdir()) == [second]
