"""A disposable index over the closed segments of an audit directory: which lines have which terms.

    index.sqlite3      beside the logs; may be deleted at any time, and is made again from the log

Inside holds: the log is the truth. What is found by the index is read from the log and looked at again, so that a wrong
index can only miss a line, never bring a wrong one; a segment whose size or last line is not what was indexed is
indexed anew. Only segments that have a successor are indexed: nobody writes to them any more. An index that cannot be
read or written is done without.

For each segment and term one row holds the offsets of the lines: rows are added in the order of their key, whatever
the size of the log, and a segment is looked up in one step.
"""

import hashlib
import os
import sqlite3
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.reader import ending, pieces
from gatekeeper.audit.terms import Kind, last_key, network_key, terms_of
from gatekeeper.audit.wanted import Network, Wanted, is_app

NAME = "index.sqlite3"
# Raised when terms or rows change, so that an older index is made again; offsets are in the machine's own order.
_VERSION = 2 if sys.byteorder == "little" else -2
_MAX_SEGMENT = (1 << 32) - 1  # octets that an offset can say; the writer begins a new segment long before
_APPLICATION = 0x676B6978  # "gkix": what a database of this kind calls itself
_BUSY_S = 5.0

_SCHEMA = """
CREATE TABLE segment (
  id INTEGER PRIMARY KEY, log TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, last BLOB NOT NULL,
  first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, faults INTEGER NOT NULL, UNIQUE (log, name)
);
CREATE TABLE posting (
  segment INTEGER NOT NULL, kind INTEGER NOT NULL, key BLOB NOT NULL, offsets BLOB NOT NULL,
  PRIMARY KEY (segment, kind, key)
) WITHOUT ROWID;
"""

_FIND = "SELECT id, first_ms, last_ms, faults FROM segment WHERE log = ? AND name = ? AND size = ? AND last = ?"


class IndexUnusable(AuditLogError):
    """There is no index, and none can be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A segment in the index."""

    number: int
    first_ms: int
    """Of the earliest record; `last_ms` of the latest: a clock may have been set back between."""
    last_ms: int
    faults: int
    """Lines that are no records."""


class LogIndex:
    """The index of one audit directory, open."""

    def __init__(self, directory: Path, adding: Callable[[], None] = lambda: None) -> None:
        """Open it; make it when it is absent, of another version or damaged.

        Args:
            directory: the audit directory.
            adding: called before a segment is indexed, which takes about as long as reading it twice.

        Raises:
            IndexUnusable: it can be neither read nor made.
        """
        self._adding = adding
        self._path = directory / NAME
        self._directory = directory
        try:
            self._database = self._opened()
            self._database.execute("PRAGMA secure_delete = on")  # what leaves the log shall not be found here either
        except (sqlite3.Error, OSError) as error:
            raise IndexUnusable(f"no index `{self._path}`: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def segment(self, path: Path) -> Indexed:
        """What the index knows of a closed segment, which is indexed first where it has to be.

        Raises:
            IndexUnusable: it is not in the index and cannot be put there.
        """
        log = path.parent.parent.relative_to(self._directory).as_posix()
        try:
            size, last_line = ending(path)
            last = hashlib.sha256(last_line or b"").digest()
            if size > _MAX_SEGMENT:
                raise IndexUnusable(f"`{path}` is too large to be indexed")
            found = self._database.execute(_FIND, (log, path.name, size, last)).fetchone()
            if found is not None:
                return Indexed(*found)
            self._adding()
            return self._add(log, path, size, last)
        except sqlite3.Error as error:
            raise IndexUnusable(f"the index `{self._path}` cannot be used: {error}") from error

    def offsets(self, segment: Indexed, wanted: Wanted) -> list[int] | None:
        """Where the lines that may fit begin, in order; None: the index has no word that narrows the search."""
        narrowed: set[int] | None = None
        try:
            for rows in self._rows(segment, wanted):
                found = {offset for (packed,) in rows for offset in _unpacked(packed)}
                narrowed = found if narrowed is None else narrowed & found
                if not narrowed:
                    return []
        except sqlite3.Error as error:
            raise IndexUnusable(f"the index `{self._path}` cannot be used: {error}") from error
        return None if narrowed is None else sorted(narrowed)

    def forget_others(self, paths: Iterable[Path]) -> None:
        """Drop what belongs to none of these segments (all that there are)."""
        there = {(path.parent.parent.relative_to(self._directory).as_posix(), path.name) for path in paths}
        try:
            for number, log, name in self._database.execute("SELECT id, log, name FROM segment").fetchall():
                if (log, name) not in there:
                    with self._database:
                        self._drop(number)
        except sqlite3.Error:
            return  # rows that nobody asks for do no harm

    def _opened(self) -> sqlite3.Connection:
        is_new = not self._path.exists()
        if is_new:
            _make(self._path, self._directory)
        database = sqlite3.connect(self._path, timeout=_BUSY_S)
        try:
            if not is_new and _is_ours(database):
                return database
            if not is_new:
                database.close()
                self._path.unlink()
                _make(self._path, self._directory)
                database = sqlite3.connect(self._path, timeout=_BUSY_S)
            database.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        except BaseException:  # whatever it was, also an interruption: it goes on, and nothing stays open
            database.close()
            raise
        return database

    def _add(self, log: str, path: Path, size: int, last: bytes) -> Indexed:
        postings: defaultdict[tuple[int, bytes], array[int]] = defaultdict(lambda: array("I"))
        first_ms, last_ms, faults, offset = 1 << 62, 0, 0, 0
        for line in pieces(path):
            try:
                terms = terms_of(line)
            except ValueError:
                faults += 1
            else:
                first_ms, last_ms = min(first_ms, terms.time_ms), max(last_ms, terms.time_ms)
                for word in terms.words:
                    postings[word].append(offset)
            offset += len(line)
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            found = self._database.execute(_FIND, (log, path.name, size, last)).fetchone()
            if found is not None:
                return Indexed(*found)  # another process was quicker, and may be looking at its rows
            older = "SELECT id FROM segment WHERE log = ? AND name = ?"
            for (number,) in self._database.execute(older, (log, path.name)).fetchall():
                self._drop(number)  # the segment was replaced
            number = self._database.execute(
                "INSERT INTO segment (log, name, size, last, first_ms, last_ms, faults) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (log, path.name, size, last, first_ms, last_ms, faults),
            ).lastrowid
            self._database.executemany(
                "INSERT INTO posting VALUES (?, ?, ?, ?)",
                ((number, kind, key, postings[kind, key].tobytes()) for kind, key in sorted(postings)),
            )
        return Indexed(number or 0, first_ms, last_ms, faults)

    def _drop(self, number: int) -> None:
        self._database.execute("DELETE FROM posting WHERE segment = ?", (number,))
        self._database.execute("DELETE FROM segment WHERE id = ?", (number,))

    def _rows(self, segment: Indexed, wanted: Wanted) -> Iterator[Iterable[tuple[bytes]]]:
        """For each filter that the index knows: the offsets of the terms that fit it."""
        exact = (
            (Kind.ACCOUNT, wanted.account),
            (Kind.DEVICE, wanted.device),
            (Kind.CONN, wanted.conn),
            (Kind.RULE, wanted.rule),
        )
        for kind, text in exact:
            if text is not None:
                names = [text, *wanted.also] if kind in {Kind.ACCOUNT, Kind.DEVICE} else [text]
                yield self._exactly(segment, kind, [name.encode("utf-8", "surrogatepass") for name in names])
        if wanted.app is not None:
            keys = self._database.execute(
                "SELECT key FROM posting WHERE segment = ? AND kind = ?", (segment.number, int(Kind.APP))
            )
            fitting = [key for (key,) in keys if is_app(key.decode("utf-8", "surrogatepass"), wanted.app)]
            yield self._exactly(segment, Kind.APP, fitting)
        if wanted.network is not None:
            yield self._in_network(segment, wanted.network)
        if wanted.codes is not None:
            yield self._exactly(segment, Kind.CODE, [code.encode() for code in wanted.codes])

    def _exactly(self, segment: Indexed, kind: Kind, keys: Iterable[bytes]) -> Iterator[tuple[bytes]]:
        query = "SELECT offsets FROM posting WHERE segment = ? AND kind = ? AND key = ?"
        for key in keys:
            yield from self._database.execute(query, (segment.number, int(kind), key))

    def _in_network(self, segment: Indexed, network: Network) -> Iterator[tuple[bytes]]:
        kind, key = network_key(network)
        wider = (network_key(network.supernet(new_prefix=prefix))[1] for prefix in range(network.prefixlen))
        yield from self._exactly(segment, kind, wider)
        yield from self._database.execute(
            "SELECT offsets FROM posting WHERE segment = ? AND kind = ? AND key BETWEEN ? AND ?",
            (segment.number, int(kind), key, last_key(network)),
        )


def _unpacked(packed: bytes) -> "array[int]":  # 3.11 has no array[int] at run time
    offsets = array("I")
    offsets.frombytes(packed)
    return offsets


def _is_ours(database: sqlite3.Connection) -> bool:
    try:
        marks = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    except sqlite3.OperationalError:
        raise  # locked, or not readable
    except sqlite3.DatabaseError:
        return False  # damaged, or no database at all
    return marks == [_APPLICATION, _VERSION]


def _make(path: Path, directory: Path) -> None:
    """An empty file that nobody else can read, of the directory's owner also when root looks something up."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        if os.geteuid() == 0:
            owner = directory.stat()
            os.fchown(fd, owner.st_uid, owner.st_gid)
    finally:
        os.close(fd)
