"""What the postures of devices were before."""

import random
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.population import SqlPopulation
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.campaign.outline import Outline
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.posture import Posture
from gatekeeper.ports.population import Sighting
from stores.samples import APPS, BY_PUBLISHER, BY_PUBLISHER_AND_VERSION, RULE, facts
from testkit.reports import MINUTE, NOTES, NOW, TIKTOK, phone, report


async def test_when_devices_began_and_ceased_to_have_an_app(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """From the postures that are kept: one got it and lost it, one got it later, one never had it."""
    outline = Outline([parse_policy(RULE.encode(), source="p")])
    steps = (
        (0, report(phone("ph-1"), NOTES, TIKTOK)),
        (0, report(phone("ph-2"), NOTES)),
        (0, report(phone("ph-3"), NOTES)),
        (1, report(phone("ph-1"), NOTES, at=NOW + MINUTE)),
        (2, report(phone("ph-2"), NOTES, TIKTOK, at=NOW + MINUTE)),
        (3, report(phone("ph-2"), TIKTOK, at=NOW + 2 * MINUTE)),
        (3, report(phone("ph-3"), at=NOW + 2 * MINUTE)),
    )
    for day, said in steps:
        await registry.apply([said], now=NOW + timedelta(days=day))
    async with SqlPopulation(engine).snapshot() as snapshot:
        assert await snapshot.sightings(outline) == (
            Sighting(NOW, 1),
            Sighting(NOW + timedelta(days=1), -1),
            Sighting(NOW + timedelta(days=2), 1),
        )


async def test_every_posture_of_the_last_days_is_told_as_it_was(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """Outlines of what the registry said at each step, under the revision of that step."""
    dice = random.Random(2020)
    outlines = {
        text: Outline([parse_policy(text.encode(), source="p")])
        for text in (RULE, BY_PUBLISHER, BY_PUBLISHER_AND_VERSION)
    }
    seen: dict[tuple[str, int], Posture] = {}
    for step in range(40):
        now = NOW + step * MINUTE
        said = report(
            phone(f"ph-{dice.randrange(3)}", dice.choice(["alice@example.com", "bob@example.com"])),
            *dice.sample(APPS, dice.randrange(5)),
            at=now,
            source=dice.choice(["mdm", "agent"]),
            complete=dice.random() < 0.7,
        )
        await registry.apply([said], now=now)
        known = await registry.device(said.device.device_id)
        assert known is not None
        seen[known.device.device_id, known.revision] = known

    async with SqlPopulation(engine).snapshot() as snapshot:
        for outline in outlines.values():
            told = [each async for devices in snapshot.history(outline, NOW) for kept in devices for each in kept]
            assert len(told) == len(seen)
            for posture in told:
                whole = seen[posture.device.device_id, posture.revision]
                assert whole.result is not None
                expected = replace(
                    whole,
                    result=replace(whole.result, apps=outline.outline(whole.result.apps)),
                    device=replace(whole.device, identifiers={}),
                )
                assert facts(posture) == facts(expected)
        late = [each async for devices in snapshot.history(outlines[RULE], NOW + 39 * MINUTE) for each in devices]
        assert len(late) == 3
        assert sum(map(len, late)) <= 4
