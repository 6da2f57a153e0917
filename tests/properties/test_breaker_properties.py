"""Laws of the breaker: what is counted by class is what deciding each device by itself gives."""

import random
from dataclasses import replace
from datetime import datetime, timedelta

from test_decide_properties import ACCOUNTS, EPOCH, POSTURES
from test_replay_properties import a_policy, outlined

from gatekeeper.campaign.classes import Asked, asked_by, decision_on
from gatekeeper.campaign.outline import Outline
from gatekeeper.decision.decide import decide
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import MailProtocol
from gatekeeper.publishing.breaker import Count, _instants

WORLDS, DEVICES = 250, 12
HOUR = timedelta(hours=1)
NOBODY = Subject(binding=Binding(assurance=Assurance.USER, method="law"), postures=())


def some_devices(dice: random.Random) -> list[Posture]:
    """Of as many people, alike but for one thing or another."""
    base = dice.choice(POSTURES)
    found = []
    for number in range(DEVICES):
        posture = base if dice.random() < 0.9 else dice.choice(POSTURES)
        account = (
            dice.choice(ACCOUNTS) if number % 4 == 3 else f"u{number}@example.com"
        )  # policies name only the former
        first_seen = dice.choice([None, EPOCH + dice.randint(-99, 99) * HOUR])
        device = replace(posture.device, device_id=DeviceId(f"ph-{number % 3}"), account=account, first_seen=first_seen)
        result = posture.result
        if result is not None:
            result = replace(
                result,
                source=dice.choice([result.source] * 5 + ["mdm", "agent"]),
                collected_at=EPOCH + dice.randint(-250, 99) * HOUR,
            )
        found.append(Posture(device=device, result=result))
    return found


def causes(old: Policy, new: Policy, asked: list[Asked], posture: Posture, now: datetime) -> tuple[str, ...] | None:
    """The rules of the new policy when it alone blocks a device, at the first instant at which it does, by hand."""
    for instant in _instants(new, now):
        then = posture
        if posture.result is not None:
            moved = replace(posture.result, collected_at=posture.result.collected_at + (instant - now))
            then = replace(posture, result=moved)
        for each in asked:
            after = decision_on(new, then, each, instant)
            if not after.verdict.admits and decision_on(old, then, each, instant).verdict.admits:
                return after.rule_ids
    return None


def test_who_is_newly_blocked_is_who_single_decisions_newly_block() -> None:
    """On any device, by any listener, now or at a coming date, with evidence as old as it is now."""
    dice = random.Random(2020)
    blocked_in_all = 0
    for _ in range(WORLDS):
        old, new, now = a_policy(dice, "a"), a_policy(dice, "b"), EPOCH + dice.randint(-130, 130) * HOUR
        new = replace(new, rules=(*old.rules, *new.rules)) if dice.random() < 0.5 else new
        asked = [Asked(each, dice.choice(["listener", "other"])) for each in dice.sample(list(MailProtocol), 2)]
        outline = Outline((old, new))
        count = Count(old, new, asked, now)
        people: dict[str, list[Posture]] = {}
        for posture in some_devices(dice):
            people.setdefault(posture.device.account, []).append(posture)
        for account, postures in people.items():
            count.take(account, [outlined(each, outline) for each in postures])
        impact = count.impact()

        found = {account: [causes(old, new, asked, each, now) for each in held] for account, held in people.items()}
        newly = {account for account, several in found.items() if any(each is not None for each in several)}
        assert impact.people == len(people)
        assert impact.newly_blocked == newly
        rules = {rule for several in found.values() for each in several for rule in each or ()}
        assert {cause for cause in impact.by_rule if cause.startswith("r")} <= rules
        nobody = [
            [decide(policy, NOBODY, asked_by("nobody", each), now).verdict.admits for policy in (old, new)]
            for each in asked
        ]
        assert impact.unregistered == ([True, False] in nobody)
        blocked_in_all += len(newly)
    assert blocked_in_all > WORLDS
