"""The archiver on a real store and a real archive: nothing that was decided on is missed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.sinks.secret_key import load_secret
from gatekeeper.adapters.stores.archive import Archive, ArchiveError
from gatekeeper.adapters.stores.directory import DeviceDirectory
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.config.settings import AuditSettings
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.domain.posture import Posture
from gatekeeper.gate.outage import Existing
from gatekeeper.server.archiver import Archiver
from testkit.audit_log import StandingClock
from testkit.reports import MINUTE, NOTES, NOW, TIKTOK, phone, report

POLICY = parse_policy(b"schema = 1\n", source="test")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    async with open_store(f"sqlite:///{tmp_path}/registry.sqlite3") as engine:
        yield engine


class Bed:
    """A store, the feed of it, and an archiver that begins anew when told."""

    def __init__(self, engine: AsyncEngine, settings: AuditSettings) -> None:
        self.engine, self.settings = engine, settings
        self.registry = SqlRegistry(engine)
        self.directory = DeviceDirectory(engine)
        self.policies: tuple[Policy, ...] = (POLICY,)
        self.revisions: set[tuple[str, int]] = set()
        self.archiver = self.begin()
        self.directory.subscribe(lambda changes: self.archiver.changed(changes))  # noqa: PLW0108  the one of then

    def begin(self) -> Archiver:
        self.archiver = Archiver(
            self.engine,
            self.settings,
            StandingClock(NOW),
            is_on=lambda: True,
            in_force=lambda: (self.policies, DEFAULT),
        )
        return self.archiver

    async def report(self, device_id: str, minute: int, *apps: object) -> None:
        said = report(phone(device_id), *apps, at=NOW + minute * MINUTE)  # type: ignore[arg-type]  # apps
        await self.registry.apply([said], now=NOW + minute * MINUTE)
        await self.directory.refresh()
        found = await self.registry.device(DeviceId(device_id))
        assert found is not None
        self.revisions.add((device_id, found.revision))

    def missing(self) -> set[tuple[str, int]]:
        key = load_secret(self.settings.archive_key)
        assert key is not None
        archive = Archive(self.settings.archive_file, key, is_new=False)
        found = {place for place in self.revisions if archive.posture(*place) is None}
        archive.close()
        return found


@pytest.fixture
def settings(tmp_path: Path) -> AuditSettings:
    return AuditSettings(
        **dict.fromkeys(AuditSettings.__dataclass_fields__)  # type: ignore[arg-type]  # what is not asked for
        | {
            "is_archived": True,
            "archive_file": tmp_path / "archive.sqlite3",
            "archive_key": tmp_path / "archive.key",
            "retention": timedelta(days=400),
            "existing": Existing.KEEP,
        }
    )


@pytest.fixture
async def bed(engine: AsyncEngine, settings: AuditSettings) -> AsyncIterator[Bed]:
    bed = Bed(engine, settings)
    yield bed
    await bed.directory.close()
    bed.archiver.close()


async def test_all_that_was_ever_in_force_is_archived(bed: Bed) -> None:
    """What was there before it began, what changes while it runs, twice between two steps, and while it did not run."""
    await bed.report("ph-1", 1, NOTES)
    await bed.report("ph-1", 2, TIKTOK)
    await bed.archiver.step()
    assert bed.missing() == set()
    await bed.report("ph-1", 3)
    await bed.report("ph-1", 4, NOTES)
    await bed.report("ph-2", 5, NOTES)
    assert bed.missing() != set()
    await bed.archiver.step()
    assert bed.missing() == set()
    bed.archiver.close()
    await bed.report("ph-2", 6, TIKTOK)
    await bed.report("ph-2", 7, TIKTOK, NOTES)
    await bed.begin().step()
    assert bed.missing() == set()


async def test_a_forgotten_device_stays_in_the_archive(bed: Bed) -> None:
    """The store forgets it; the decisions about it can be performed again, until its last posture is old enough."""
    await bed.report("ph-1", 1, NOTES)
    await bed.archiver.step()
    await bed.registry.forget(DeviceId("ph-1"))
    await bed.directory.refresh()
    await bed.archiver.step()
    assert bed.missing() == set()
    archive = Archive(bed.settings.archive_file, load_secret(bed.settings.archive_key) or b"", is_new=False)
    assert archive.prune(int(NOW.timestamp() * 1000) + 1) == 1
    archive.close()


async def test_a_device_that_was_forgotten_meanwhile_does_not_stay_for_ever(bed: Bed) -> None:
    """What was forgotten while nobody followed ends at the next start; the others hold on."""
    for device_id in ("ph-1", "ph-2"):
        await bed.report(device_id, 1, NOTES)
    await bed.archiver.step()
    bed.archiver.close()
    await bed.registry.forget(DeviceId("ph-1"))
    await bed.begin().step()
    assert bed.missing() == set()
    archive = Archive(bed.settings.archive_file, load_secret(bed.settings.archive_key) or b"", is_new=False)
    assert archive.prune(int((NOW + MINUTE).timestamp() * 1000)) == 1
    archive.close()
    assert {device_id for device_id, _ in bed.missing()} == {"ph-1"}


async def test_policies_are_archived_as_they_come_into_force(bed: Bed) -> None:
    """Each once, with how names were read."""
    await bed.archiver.step()
    bed.policies = (POLICY, parse_policy(b"schema = 1 # another\n", source="test"))
    await bed.archiver.step()
    archive = Archive(bed.settings.archive_file, load_secret(bed.settings.archive_key) or b"", is_new=False)
    assert {kept.text for kept in archive.policies()} == {b"schema = 1\n", b"schema = 1 # another\n"}
    archive.close()


async def test_what_could_not_be_archived_is_tried_again(bed: Bed) -> None:
    """A disk that is full loses nothing."""
    await bed.report("ph-1", 1, NOTES)
    await bed.archiver.step()
    await bed.report("ph-1", 2, TIKTOK)
    archive = bed.archiver._archive
    assert archive is not None
    archive.close()
    with pytest.raises(ArchiveError):
        await bed.archiver.step()
    key = load_secret(bed.settings.archive_key)
    bed.archiver._archive = Archive(bed.settings.archive_file, key or b"", is_new=False)
    await bed.archiver.step()
    assert bed.missing() == set()


async def test_of_digests_alone_nothing_is_archived(engine: AsyncEngine, settings: AuditSettings) -> None:
    """Not even a key is made."""
    bed = Bed(engine, replace(settings, is_archived=False))
    await bed.report("ph-1", 1, NOTES)
    await bed.archiver.step()
    assert not bed.settings.archive_file.exists()
    assert not bed.settings.archive_key.exists()
    await bed.directory.close()


async def test_what_it_is_at_is_ended_before_it_is_cancelled(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive and the store are closed next: no thread may be at them then."""
    await bed.report("ph-1", 0, NOTES)
    begun, may_end, put = threading.Event(), threading.Event(), Archive.put

    def slowly(archive: Archive, postures: Iterable[Posture]) -> None:
        begun.set()
        assert may_end.wait(20)
        put(archive, postures)

    monkeypatch.setattr(Archive, "put", slowly)
    async with asyncio.TaskGroup() as group:
        step = group.create_task(bed.archiver.step())
        assert await asyncio.to_thread(begun.wait, 20)
        step.cancel()
        await asyncio.to_thread(lambda: None)
        assert not step.done()
        may_end.set()
    assert step.cancelled()
    assert bed.missing() == set()
