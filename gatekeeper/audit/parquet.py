"""Apache Parquet files, written a row group at a time (parquet.apache.org/docs/file-format).

Little is written, and of the oldest kind, so that every reader takes it: version 1 data pages, PLAIN values, RLE
levels, GZIP, no dictionaries and no statistics. The libraries that write more are tens of megabytes; this needs the
standard library.

Inside holds: memory is one row group, `GROUP_OCTETS` of values or `GROUP_ROWS` rows, and some 100 octets for each
column of those before, whatever is written; every row has a value, or none, for each column.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

GROUP_OCTETS = 8 << 20
GROUP_ROWS = 50_000

Value = str | int | Sequence[str] | None
"""An optional text or number, or a list of texts that may be empty."""

_MAGIC = b"PAR1"
_CREATED_BY = b"gatekeeper"
_GZIP_LEVEL, _GZIP_WBITS = 6, 31  # RFC 1952, as the codec GZIP asks
_MAX_INT64 = 2**63 - 1

# Numbers of parquet.thrift.
_INT64, _BYTE_ARRAY = 2, 6
_REQUIRED, _OPTIONAL, _REPEATED = 0, 1, 2
_CONVERTED_UTF8, _CONVERTED_LIST, _CONVERTED_TIMESTAMP_MILLIS, _CONVERTED_JSON = 0, 3, 9, 19
_PLAIN, _RLE = 0, 3
_GZIP = 2
_DATA_PAGE = 0


class Kind(Enum):
    """What a column holds."""

    TEXT = "text"
    JSON = "json"
    """A text that is a JSON document."""
    NUMBER = "number"
    """64 bits, signed."""
    INSTANT = "instant"
    """Milliseconds since 1970, UTC."""
    TEXTS = "texts"


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name and kind."""

    name: str
    kind: Kind


class ParquetFile:
    """One file; what the methods return is to be written, in their order: `begin`, `add` for each row, `end`."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._buffers = [_Buffer(column) for column in columns]
        self._columns = tuple(columns)
        self._offset = 0
        self._groups: list[bytes] = []
        """The description of each, for the end of the file."""
        self._rows = 0
        self._all_rows = 0

    def begin(self) -> bytes:
        """The first octets."""
        return self._counted(_MAGIC)

    def add(self, row: Sequence[Value]) -> bytes:
        """Take in a row, one value for each column; returns a row group when one is full, else nothing."""
        for buffer, value in zip(self._buffers, row, strict=True):
            buffer.add(value)
        self._rows += 1
        if self._rows < GROUP_ROWS and sum(len(buffer.values) for buffer in self._buffers) < GROUP_OCTETS:
            return b""
        return self._group()

    def end(self) -> bytes:
        """The last row group, what is in the file, and where."""
        group = self._group() if self._rows else b""
        footer = _struct(
            (1, _i32(1)),
            (2, _list(_STRUCT, list(_schema(self._columns)))),
            (3, _i64(self._all_rows)),
            (4, _list(_STRUCT, self._groups)),
            (6, _binary(_CREATED_BY)),
        )
        return group + footer + struct.pack("<I", len(footer)) + _MAGIC

    def _group(self) -> bytes:
        chunks, described, plain_octets = [], [], 0
        for buffer in self._buffers:
            offset = self._offset
            page, octets = buffer.page()
            chunks.append(self._counted(page))
            plain_octets += octets
            described.append(_struct((2, _i64(offset)), (3, _nested(buffer.described(offset, len(page), octets)))))
            buffer.clear()
        self._groups.append(_struct((1, _list(_STRUCT, described)), (2, _i64(plain_octets)), (3, _i64(self._rows))))
        self._all_rows += self._rows
        self._rows = 0
        return b"".join(chunks)

    def _counted(self, octets: bytes) -> bytes:
        self._offset += len(octets)
        return octets


class _Buffer:
    """The values of one column, until their row group is full."""

    def __init__(self, column: Column) -> None:
        self.values = bytearray()
        """Those that are there, as PLAIN has them."""
        self._column = column
        self._is_list = column.kind is Kind.TEXTS
        self._defined = bytearray()
        """For each value 1, for each that is not there, and each empty list, 0."""
        self._repeated = bytearray()
        """Of lists: 0 where a row begins, 1 where its list goes on."""

    def add(self, value: Value) -> None:
        """Take in the value of a row."""
        if value is None or (self._is_list and not value):
            self._defined.append(0)
            self._repeated.append(0)
        elif isinstance(value, int):
            self._put(struct.pack("<q", max(-_MAX_INT64 - 1, min(value, _MAX_INT64))), 0)
        elif isinstance(value, str):
            self._put(_plain(value), 0)
        else:
            for number, text in enumerate(value):
                self._put(_plain(text), min(number, 1))

    def page(self) -> tuple[bytes, int]:
        """The one page of the row group, and how many octets it would have uncompressed."""
        levels = _levels(self._repeated) if self._is_list else b""
        data = levels + _levels(self._defined) + self.values
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
        packed = packer.compress(data) + packer.flush()
        about = _struct((1, _i32(len(self._defined))), (2, _i32(_PLAIN)), (3, _i32(_RLE)), (4, _i32(_RLE)))
        header = _struct((1, _i32(_DATA_PAGE)), (2, _i32(len(data))), (3, _i32(len(packed))), (5, _nested(about)))
        return header + packed, len(header) + len(data)

    def described(self, offset: int, octets: int, plain_octets: int) -> bytes:
        """The column's description in that of the row group."""
        return _struct(
            (1, _i32(_physical(self._column.kind))),
            (2, _list(_I32, [_varint(_zigzag(_PLAIN)), _varint(_zigzag(_RLE))])),
            (3, _list(_BINARY, [_text(name) for name in _path(self._column)])),
            (4, _i32(_GZIP)),
            (5, _i64(len(self._defined))),
            (6, _i64(plain_octets)),
            (7, _i64(octets)),
            (9, _i64(offset)),
        )

    def clear(self) -> None:
        """Begin the next row group."""
        for buffer in (self.values, self._defined, self._repeated):
            buffer.clear()

    def _put(self, octets: bytes, repeated: int) -> None:
        self.values += octets
        self._defined.append(1)
        self._repeated.append(repeated)


def _physical(kind: Kind) -> int:
    return _INT64 if kind in (Kind.NUMBER, Kind.INSTANT) else _BYTE_ARRAY


def _path(column: Column) -> tuple[str, ...]:
    return (column.name, "list", "element") if column.kind is Kind.TEXTS else (column.name,)


def _schema(columns: Iterable[Column]) -> Iterator[bytes]:
    """The tree of columns, parents first; of lists the three levels that LogicalTypes.md asks for."""
    found = tuple(columns)
    yield _struct((4, _binary(b"record")), (5, _i32(len(found))))
    converted = {
        Kind.TEXT: _CONVERTED_UTF8,
        Kind.JSON: _CONVERTED_JSON,
        Kind.INSTANT: _CONVERTED_TIMESTAMP_MILLIS,
        Kind.TEXTS: _CONVERTED_UTF8,
    }
    for column in found:
        name = (4, _binary(column.name.encode()))
        element = [(1, _i32(_physical(column.kind))), (3, _i32(_OPTIONAL)), name]
        if column.kind is Kind.TEXTS:
            yield _struct((3, _i32(_REQUIRED)), name, (5, _i32(1)), (6, _i32(_CONVERTED_LIST)))
            yield _struct((3, _i32(_REPEATED)), (4, _binary(b"list")), (5, _i32(1)))
            element[1:] = [(3, _i32(_REQUIRED)), (4, _binary(b"element"))]
        if column.kind in converted:
            element.append((6, _i32(converted[column.kind])))
        yield _struct(*element)


def _plain(text: str) -> bytes:
    octets = text.encode("utf-8", "replace")
    return struct.pack("<I", len(octets)) + octets


def _levels(levels: bytearray) -> bytes:
    """Levels of one bit as runs, with their length before them."""
    runs = b"".join(_varint(sum(1 for _ in run) << 1) + bytes((level,)) for level, run in groupby(levels))
    return struct.pack("<I", len(runs)) + runs


# Thrift's compact protocol, as far as it is needed: a value is its type and its octets.

_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
_Field = tuple[int, bytes]


def _struct(*fields: tuple[int, _Field]) -> bytes:
    """Fields by their ids, in their order, which here are never more than 15 apart."""
    octets, before = bytearray(), 0
    for number, (kind, value) in fields:
        octets.append((number - before) << 4 | kind)
        octets += value
        before = number
    return bytes(octets) + b"\x00"


def _nested(octets: bytes) -> _Field:
    return _STRUCT, octets


def _i32(value: int) -> _Field:
    return _I32, _varint(_zigzag(value))


def _i64(value: int) -> _Field:
    return _I64, _varint(_zigzag(value))


def _binary(octets: bytes) -> _Field:
    return _BINARY, _varint(len(octets)) + octets


def _text(text: str) -> bytes:
    return _binary(text.encode())[1]


def _list(kind: int, items: Sequence[bytes]) -> _Field:
    head = bytes((len(items) << 4 | kind,)) if len(items) < 15 else bytes((0xF0 | kind,)) + _varint(len(items))
    return _LIST, head + b"".join(items)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
