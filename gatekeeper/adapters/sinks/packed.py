"""A closed segment, compressed: a gzip file (RFC 1952) that can be read from any line on.

    member  member  …  directory        each member holds whole lines, some 64 KiB of them

The directory is the last member: it holds no octets, and a table in its extra field (RFC 1952 section 2.3.1.1,
subfield `GK`): for each member its octets in the file and as lines, then three numbers: CRC-32 of all members as they
lie in the file, CRC-32 of the table up to here, and how many members there are. All little-endian, 32 bits. Other
programs (zcat, gunzip) read the lines and see nothing of it.

Inside holds: nothing that is read is believed. What does not fit together is `SegmentDamaged`; memory is bounded
whatever a file says.
"""

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from gatekeeper.adapters.sinks.directory import AuditLogDamaged
from gatekeeper.audit.report import Unreadable

MEMBER_OCTETS = 64 * 1024
"""Of lines; what is looked up is found by decompressing one member, half a millisecond."""
MAX_MEMBER = 1024 * 1024
"""More is not read. A member is a little longer than it should be, for its last line; a line has at most 16 KiB."""
MAX_MEMBERS = 8000
"""The extra field of a member has room for 8,189."""

_HEADER = bytes.fromhex("1f8b08 00 00000000 00 ff")
_DIRECTORY = bytes.fromhex("1f8b08 04 00000000 00 ff")
_EMPTY = bytes.fromhex("0300 00000000 00000000")  # no octets, their CRC-32 and their number
_ENTRY_OCTETS = 8
_END = struct.Struct("<III")
_TAIL = len(_EMPTY) + _END.size
_LEVEL = 6


class SegmentDamaged(AuditLogDamaged, Unreadable):
    """A compressed segment is not as it was written."""


def pack(lines: bytes) -> bytes:
    """One member."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL)
    body = deflate.compress(lines) + deflate.flush()
    return _HEADER + body + struct.pack("<II", zlib.crc32(lines), len(lines))


@dataclass(slots=True)
class Table:
    """What is in a compressed segment; grows as members are written."""

    packed: list[int] = field(default_factory=list)
    """Octets in the file, of each member; `lines`: as lines."""
    lines: list[int] = field(default_factory=list)
    crc: int = 0
    """Of all members as they lie in the file."""

    def add(self, member: bytes, length: int) -> None:
        """A member of so many octets as lines was written."""
        self.packed.append(len(member))
        self.lines.append(length)
        self.crc = zlib.crc32(member, self.crc)

    def directory(self) -> bytes:
        """The last member."""
        entries = [number for entry in zip(self.packed, self.lines, strict=True) for number in entry]
        table = struct.pack(f"<{len(entries) + 1}I", *entries, self.crc)
        content = table + struct.pack("<II", zlib.crc32(table), len(self.packed))
        return _DIRECTORY + _field_head(len(content)) + content + _EMPTY


class PackedLines:
    """The lines of a compressed segment, read as if it were the plain file."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Take over an open file. Raises `SegmentDamaged`."""
        self._file = file
        self._name = name
        try:
            table = self._read_table()
        except BaseException:
            file.close()
            raise
        self._crc = table.crc
        self._places = [0, *accumulate(table.packed)]
        self._starts = [0, *accumulate(table.lines)]
        """Where each member begins in the file, and as lines; the last one is the end of all."""
        self._member = -1
        self._lines = b""
        """Of that member."""
        self._offset = 0
        self._checked = 0
        """So many members from the first on were read one after the other, and have `_sum` as their CRC-32."""
        self._sum = 0

    @classmethod
    def open(cls, path: Path) -> "PackedLines":
        """Raises OSError and `SegmentDamaged`."""
        return cls(path.open("rb"), path.name)

    def __enter__(self) -> "PackedLines":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def size(self) -> int:
        """Octets of the lines."""
        return self._starts[-1]

    def tell(self) -> int:
        """Octets before what is read next."""
        return self._offset

    def seek(self, offset: int) -> int:
        """Go on from there."""
        self._offset = offset
        return offset

    def readline(self, most: int) -> bytes:
        """Up to `most` octets, no further than the end of the line; none at the end."""
        start = self._load()
        end = self._lines.find(b"\n", start, start + most) + 1
        piece = self._lines[start : end or start + most]
        self._offset += len(piece)
        return piece

    def read(self, most: int) -> bytes:
        """Up to `most` octets; fewer only at the end."""
        pieces = []
        while most > 0:
            start = self._load()
            piece = self._lines[start : start + most]
            if not piece:
                break
            pieces.append(piece)
            most -= len(piece)
            self._offset += len(piece)
        return b"".join(pieces)

    def _load(self) -> int:
        """Have the member that the offset is in; returns where in it."""
        if self._offset >= self.size:
            self._lines, self._member = b"", -1
            self._check_end()
            return 0
        member = self._member
        if member < 0 or not self._starts[member] <= self._offset < self._starts[member + 1]:
            member = bisect_right(self._starts, self._offset) - 1
            self._lines = self._unpacked(member)
            self._member = member
        return self._offset - self._starts[member]

    def _unpacked(self, member: int) -> bytes:
        place, length = self._places[member], self._starts[member + 1] - self._starts[member]
        self._file.seek(place)
        packed = self._file.read(self._places[member + 1] - place)
        if member == self._checked:
            self._checked, self._sum = member + 1, zlib.crc32(packed, self._sum)
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            lines = inflate.decompress(packed, length + 1)
        except zlib.error as error:
            raise self._damaged(place, "cannot be decompressed") from error
        if len(lines) != length or not inflate.eof or inflate.unused_data:
            raise self._damaged(place, "does not hold what the table says")
        return lines

    def _check_end(self) -> None:
        """Whoever read everything in order has seen every octet: they are those that were written."""
        if self._checked == len(self._places) - 1 and self._sum != self._crc:
            raise SegmentDamaged(f"`{self._name}` was changed, though its lines can be read")

    def _damaged(self, place: int, what: str) -> SegmentDamaged:
        return SegmentDamaged(f"`{self._name}` is damaged: the gzip member at octet {place} {what}")

    def _read_table(self) -> Table:
        size = self._file.seek(0, os.SEEK_END)
        start = max(size - _TAIL, 0)
        self._file.seek(start)
        tail = self._file.read(_TAIL)
        if len(tail) == _TAIL and tail.endswith(_EMPTY):
            crc, table_crc, count = _END.unpack(tail[: _END.size])
            rest = count * _ENTRY_OCTETS
            head = _DIRECTORY + _field_head(rest + _END.size)
            place = start - rest - len(head)
            if count <= MAX_MEMBERS and place >= 0:
                self._file.seek(place)
                found = self._file.read(len(head) + rest)
                table = found[len(head) :] + tail[:4]
                entries = list(struct.unpack(f"<{2 * count}I", table[:-4]))
                if (
                    found.startswith(head)
                    and zlib.crc32(table) == table_crc
                    and sum(entries[::2]) == place
                    and min(entries, default=1) > 0
                    and max(entries, default=1) <= MAX_MEMBER
                ):
                    return Table(entries[::2], entries[1::2], crc)
        raise SegmentDamaged(f"`{self._name}` is damaged: it does not end as the gate ends a compressed segment")


def members(lines: BinaryIO, octets: int) -> Iterator[bytes]:
    """The lines of a plain segment in pieces for members: whole lines, about `octets` each.

    Raises:
        SegmentDamaged: a line is longer than fits, or the last one has no end.
    """
    while block := lines.read(octets):
        if not block.endswith(b"\n"):
            block += lines.readline(MAX_MEMBER - len(block))
        if not block.endswith(b"\n"):
            raise SegmentDamaged("a line has no end, or is too long")
        yield block


def member_octets(size: int) -> int:
    """How long the members of a segment of `size` octets are to be, so that the table has room for all."""
    return max(MEMBER_OCTETS, -(-size // MAX_MEMBERS))


def _field_head(length: int) -> bytes:
    """Length of the extra field, and the subfield's name and length."""
    return struct.pack("<H2sH", min(length + 4, 0xFFFF), b"GK", min(length, 0xFFFF))
