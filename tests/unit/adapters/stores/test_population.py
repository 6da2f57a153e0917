"""The inventory as a plan sees it."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores import population as module
from gatekeeper.adapters.stores.population import SqlPopulation
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.campaign.outline import Outline
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.app import App
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture, Scope
from gatekeeper.ports.population import Sighting
from testkit.reports import MINUTE, NOTES, NOW, TIKTOK, phone, report

RULE = """
schema = 1
[[rule]]
id = "no-tiktok"
apps = [{ id = "com.zhiliaoapp.*" }]
phases = { enforce = "2020-01-01" }
"""
BY_PUBLISHER = RULE.replace('id = "com.zhiliaoapp.*"', 'publisher = "byte*"')
BY_PUBLISHER_AND_VERSION = RULE.replace('id = "com.zhiliaoapp.*"', 'publisher = "byte*", version = ">=2"')
APPS = [
    App(id="com.zhiliaoapp.musically", version="1"),
    App(id="com.ZhiliaoApp.other", version="2", publisher="ByteDance"),
    App(id="org.notes", publisher="Bytes", version="3"),
    App(id="org.calendar", publisher="Date", signer_sha256=("ab" * 32,), name="Calendar"),
    App(id="org.bare"),
]


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
        assert [_facts(each) for each in found] == [_facts(each) for each in sorted(expected, key=_place)]


async def test_the_times_of_reports_are_told_when_they_are_few(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """So that a small inventory has exact dates, and a large one days."""
    await registry.apply([report(phone(f"ph-{n}"), at=NOW + n // 2 * MINUTE) for n in range(4)], now=NOW)
    async with SqlPopulation(engine).snapshot() as snapshot:
        assert sorted(await snapshot.collected(2) or ()) == [NOW, NOW + MINUTE]
        assert await snapshot.collected(1) is None


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


def _facts(posture: Posture) -> tuple[object, ...]:
    result = posture.result
    assert result is not None
    return (posture.device, replace(result, apps=NO_APPS), set(result.apps.apps), posture.revision > 0)


def _place(posture: Posture) -> tuple[str, DeviceId]:
    return posture.device.account, posture.device.device_id


NO_APPS = report().result.apps


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
            told = [posture async for some in snapshot.history(outline, NOW) for posture in some]
            assert len(told) == len(seen)
            for posture in told:
                whole = seen[posture.device.device_id, posture.revision]
                assert whole.result is not None
                expected = replace(
                    whole,
                    result=replace(whole.result, apps=outline.outline(whole.result.apps)),
                    device=replace(whole.device, identifiers={}),
                )
                assert _facts(posture) == _facts(expected)
        late = [posture async for some in snapshot.history(outlines[RULE], NOW + 39 * MINUTE) for posture in some]
        assert len(late) <= 4
