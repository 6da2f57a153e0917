"""The inventory as a plan sees it."""

import random
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores import population as module
from gatekeeper.adapters.stores.population import SqlPopulation
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.campaign.outline import Outline
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture, Scope
from stores.samples import APPS, BY_PUBLISHER, BY_PUBLISHER_AND_VERSION, RULE, facts
from testkit.reports import MINUTE, NOW, phone, report


@pytest.mark.parametrize("text", [RULE, BY_PUBLISHER, BY_PUBLISHER_AND_VERSION], ids=["id", "publisher", "version"])
async def test_everybody_comes_once_as_they_are_but_for_apps_that_no_rule_means(
    engine: AsyncEngine, registry: SqlRegistry, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Outlines of the folded lists, whole people in every batch, whatever the size of a batch."""
    dice = random.Random(2020)
    said = [
        report(
            phone(f"ph-{number:02}", f"user{number // 3}@example.com"),
            *dice.sample(APPS, dice.randrange(5)),
            at=NOW + number * MINUTE,
            source=source,
            complete=dice.random() < 0.7,
            scope=dice.choice([Scope.FULL, Scope.QUERY]),
        )
        for number in range(20)
        for source in dice.choice([("mdm",), ("mdm", "agent")])
    ]
    await registry.apply(said, now=NOW)
    outline = Outline([parse_policy(text.encode(), source="p")])
    expected = [
        replace(
            each,
            device=replace(each.device, identifiers={}),
            result=replace(each.result, apps=outline.outline(each.result.apps)),
        )
        for each in await registry.all_devices()
        if each.result is not None
    ]

    for batch in (1, 4, 1000):
        monkeypatch.setattr(module, "BATCH", batch)
        async with SqlPopulation(engine).snapshot() as snapshot:
            people = [person async for persons in snapshot.people(outline) for person in persons]
            assert await snapshot.size() == 20
        assert len({account for account, _ in people}) == len(people) == 7
        found = [posture for _, postures in people for posture in postures]
        assert [facts(each) for each in found] == [facts(each) for each in sorted(expected, key=_place)]


async def test_the_times_of_reports_are_told_when_they_are_few(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """So that a small inventory has exact dates, and a large one days."""
    await registry.apply([report(phone(f"ph-{n}"), at=NOW + n // 2 * MINUTE) for n in range(4)], now=NOW)
    async with SqlPopulation(engine).snapshot() as snapshot:
        assert sorted(await snapshot.collected(2) or ()) == [NOW, NOW + MINUTE]
        assert await snapshot.collected(1) is None


def _place(posture: Posture) -> tuple[str, DeviceId]:
    return posture.device.account, posture.device.device_id
