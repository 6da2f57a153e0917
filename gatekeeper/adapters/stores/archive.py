"""The archive: what decisions were made on, encrypted, kept as long as the records of the decisions.

    archive.sqlite3    every posture that was in force, by device and revision; every policy that was, by its digest
    archive.key        opens it, another file

Inside holds: no row says in clear whose it is: a device is found by an HMAC of its id. An app list is kept once,
whatever number of reports said the same. A row that was moved or changed does not open. What is in the archive is never
written over.
"""

import hashlib
import hmac
import json
import os
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from gatekeeper.adapters.stores.codec import decode_apps, encode_apps
from gatekeeper.adapters.stores.sketch import decode_past, facts_of, past_posture_of
from gatekeeper.domain.app import AppList
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture
from gatekeeper.signing.sealed import NONCE_OCTETS, SealError, derived, seal, unseal

_BUSY_S = 5.0
_LISTS_REMEMBERED = 2_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS posture (
  device BLOB NOT NULL, revision INTEGER NOT NULL, until INTEGER, apps BLOB NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (device, revision)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS apps (tag BLOB PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS policy (
  sha256 TEXT PRIMARY KEY, last_ms INTEGER NOT NULL, sealed BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class ArchiveError(Exception):
    """The archive cannot be used; the text tells operators why."""


class ArchivedPolicy(NamedTuple):
    """A policy that was in force."""

    sha256: str
    names: str
    """How names were made canonical, as JSON."""
    text: bytes


class Archive:
    """An open archive, of one thread at a time."""

    def __init__(self, path: Path, key: bytes, *, is_new: bool = True) -> None:
        """Open it, and make it when it is absent and `is_new`.

        Raises:
            ArchiveError: it cannot be used.
        """
        self._path = path
        self._tags, self._rows = derived(key, "archive tags"), derived(key, "archive rows")
        self._list = lru_cache(_LISTS_REMEMBERED)(self._read_list)
        try:
            if is_new:
                _make(path)
            self._database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(is_new=is_new)
            except BaseException:
                self._database.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise ArchiveError(f"the archive `{path}` cannot be used: {error}") from error

    def _prepare(self, *, is_new: bool) -> None:
        """With a mark of the key's own: rows of two keys in one file would be found by neither."""
        for pragma in ("journal_mode = DELETE", "synchronous = FULL", "secure_delete = ON"):
            self._database.execute(f"PRAGMA {pragma}")
        if is_new:
            self._database.executescript(_SCHEMA)
        mark = int.from_bytes(hmac.digest(self._tags, b"key", hashlib.sha256)[:6])
        if is_new:
            self._database.execute("INSERT OR IGNORE INTO mark VALUES ('key', ?)", (mark,))
        found = self._database.execute("SELECT value FROM mark WHERE name = 'key'").fetchone()
        if found != (mark,):
            raise ArchiveError(f"the archive `{self._path}` is another key's: put the right key back, or move it away")

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    # What the gate puts there.

    def put(self, postures: Iterable[Posture]) -> None:
        """Keep postures; what is there already stays as it is. Raises ArchiveError."""
        with self._transaction():
            for posture in sorted(postures, key=lambda each: each.revision):
                self._put(posture)

    def end(self, device_id: DeviceId, revision: int) -> None:
        """Note that a device is not registered any more: its last posture held until then. Raises ArchiveError."""
        with self._transaction():
            update = "UPDATE posture SET until = ? WHERE device = ? AND until IS NULL"
            self._database.execute(update, (revision, self._tag(device_id)))

    def end_others(self, registered: Collection[str], revision: int) -> None:
        """Note that no other device than these is registered any more. Raises ArchiveError."""
        tags = {self._tag(device_id) for device_id in registered}
        held = self._read("SELECT DISTINCT device FROM posture WHERE until IS NULL")
        gone = [(revision, tag) for (tag,) in held if tag not in tags]
        with self._transaction():
            self._database.executemany("UPDATE posture SET until = ? WHERE device = ? AND until IS NULL", gone)

    def put_policies(self, policies: Iterable[ArchivedPolicy], now_ms: int) -> None:
        """Keep policies, and note that they are in force now. Raises ArchiveError."""
        with self._transaction():
            for policy in policies:
                where = (now_ms, policy.sha256)
                if self._database.execute("UPDATE policy SET last_ms = ? WHERE sha256 = ?", where).rowcount:
                    continue
                plain = policy.names.encode() + b"\0" + policy.text
                row = (policy.sha256, now_ms, self._seal(plain, f"policy {policy.sha256}"))
                self._database.execute("INSERT INTO policy VALUES (?, ?, ?)", row)

    def mark(self) -> int:
        """Revision up to which all postures of the store are here. Raises ArchiveError."""
        rows = self._read("SELECT value FROM mark WHERE name = 'revision'")
        return int(rows[0][0]) if rows else 0

    def set_mark(self, revision: int) -> None:
        """Note it. Raises ArchiveError."""
        with self._transaction():
            self._database.execute("REPLACE INTO mark VALUES ('revision', ?)", (revision,))

    # What is taken from there.

    def posture(self, device_id: str, revision: int) -> Posture | None:
        """The posture of a device at a revision; None: it is not here. Raises ArchiveError."""
        tag = self._tag(device_id)
        rows = self._read("SELECT apps, sealed FROM posture WHERE device = ? AND revision = ?", (tag, revision))
        if not rows:
            return None
        facts = self._open(rows[0][1], f"posture {tag.hex()} {revision}")
        try:
            return past_posture_of(DeviceId(device_id), revision, decode_past(facts.decode()), self._list(rows[0][0]))
        except ValueError as error:
            raise ArchiveError(f"the archive `{self._path}` has a posture that cannot be read: {error}") from error

    def policies(self) -> Iterator[ArchivedPolicy]:
        """All policies. Raises ArchiveError."""
        for sha256, sealed in self._read("SELECT sha256, sealed FROM policy ORDER BY last_ms"):
            names, _, text = self._open(sealed, f"policy {sha256}").partition(b"\0")
            yield ArchivedPolicy(sha256, names.decode(), text)

    # What goes.

    def erase(self, device_ids: Iterable[str]) -> int:
        """Remove all postures of devices; how many there were. Raises ArchiveError."""
        with self._transaction():
            tags = [(self._tag(device_id),) for device_id in device_ids]
            erased = sum(self._database.execute("DELETE FROM posture WHERE device = ?", tag).rowcount for tag in tags)
            self._drop_lists()
        return erased

    def prune(self, before_ms: int) -> int:
        """Remove what held until before that instant only; how many postures. Raises ArchiveError."""
        with self._transaction():
            gone = self._database.execute("DELETE FROM posture WHERE until < ?", (before_ms * 1000,)).rowcount
            self._database.execute("DELETE FROM policy WHERE last_ms < ?", (before_ms,))
            self._drop_lists()
        return gone

    def _drop_lists(self) -> None:
        self._database.execute("DELETE FROM apps WHERE tag NOT IN (SELECT apps FROM posture)")

    def _put(self, posture: Posture) -> None:
        tag = self._tag(posture.device.device_id)
        known = self._database.execute(
            "SELECT 1 FROM posture WHERE device = ? AND revision = ?", (tag, posture.revision)
        ).fetchone()
        if known is not None:
            return
        apps = encode_apps(posture.result.apps) if posture.result else "[]"
        list_tag = hmac.digest(self._tags, b"apps\0" + apps.encode(), hashlib.sha256)[:16]
        if self._database.execute("SELECT 1 FROM apps WHERE tag = ?", (list_tag,)).fetchone() is None:
            sealed = self._seal(zlib.compress(apps.encode(), 1), f"apps {list_tag.hex()}")
            self._database.execute("INSERT INTO apps VALUES (?, ?)", (list_tag, sealed))
        (later,) = self._database.execute(
            "SELECT min(revision) FROM posture WHERE device = ? AND revision > ?", (tag, posture.revision)
        ).fetchone()
        sealed = self._seal(json.dumps(facts_of(posture)).encode(), f"posture {tag.hex()} {posture.revision}")
        row = (tag, posture.revision, later, list_tag, sealed)
        self._database.execute("INSERT INTO posture VALUES (?, ?, ?, ?, ?)", row)
        ended = "UPDATE posture SET until = ? WHERE device = ? AND revision < ? AND until IS NULL"
        self._database.execute(ended, (posture.revision, tag, posture.revision))

    def _read_list(self, tag: bytes) -> AppList:
        rows = self._read("SELECT sealed FROM apps WHERE tag = ?", (tag,))
        if not rows:
            raise ArchiveError(f"the archive `{self._path}` lacks an app list")
        return decode_apps(zlib.decompress(self._open(rows[0][0], f"apps {tag.hex()}")).decode())

    def _tag(self, device_id: str) -> bytes:
        return hmac.digest(self._tags, b"device\0" + device_id.encode("utf-8", "surrogatepass"), hashlib.sha256)[:16]

    def _seal(self, plain: bytes, place: str) -> bytes:
        return seal(self._rows, os.urandom(NONCE_OCTETS), plain, place)

    def _open(self, sealed: bytes, place: str) -> bytes:
        try:
            return unseal(self._rows, sealed, place)
        except SealError as error:
            raise ArchiveError(f"the archive `{self._path}` {error}: another key's, or changed") from error

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise ArchiveError(f"the archive `{self._path}` cannot be read: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise ArchiveError(f"the archive `{self._path}` cannot be written: {error}") from error


def _make(path: Path) -> None:
    """An empty file that nobody else can read; one that is there stays."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
