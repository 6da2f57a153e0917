"""The archive: postures and policies come back as they were, to whoever has the key, until they are pruned or erased."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.archive import Archive, ArchivedPolicy, ArchiveError
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.adapters.stores.revisions import changed_since, postures_of
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import DeviceFlag, Posture
from testkit.reports import MINUTE, NOTES, NOW, TIKTOK, phone, report

KEY = b"k" * 32
PHONE = DeviceId("ph-1")
POLICY = ArchivedPolicy("a" * 64, '{"case": "lower"}', b"schema = 1\0\xff")


Opened = Callable[..., Archive]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open archives, and close them at the end."""
    with ExitStack() as stack:

        def open_archive(path: Path, *, is_new: bool = True) -> Archive:
            found = Archive(path, KEY, is_new=is_new)
            stack.callback(found.close)
            return found

        yield open_archive


@pytest.fixture
def archive(tmp_path: Path, opened: Opened) -> Archive:
    return opened(tmp_path / "archive")


def asked(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What the file holds, or becomes."""
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(query, values).fetchall()


def posture(revision: int, *apps: object, device_id: str = "ph-1") -> Posture:
    said = report(phone(device_id), *apps)  # type: ignore[arg-type]  # apps
    result = replace(said.result, os_version="17.1", flags={DeviceFlag.COMPROMISED: False})
    return Posture(device=replace(said.device, first_seen=NOW), result=result, revision=revision)


def test_a_posture_comes_back_as_it_was(tmp_path: Path, archive: Archive, opened: Opened) -> None:
    """All that a decision weighs, in another process too; the file tells nobody whose phone has what."""
    kept = [posture(1, NOTES, TIKTOK), posture(2, NOTES), replace(posture(3), result=None)]
    archive.put(kept)
    archive.put(kept)
    other = opened(tmp_path / "archive", is_new=False)
    assert [other.posture("ph-1", one.revision) for one in kept] == kept
    assert [other.posture("ph-1", one.revision).device.first_seen for one in kept] == [NOW] * 3  # type: ignore[union-attr]
    assert other.posture("ph-1", 4) is None
    assert other.posture("ph-2", 1) is None
    data = (tmp_path / "archive").read_bytes()
    assert not any(word in data for word in (b"ph-1", b"alice", b"TikTok", b"zhiliao", b"17.1"))
    assert (tmp_path / "archive").stat().st_mode & 0o777 == 0o600


def test_a_list_is_kept_once(tmp_path: Path, archive: Archive) -> None:
    """Whatever number of reports said it."""
    archive.put([posture(number, NOTES) for number in range(1, 50)])
    assert asked(tmp_path / "archive", "SELECT count(*) FROM apps") == [(1,)]
    assert asked(tmp_path / "archive", "SELECT count(*) FROM posture") == [(49,)]


def test_another_key_or_a_moved_row_opens_nothing(tmp_path: Path, archive: Archive, opened: Opened) -> None:
    """A row is bound to its device and revision."""
    archive.put([posture(1, NOTES), posture(2, TIKTOK)])
    for is_new in (True, False):
        with pytest.raises(ArchiveError, match="another key's"):
            Archive(tmp_path / "archive", b"o" * 32, is_new=is_new)
    ((sealed,),) = asked(tmp_path / "archive", "SELECT sealed FROM posture WHERE revision = 2")
    asked(tmp_path / "archive", "UPDATE posture SET sealed = ? WHERE revision = 1", sealed)
    with pytest.raises(ArchiveError, match="changed"):
        archive.posture("ph-1", 1)
    (tag,), _ = asked(tmp_path / "archive", "SELECT tag FROM apps")
    asked(tmp_path / "archive", "UPDATE apps SET sealed = (SELECT sealed FROM apps WHERE tag = ?)", tag)
    with pytest.raises(ArchiveError, match="changed"):
        [archive.posture("ph-1", 2), opened(tmp_path / "archive").posture("ph-1", 1)]


def test_policies_come_back_to_the_octet(archive: Archive) -> None:
    """With how names were read."""
    archive.put_policies([POLICY], 10)
    archive.put_policies([POLICY], 20)
    assert list(archive.policies()) == [POLICY]


def test_what_no_record_can_need_any_more_goes(archive: Archive) -> None:
    """What was replaced, or ended, before; what holds still, or held then, stays."""
    archive.put([posture(1_000, NOTES), posture(5_000, TIKTOK), posture(2_000, NOTES, device_id="ph-2")])
    archive.end(DeviceId("ph-2"), 4_000)
    archive.put_policies([POLICY], 4)
    assert archive.prune(4) == 0
    assert archive.prune(5) == 1
    assert archive.posture("ph-2", 2_000) is None
    assert list(archive.policies()) == []
    assert archive.posture("ph-1", 1_000) is not None
    assert archive.prune(6) == 1
    assert archive.posture("ph-1", 1_000) is None
    assert archive.posture("ph-1", 5_000) is not None


def test_postures_may_come_late(archive: Archive) -> None:
    """The end of an older one is known by the newer that was there before."""
    archive.put([posture(5_000, TIKTOK)])
    archive.put([posture(1_000, NOTES)])
    assert archive.prune(6) == 1
    assert archive.posture("ph-1", 5_000) is not None


def test_a_device_is_erased_with_its_lists(tmp_path: Path, archive: Archive) -> None:
    """Those that another one has, too, stay."""
    archive.put([posture(1, NOTES), posture(2, TIKTOK), posture(3, NOTES, device_id="ph-2")])
    assert archive.erase(["ph-1", "ph-9"]) == 2
    assert archive.posture("ph-1", 1) is None
    assert archive.posture("ph-2", 3) is not None
    assert asked(tmp_path / "archive", "SELECT count(*) FROM apps") == [(1,)]


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    """With its name."""
    (tmp_path / "none").write_bytes(b"no database" * 100)
    with pytest.raises(ArchiveError, match="none"):
        Archive(tmp_path / "none", KEY)


async def test_the_store_gives_all_that_it_knows_of_a_device(
    engine: AsyncEngine, registry: SqlRegistry, archive: Archive
) -> None:
    """The posture in force and those before it, as the gate decided on them."""
    seen = []
    for number, apps in enumerate([(NOTES, TIKTOK), (NOTES,), (), (TIKTOK,)]):
        at = NOW + number * MINUTE
        await registry.apply([report(phone(), *apps, at=at)], now=at)
        found = await registry.device(PHONE)
        assert found is not None
        seen.append(found)
    await registry.apply([report(phone("ph-2", "bob@example.com"), at=NOW)], now=NOW)
    ids, newest = await changed_since(engine, 0)
    assert (sorted(ids), newest) == (["ph-1", "ph-2"], max(each.revision for each in seen))
    assert await changed_since(engine, newest) == ([], newest)
    archive.put(await postures_of(engine, ids))
    for each in seen:
        back = archive.posture(PHONE, each.revision)
        assert back is not None
        assert set(back.result.apps.apps) == set(each.result.apps.apps)  # type: ignore[union-attr]
        assert replace(back, device=each.device, result=each.result) == each
    assert await postures_of(engine, ["ph-9"]) == []  # type: ignore[list-item]
