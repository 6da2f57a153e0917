"""Sketches and past postures: what every write leaves beside the evidence."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.codec import decode_apps
from gatekeeper.adapters.stores.engine import reading, writing
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.adapters.stores.sketch import HISTORY_KEPT, apps_before, decode_past, fill, past_posture_of
from gatekeeper.adapters.stores.tables import app, device_app, past_posture, posture
from gatekeeper.domain.app import AppList
from gatekeeper.domain.device import DeviceId, Ownership
from gatekeeper.domain.posture import Posture, Report, Scope
from testkit.reports import BOB, MINUTE, NOTES, NOW, TIKTOK, phone, report

PHONE = DeviceId("ph-1")
STEPS: tuple[tuple[Report, ...], ...] = (
    (report(phone(), NOTES),),
    (report(phone(), NOTES, TIKTOK, at=NOW + MINUTE),),
    (report(phone(ownership=Ownership.PERSONAL), TIKTOK, at=NOW + 2 * MINUTE, source="agent", scope=Scope.QUERY),),
    (report(phone(account=BOB), NOTES, at=NOW + 3 * MINUTE),),
    (report(phone(account=BOB), at=NOW + 4 * MINUTE, complete=False),),
)


async def test_every_posture_there_was_can_be_had_again(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """Going back from the present one step at a time gives what the registry said at each step."""
    seen: list[Posture] = []
    for number, reports in enumerate(STEPS):
        await registry.apply(reports, now=NOW + number * MINUTE)
        known = await registry.device(PHONE)
        assert known is not None
        seen.append(known)

    apps = list(seen[-1].result.apps.apps) if seen[-1].result else []
    async with reading(engine) as connection:
        past = select(past_posture).order_by(past_posture.c.revision.desc())
        rows = (await connection.execute(past)).mappings().all()
    assert len(rows) == len(STEPS) - 1
    for row, expected in zip(rows, reversed(seen[:-1]), strict=True):
        apps = apps_before(apps, decode_apps(row["added"]).apps, decode_apps(row["removed"]).apps)
        facts = decode_past(row["facts"])
        found = past_posture_of(PHONE, row["revision"], facts, AppList(apps))
        assert expected.result is not None
        assert found.result is not None
        assert found.revision == expected.revision
        assert found.device == expected.device
        assert facts.absences == expected.result.apps.absences
        assert set(found.result.apps.apps) == set(expected.result.apps.apps)
        assert (found.result.collected_at, found.result.complete) == (
            expected.result.collected_at,
            expected.result.complete,
        )


async def test_revisions_only_rise(registry: SqlRegistry) -> None:
    """Also when the clock is set back: no two postures of a device have one name."""
    revisions = []
    for number, reports in enumerate(STEPS):
        await registry.apply(reports, now=NOW - number * MINUTE)
        known = await registry.device(PHONE)
        assert known is not None
        revisions.append(known.revision)

    assert revisions == sorted(set(revisions))


async def test_the_past_is_kept_for_some_days_only(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """App lists of private phones are not kept longer than needed, and go at once with their device."""
    for number, reports in enumerate(STEPS[:3]):
        await registry.apply(reports, now=NOW + number * timedelta(days=1))
    await SqlRegistry(engine).apply([], now=NOW + HISTORY_KEPT + timedelta(days=1, minutes=1))
    async with reading(engine) as connection:
        assert len((await connection.execute(select(past_posture))).all()) == 1

    await registry.forget(PHONE)
    async with reading(engine) as connection:
        for table in (past_posture, posture, device_app):
            assert (await connection.execute(select(table))).all() == []


async def test_filling_makes_what_the_writes_would_have_made(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """A database of an earlier version gets its sketches and its index at the first start."""
    await registry.apply([report(phone(f"ph-{number}"), NOTES, TIKTOK) for number in range(3)], now=NOW)
    await registry.apply([report(phone(), NOTES, at=NOW + MINUTE)], now=NOW)
    written = await _contents(engine)
    async with writing(engine) as connection:
        for table in (device_app, app, posture):
            await connection.execute(table.delete())
        await connection.run_sync(fill)

    assert await _contents(engine) == written


async def _contents(engine: AsyncEngine) -> tuple[set[object], set[object]]:
    """Sketches, and pairs of device and app; numbers are names of no importance, revisions begin anew."""
    columns = [column for column in posture.c if column.name not in {"number", "revision"}]
    pairs = select(posture.c.device_id, app.c.facts).where(
        device_app.c.device == posture.c.number, device_app.c.app == app.c.number
    )
    async with reading(engine) as connection:
        sketches = {tuple(row) for row in await connection.execute(select(*columns))}
        return sketches, {tuple(row) for row in await connection.execute(pairs)}


def test_a_past_posture_of_another_shape_is_refused() -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="expected shape"):
        decode_past("{}")
