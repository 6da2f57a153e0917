"""The index from apps to devices."""

import random

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.app_index import MeantApps, devices_with
from gatekeeper.adapters.stores.engine import reading
from gatekeeper.adapters.stores.reading import by_ids
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.adapters.stores.sketch import kinds
from gatekeeper.adapters.stores.tables import app, device_app, posture
from gatekeeper.campaign.outline import Outline
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.app import App
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Scope
from testkit.reports import MINUTE, NOTES, NOW, TIKTOK, phone, report

RULE = 'schema = 1\n[[rule]]\nid = "r"\napps = [{ id = "com.zhiliaoapp.*" }]\nphases = { enforce = "2020-01-01" }\n'
APPS = [App(id=f"com.example.app{number % 7}", version=str(number)) for number in range(14)]


async def test_the_devices_of_an_app_are_found(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """Whatever version they have, and none that does not have it."""
    newer = App(id=TIKTOK.id, name=TIKTOK.name, version="17")
    await registry.apply(
        [report(phone("ph-1"), TIKTOK), report(phone("ph-2"), NOTES), report(phone("ph-3"), newer, NOTES)], now=NOW
    )

    async with reading(engine) as connection:
        meant = MeantApps(Outline([parse_policy(RULE.encode(), source="p")]))
        found = await devices_with(connection, await meant.by_number(connection))
        named = await connection.scalars(select(posture.c.device_id).where(posture.c.number.in_(found)))
        assert sorted(named) == ["ph-1", "ph-3"]
        assert meant.ids == {TIKTOK.id}
        assert await devices_with(connection, await meant.by_number(connection), among=[1, 2]) == {1}
        assert await devices_with(connection, {}) == set()


async def test_it_holds_exactly_what_is_on_record_after_any_writes(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """Imports, evidence, several sources, incomplete lists and forgotten devices, in any order."""
    dice = random.Random(2020)
    for step in range(60):
        now = NOW + step * MINUTE
        said = report(
            phone(f"ph-{dice.randrange(4)}"),
            *dice.sample(APPS, dice.randrange(5)),
            at=now,
            source=dice.choice(["mdm", "agent"]),
            scope=dice.choice([Scope.FULL, Scope.QUERY]),
            complete=dice.random() < 0.7,
        )
        if dice.random() < 0.1:
            await registry.forget(said.device.device_id)
        else:
            await registry.apply([said], now=now)
        await _assert_exact(engine)


async def _assert_exact(engine: AsyncEngine) -> None:
    pairs = select(posture.c.device_id, app.c.facts, device_app.c.device).select_from(
        device_app.outerjoin(posture, posture.c.number == device_app.c.device).join(
            app, app.c.number == device_app.c.app
        )
    )
    async with reading(engine) as connection:
        found = {(device_id, facts) for device_id, facts, _ in await connection.execute(pairs)}

        records = await by_ids(connection, [DeviceId(f"ph-{number}") for number in range(4)])
    assert found == {(device_id, kind) for device_id, record in records.items() for kind in kinds(record.rows)}
