"""The identity map on real files: who is who, for whoever has the key, until it is erased."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.identities import (
    Destroyed,
    IdentityMap,
    IdentityMapError,
    open_identities,
    read_identities,
)
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.audit.pseudonyms import Kind
from testkit.audit_log import NOW, ORIGIN, StandingClock, event

ALICE, PHONE = "alice@example.com", "ph-001"
KEY = b"k" * 32
LATER = datetime(2020, 10, 1, tzinfo=UTC)


Opened = Callable[..., IdentityMap]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open maps, and close them at the end."""
    with ExitStack() as stack:

        def open_map(path: Path, key: bytes = KEY, *, is_new: bool = True) -> IdentityMap:
            found = IdentityMap(path, key, is_new=is_new)
            stack.callback(found.close)
            return found

        yield open_map


@pytest.fixture
def names(tmp_path: Path, opened: Opened) -> IdentityMap:
    return opened(tmp_path / "map")


def asked(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What the file holds, or becomes."""
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(query, values).fetchall()


def test_a_name_is_found_by_its_pseudonym_and_the_key(tmp_path: Path, names: IdentityMap, opened: Opened) -> None:
    """By another process as well, once it was flushed; the file does not show it."""
    found = names.pseudonym(Kind.PERSON, ALICE, NOW)
    other = opened(tmp_path / "map", is_new=False)
    assert other.name_of(found) is None
    names.flush()
    names.flush()
    assert other.name_of(found) == ALICE
    assert other.pseudonym(Kind.PERSON, ALICE, NOW) == found
    other.flush()
    assert b"alice" not in (tmp_path / "map").read_bytes()
    assert (tmp_path / "map").stat().st_mode & 0o777 == 0o600
    assert other.name_of(found.replace("u", "d", 1)) is None


def test_a_person_has_another_pseudonym_each_quarter(names: IdentityMap) -> None:
    """All of them are known to whoever has the key."""
    found = [names.pseudonym(Kind.PERSON, ALICE, at) for at in (NOW, LATER)]
    names.pseudonym(Kind.DEVICE, PHONE, NOW)
    names.flush()
    assert found[0] != found[1]
    assert list(names.known_as(Kind.PERSON, ALICE)) == found
    assert names.quarters() == ["2020q3", "2020q4"]


def test_a_row_is_written_once(tmp_path: Path, names: IdentityMap, opened: Opened) -> None:
    """However often somebody logs in."""
    for _ in range(3):
        names.pseudonym(Kind.PERSON, ALICE, NOW)
        names.flush()
    opened(tmp_path / "map").pseudonym(Kind.PERSON, ALICE, NOW)
    assert asked(tmp_path / "map", "SELECT count(*) FROM identity") == [(1,)]


def test_what_is_erased_stays_erased(tmp_path: Path, names: IdentityMap, opened: Opened) -> None:
    """The same quarter brings it back by no log-in, also of a process that begins anew; the octets are gone."""
    found = names.pseudonym(Kind.PERSON, ALICE, NOW)
    names.flush()
    ((sealed,),) = asked(tmp_path / "map", "SELECT sealed FROM identity")
    assert names.erase([found], 17) == 1
    assert names.erase([found], 17) == 0
    assert (names.name_of(found), names.erased_ms(found)) == (None, 17)
    again = opened(tmp_path / "map")
    assert again.pseudonym(Kind.PERSON, ALICE, NOW) == found
    again.flush()
    assert (again.name_of(found), again.erased_ms(found)) == (None, 17)
    assert sealed not in (tmp_path / "map").read_bytes()


def test_a_quarter_can_be_destroyed(names: IdentityMap) -> None:
    """Then nobody makes its pseudonyms any more, and its names are gone."""
    found = names.pseudonym(Kind.PERSON, ALICE, NOW)
    later = names.pseudonym(Kind.PERSON, ALICE, LATER)
    names.flush()
    names.destroy("2020q3")
    assert (names.name_of(found), names.erased_ms(found), names.name_of(later)) == (None, None, ALICE)
    assert names.quarters() == ["2020q4"]
    with pytest.raises(Destroyed):
        names.pseudonym(Kind.PERSON, "bob@example.com", NOW)


def test_a_row_cannot_be_moved_to_somebody_else(tmp_path: Path, names: IdentityMap) -> None:
    """Each is bound to its pseudonym."""
    alice, bob = (names.pseudonym(Kind.PERSON, name, NOW) for name in (ALICE, "bob@example.com"))
    names.flush()
    ((sealed,),) = asked(tmp_path / "map", "SELECT sealed FROM identity WHERE pseudonym = ?", bob)
    asked(tmp_path / "map", "UPDATE identity SET sealed = ? WHERE pseudonym = ?", sealed, alice)
    with pytest.raises(IdentityMapError, match="was changed"):
        names.name_of(alice)
    assert names.name_of(bob) == "bob@example.com"


def test_another_key_opens_nothing(tmp_path: Path, names: IdentityMap, opened: Opened) -> None:
    """It is told at once; so is a key that is gone, and a file that is no map."""
    names.pseudonym(Kind.PERSON, ALICE, NOW)
    names.flush()
    with pytest.raises(IdentityMapError, match="another key"):
        opened(tmp_path / "map", b"o" * 32)
    with pytest.raises(IdentityMapError, match="is gone"):
        open_identities(tmp_path / "map", tmp_path / "key")
    assert read_identities(tmp_path / "map", tmp_path / "key") is None
    (tmp_path / "none").write_bytes(b"no database at all" * 100)
    with pytest.raises(IdentityMapError, match="cannot be used"):
        opened(tmp_path / "none")


def test_map_and_key_are_made_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever comes first."""
    # Each waits for those before it, and for the disk of each.
    monkeypatch.setattr("gatekeeper.adapters.sinks.identities._BUSY_S", 60.0)
    made: list[str] = []

    def make() -> None:
        names = open_identities(tmp_path / "a" / "map", tmp_path / "b" / "key")
        made.append(names.pseudonym(Kind.PERSON, ALICE, NOW))
        names.flush()
        names.close()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1
    found = read_identities(tmp_path / "a" / "map", tmp_path / "b" / "key")
    assert found is not None
    assert found.name_of(made[0]) == ALICE
    found.close()


async def test_a_record_is_durable_only_once_its_names_are(tmp_path: Path, opened: Opened) -> None:
    """A map that cannot be written keeps records from being acknowledged, as a disk that cannot does."""
    names = opened(tmp_path / "map")
    log = FileAuditLog.open(tmp_path / "log", origin=ORIGIN, clock=StandingClock(), names=names)
    answers: asyncio.Queue[bool] = asyncio.Queue()
    log.append(event(), answers.put_nowait)
    assert await answers.get()
    (told,) = (json.loads(line) for line in lines(tmp_path / "log") if b"GK1002W" in line)
    other = opened(tmp_path / "map")
    assert other.name_of(told["user"]["uid"]) == ALICE
    assert other.name_of(told["device"]["uid"]) == PHONE
    blocker = sqlite3.connect(tmp_path / "map", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    log.append(event(account="bob@example.com"), answers.put_nowait)
    assert not await answers.get()
    log.append(event(), answers.put_nowait)  # nobody new, but the log is at fault
    assert not await answers.get()
    blocker.execute("ROLLBACK")
    blocker.close()
    await log.close()
    names.close()


def test_while_nothing_can_be_written_only_who_is_in_the_map_has_a_pseudonym(names: IdentityMap) -> None:
    """Where remotes take records and the disk does not: nobody gets a record who could not be found again."""
    known = names.pseudonym(Kind.PERSON, ALICE, NOW)
    for name in (ALICE, "bob@example.com"):
        with names.nobody_new(), pytest.raises(IdentityMapError, match="cannot be put there"):
            names.pseudonym(Kind.PERSON, name, NOW)
    names.flush()
    with names.nobody_new():
        assert names.pseudonym(Kind.PERSON, ALICE, NOW) == known
    assert names.pseudonym(Kind.PERSON, "bob@example.com", NOW) != known
