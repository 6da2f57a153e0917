"""The identity map: which name a pseudonym of the audit log stands for, encrypted, in a file of its own.

    identities.sqlite3     a secret for each quarter, encrypted with the key; for each pseudonym the name, encrypted
                           with what is derived from the secret of its quarter
    identity.key           the key, another file

Inside holds: a name is in the map, durably, before a record with its pseudonym is acknowledged; it is written once for
each person and quarter. A row cannot be moved to another pseudonym. What was erased stays erased: the row is left
without a name, so that no later log-in brings the name of the same quarter back. A quarter whose secret was destroyed
has no names any more, and nobody can make its pseudonyms.

Several processes use one map: rows are only ever added, emptied and removed, each in a transaction of its own.
"""

import errno
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.secret_key import load_or_make_secret, load_secret
from gatekeeper.audit.pseudonyms import Kind, pseudonym, quarter_named, quarter_of
from gatekeeper.signing.sealed import KEY_OCTETS, NONCE_OCTETS, SealError, derived, seal, unseal

_BUSY_S = 2.0  # the log's stall limit: who waits longer for the disk gets a temporary failure
_REMEMBERED = 100_000
_APPLICATION = 0x676B6964  # "gkid"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS quarter (name TEXT PRIMARY KEY, sealed BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identity (
  pseudonym TEXT PRIMARY KEY, quarter TEXT NOT NULL, sealed BLOB, erased_ms INTEGER
) WITHOUT ROWID;
"""


class IdentityMapError(AuditLogError):
    """The map cannot be used, so that no record that needs it can be made."""


class Destroyed(IdentityMapError):
    """The secret of a quarter was destroyed."""


class IdentityMap:
    """An open map; implements `audit.concealment.Names`. One thread makes pseudonyms, another one may `flush`."""

    def __init__(self, path: Path, key: bytes, *, is_new: bool = True) -> None:
        """Open it, and make it when it is absent and `is_new`.

        Raises:
            IdentityMapError: it cannot be used, or is another key's.
        """
        self._path = path
        self._key = derived(key, "identity map")
        self._secrets: dict[str, tuple[bytes, bytes]] = {}
        """By quarter: what pseudonyms are made with, and what names are encrypted with."""
        self._made: dict[tuple[str, Kind, str], str] = {}
        self._quarter: tuple[int, int, str] = (0, 0, "")
        self._new: deque[tuple[str, str, bytes]] = deque()
        """Rows that are not in the file yet."""
        self._takes_nobody = False
        self._lock = threading.Lock()
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
            raise IdentityMapError(f"the identity map `{path}` cannot be used: {error}") from error

    def _prepare(self, *, is_new: bool) -> None:
        for pragma in ("journal_mode = DELETE", "synchronous = FULL", "secure_delete = ON"):
            self._database.execute(f"PRAGMA {pragma}")
        if is_new:
            self._database.executescript(f"{_SCHEMA} PRAGMA application_id = {_APPLICATION};")
        if quarters := self.quarters():
            self._secret(quarters[-1])  # a key that is another map's is told at once

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def pseudonym(self, kind: Kind, name: str, at: datetime) -> str:
        """See `Names`; a new one is with the next `flush` in the map. Raises IdentityMapError."""
        if self._quarter[:2] != (at.year, at.month):
            self._quarter = (at.year, at.month, quarter_of(at))
        quarter = self._quarter[2]
        known = self._made.get((quarter, kind, name))
        if self._takes_nobody:
            if known is None or any(known == row[0] for row in self._new):
                raise IdentityMapError("a name that is not in the identity map cannot be put there now")
            return known
        if known is not None:
            return known
        keys = self._secrets.get(quarter) or self._secret(quarter)
        found = pseudonym(keys[0], quarter, kind, name)
        sealed = seal(keys[1], os.urandom(NONCE_OCTETS), name.encode("utf-8", "surrogatepass"), found)
        self._new.append((found, quarter, sealed))
        if len(self._made) >= _REMEMBERED:
            self._made.clear()  # whoever comes again is written again, which changes nothing
        self._made[quarter, kind, name] = found
        return found

    @contextmanager
    def nobody_new(self) -> Iterator[None]:
        """Within the block a name that is not in the file yet has no pseudonym: IdentityMapError."""
        self._takes_nobody = True
        try:
            yield
        finally:
            self._takes_nobody = False

    def flush(self) -> None:
        """Put new names into the map, durably. Raises OSError, and they are tried again with the next ones."""
        if not self._new:
            return
        rows = [self._new.popleft() for _ in range(len(self._new))]
        try:
            with self._transaction():
                self._database.executemany("INSERT OR IGNORE INTO identity VALUES (?, ?, ?, NULL)", rows)
        except IdentityMapError as error:
            self._new.extendleft(reversed(rows))
            raise OSError(errno.EIO, str(error)) from error

    # For whoever may know names.

    def quarters(self) -> list[str]:
        """Those whose secret is there, oldest first."""
        rows = self._rows("SELECT name FROM quarter WHERE sealed IS NOT NULL ORDER BY name")
        return [str(name) for (name,) in rows]

    def known_as(self, kind: Kind, name: str) -> Iterator[str]:
        """Its pseudonyms, whether or not there are records with them. Raises IdentityMapError."""
        for quarter in self.quarters():
            yield pseudonym(self._secret(quarter)[0], quarter, kind, name)

    def name_of(self, found: str) -> str | None:
        """The name; None: it was erased, its quarter's secret was destroyed, or it was never there."""
        for (sealed,) in self._rows("SELECT sealed FROM identity WHERE pseudonym = ?", (found,)):
            if not isinstance(sealed, bytes):
                return None
            try:
                return unseal(self._secret(quarter_named(found))[1], sealed, found).decode("utf-8", "surrogatepass")
            except Destroyed:
                return None
            except SealError as error:
                raise IdentityMapError(f"the row of `{found}` in `{self._path}` {error}: it was changed") from error
        return None

    def erased_ms(self, found: str) -> int | None:
        """When the name was erased; None: it was not."""
        for (erased_ms,) in self._rows("SELECT erased_ms FROM identity WHERE pseudonym = ?", (found,)):
            return int(erased_ms) if isinstance(erased_ms, int) else None
        return None

    def erase(self, pseudonyms: Iterable[str], now_ms: int) -> int:
        """Remove the names, for good; how many there were. Raises IdentityMapError."""
        erased = 0
        for found in pseudonyms:
            row = (found, quarter_named(found), now_ms)
            with self._transaction():
                there = self._database.execute(
                    "SELECT count(*) FROM identity WHERE pseudonym = ? AND sealed IS NOT NULL", (found,)
                ).fetchone()[0]
                self._database.execute("REPLACE INTO identity VALUES (?, ?, NULL, ?)", row)
            erased += there
        return erased

    def destroy(self, quarter: str) -> None:
        """Destroy a quarter's secret, and with it all of its names. Raises IdentityMapError."""
        with self._transaction():
            self._database.execute("UPDATE quarter SET sealed = NULL WHERE name = ?", (quarter,))
            self._database.execute("DELETE FROM identity WHERE quarter = ?", (quarter,))
        self._secrets.pop(quarter, None)

    def _secret(self, quarter: str) -> tuple[bytes, bytes]:
        """The keys of a quarter, made when it has none yet; the first process that makes one wins."""
        known = self._secrets.get(quarter)
        if known is not None:
            return known
        made = seal(self._key, os.urandom(NONCE_OCTETS), os.urandom(KEY_OCTETS), f"quarter {quarter}")
        with self._transaction():
            self._database.execute("INSERT OR IGNORE INTO quarter VALUES (?, ?)", (quarter, made))
            (sealed,) = self._database.execute("SELECT sealed FROM quarter WHERE name = ?", (quarter,)).fetchone()
        if sealed is None:
            raise Destroyed(f"the names of {quarter} were destroyed")
        try:
            secret = unseal(self._key, sealed, f"quarter {quarter}")
        except SealError as error:
            raise IdentityMapError(f"the identity map `{self._path}` {error}: it is another key's") from error
        keys = derived(secret, "pseudonyms"), derived(secret, "names")
        self._secrets[quarter] = keys
        return keys

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._lock:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._database.execute("COMMIT")
                finally:
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise IdentityMapError(f"the identity map `{self._path}` cannot be written: {error}") from error

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[str | bytes | int | None, ...]]:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise IdentityMapError(f"the identity map `{self._path}` cannot be read: {error}") from error


def open_identities(path: Path, key_path: Path) -> IdentityMap:
    """The map with the key in its file; both are made when there is neither.

    Raises:
        AuditLogError: one of them cannot be used, or the key of a map is gone.
    """
    if path.exists() and load_secret(key_path) is None:
        raise IdentityMapError(
            f"the key `{key_path}` is gone, though it has encrypted the names in `{path}`: put it back, or move the "
            "map away, and who the people in older records are is lost"
        )
    return IdentityMap(path, load_or_make_secret(key_path))


def read_identities(path: Path, key_path: Path) -> IdentityMap | None:
    """The map for whoever looks something up; None when there is none, or no key.

    Raises:
        AuditLogError: one of them cannot be used.
    """
    key = load_secret(key_path) if path.exists() else None
    return None if key is None else IdentityMap(path, key, is_new=False)


def _make(path: Path) -> None:
    """An empty file that nobody else can read; one that is there stays."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
