"""Compressed segments: any line is found, other programs read them, and no octet of one can be changed unnoticed."""

import gzip
import io
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks import packed
from gatekeeper.adapters.sinks.packed import (
    MAX_MEMBER,
    PackedLines,
    SegmentDamaged,
    Table,
    member_octets,
    members,
    pack,
)
from testkit.audit_log import log_of

LOG = log_of(40)
ALL = b"".join(LOG)


def write(path: Path, lines: bytes, octets: int = 4000) -> Path:
    """Compress in many small members."""
    table = Table()
    with path.open("wb") as file:
        for block in members(io.BytesIO(lines), octets):
            member = pack(block)
            table.add(member, len(block))
            file.write(member)
        file.write(table.directory())
    return path


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """Some forty lines in about ten members."""
    return write(tmp_path / "s.jsonl.gz", ALL)


def read_all(file: Path | bytes) -> list[bytes]:
    """Line by line, from the beginning to the end."""
    found = []
    content = file if isinstance(file, bytes) else file.read_bytes()
    with PackedLines(io.BytesIO(content), "s.jsonl.gz") as lines:
        while line := lines.readline(MAX_MEMBER):
            found.append(line)
    return found


def test_lines_come_in_order(segment: Path) -> None:
    """All of them, and then nothing, however often one asks."""
    assert read_all(segment) == LOG
    with PackedLines.open(segment) as lines:
        assert lines.size == len(ALL)
        assert lines.read(10**9) == ALL
        assert (lines.tell(), lines.read(1), lines.readline(1)) == (len(ALL), b"", b"")


def test_any_line_is_found_by_its_offset(segment: Path) -> None:
    """Forwards, backwards, and in the middle of a line."""
    offsets = [sum(map(len, LOG[:number])) for number in range(len(LOG))]
    with PackedLines.open(segment) as lines:
        for number in [*range(len(LOG)), *reversed(range(len(LOG)))]:
            lines.seek(offsets[number])
            assert lines.readline(MAX_MEMBER) == LOG[number]
            assert lines.tell() == offsets[number] + len(LOG[number])
        lines.seek(offsets[7] + 5)
        assert lines.readline(10) == LOG[7][5:15]
        lines.seek(offsets[30] + 5)
        assert lines.read(9000) == ALL[offsets[30] + 5 :][:9000]


def test_other_programs_read_it(segment: Path) -> None:
    """GNU gzip and the library's."""
    assert gzip.decompress(segment.read_bytes()) == ALL
    assert subprocess.run(["gzip", "-dc", segment], capture_output=True, check=True).stdout == ALL
    assert subprocess.run(["gzip", "-t", segment], capture_output=True, check=False).returncode == 0


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """Wherever it is: content, frame, table, and the bits that no program looks at."""
    whole = write(tmp_path / "s.jsonl.gz", b"".join(LOG[:3]), 800).read_bytes()
    for place in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(SegmentDamaged, match=r"s\.jsonl\.gz"):
            read_all(bytes(changed))


def test_every_cut_and_every_addition_is_found(tmp_path: Path) -> None:
    """Also an empty member behind it, in which no other program sees anything wrong."""
    whole = write(tmp_path / "s.jsonl.gz", b"".join(LOG[:3]), 800).read_bytes()
    for length in range(len(whole)):
        with pytest.raises(SegmentDamaged):
            read_all(whole[:length])
    for more in (b"\0", gzip.compress(b""), Table().directory(), pack(LOG[0])):
        with pytest.raises(SegmentDamaged):
            read_all(whole + more)


def test_damage_is_told_where_it_is(segment: Path) -> None:
    """What stands before it is read."""
    whole = bytearray(segment.read_bytes())
    before = next(members(io.BytesIO(ALL), 4000))
    place = len(pack(before))
    whole[place + 30] ^= 1
    segment.write_bytes(whole)
    with PackedLines.open(segment) as lines:
        assert lines.read(len(before)) == before
        with pytest.raises(SegmentDamaged, match=f"the gzip member at octet {place} "):
            lines.readline(MAX_MEMBER)


def test_an_empty_segment_has_no_lines(tmp_path: Path) -> None:
    """And is a gzip file all the same."""
    path = write(tmp_path / "s.jsonl.gz", b"")
    assert read_all(path) == []
    assert gzip.decompress(path.read_bytes()) == b""


def test_no_more_is_unpacked_than_a_member_may_have(tmp_path: Path) -> None:
    """Neither what the table admits to, nor what it does not."""
    bomb = gzip.compress(b"x" * (64 * MAX_MEMBER))
    path = tmp_path / "s.jsonl.gz"
    for length in (64 * MAX_MEMBER, 1000):
        table = Table()
        table.add(bomb, length)
        path.write_bytes(bomb + table.directory())
        with pytest.raises(SegmentDamaged):
            read_all(path)


def test_a_table_that_lies_is_not_believed(tmp_path: Path) -> None:
    """One whose sums fit each other: its members are not where it says."""
    first, second = pack(LOG[0]), pack(LOG[1])
    path = tmp_path / "s.jsonl.gz"
    lengths = [len(LOG[0]), len(LOG[1])]
    for places, lines in (([len(first) + 1, len(second) - 1], lengths), ([len(first + second)], [10])):
        table = Table(places, lines, zlib.crc32(first + second))
        path.write_bytes(first + second + table.directory())
        with pytest.raises(SegmentDamaged):
            read_all(path)
    table = Table([1] * (packed.MAX_MEMBERS + 1), [1] * (packed.MAX_MEMBERS + 1))
    path.write_bytes(struct.pack("<B", 0) * (packed.MAX_MEMBERS + 1) + table.directory())
    with pytest.raises(SegmentDamaged):
        PackedLines.open(path)


def test_members_hold_whole_lines(tmp_path: Path) -> None:
    """What is no line, or too long for one, is not compressed."""
    blocks = list(members(io.BytesIO(ALL), 5000))
    assert b"".join(blocks) == ALL
    assert all(block.endswith(b"\n") and 5000 <= len(block) < 5000 + 16_386 for block in blocks[:-1])
    with pytest.raises(SegmentDamaged, match="no end"):
        list(members(io.BytesIO(LOG[0] + b"torn"), 5000))
    with pytest.raises(SegmentDamaged, match="too long"):
        list(members(io.BytesIO(b"x" * (2 * MAX_MEMBER)), 5000))


@pytest.mark.parametrize("size", [0, 64 << 20, 1 << 30])
def test_the_table_has_room_for_the_largest_segment(tmp_path: Path, size: int) -> None:
    """The extra field of a member has at most 64 KiB."""
    octets = member_octets(size)
    count = size // octets + 1
    assert count <= packed.MAX_MEMBERS + 1
    assert len(Table([100] * count, [octets] * count).directory()) < 65536 + 30
