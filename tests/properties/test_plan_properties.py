"""Laws of the plan: what is counted by class is what deciding each device by itself gives."""

import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from test_decide_properties import (
    EPOCH,
    GROUPS,
    LAW,
    POSTURES,
    a_rule,
    instants,
    known_postures,
    policies,
    pool,
    some_defaults,
    with_results,
)

from gatekeeper.campaign.classes import Asked, asked_by, decision_on
from gatekeeper.campaign.dates import Date, coming
from gatekeeper.campaign.outline import Outline
from gatekeeper.campaign.plan import Question
from gatekeeper.campaign.planner import Planner
from gatekeeper.decision.decide import decide
from gatekeeper.decision.judgement import judge
from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.decision.patterns import Pattern
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Reason
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, AttestationResult, Binding, Posture, Subject
from gatekeeper.domain.request import MailProtocol


def alike(base: Posture, ages: list[int], seen: list[int | None]) -> list[Posture]:
    """Devices that differ in nothing that a policy asks for but dates: what makes a class, or just not."""
    found = []
    for number, (age, first_seen) in enumerate(zip(ages, seen, strict=False)):
        device = replace(
            base.device,
            device_id=DeviceId(f"{base.device.device_id}-{number}"),
            first_seen=None if first_seen is None else EPOCH + timedelta(hours=first_seen),
        )
        result = base.result and replace(base.result, collected_at=EPOCH - timedelta(hours=age))
        found.append(Posture(device=device, result=result))
    return found


hours = st.integers(-100, 200)
twins = st.builds(
    alike,
    st.sampled_from(POSTURES),
    st.lists(hours, min_size=1, max_size=5),
    st.lists(st.none() | hours, min_size=5, max_size=5),
)
people = st.tuples(st.lists(st.sampled_from(POSTURES), max_size=5), st.lists(twins, min_size=1, max_size=2)).map(
    lambda drawn: by_account([*drawn[0], *(each for devices in drawn[1] for each in devices)])
)


def by_account(postures: list[Posture]) -> dict[str, list[Posture]]:
    """Whose devices these are."""
    accounts = dict.fromkeys(each.device.account for each in postures)
    return {account: [each for each in postures if each.device.account == account] for account in accounts}


PLAIN_RULES = [
    rule
    for rule in pool(lambda: a_rule(by_id=False), 600)
    if not Outline([Policy(sha256="0" * 64, rules=(rule,))]).needs_everything
]
"""Rules that leave something out of an outline."""
BLIND_RULES = [rule for rule in PLAIN_RULES if any(matcher.blind_without for matcher in rule.apps)]
"""Rules that a list can fail to answer."""
LACKING = [each for each in POSTURES if each.result and each.result.proves_absence and each.result.apps.absences]
plain_rules, blind_rules = st.sampled_from(PLAIN_RULES), st.sampled_from(BLIND_RULES)
lacking_postures = st.sampled_from(LACKING)
protocols = st.builds(
    Asked, protocol=st.sampled_from(MailProtocol), listener=st.sampled_from(("listener", "elsewhere"))
)


def _dates(in_force: Policy, candidate: Policy, people: dict[str, list[Posture]], now: datetime) -> tuple[Date, ...]:
    collected = [each.result.collected_at for devices in people.values() for each in devices if each.result]
    return coming((in_force, candidate), now, now + timedelta(days=12), collected)


@LAW
@given(policies(), policies(), people, protocols, instants, st.booleans())
def test_every_count_is_the_sum_of_single_decisions(
    in_force: Policy,
    candidate: Policy,
    people: dict[str, list[Posture]],
    asked: Asked,
    now: datetime,
    is_outlined: bool,
) -> None:
    """By verdict, for devices and people, by both policies, at every date, of whole lists and of outlines."""
    dates = _dates(in_force, candidate, people, now)
    outline = Outline((in_force, candidate))
    planner = Planner(Question(in_force=in_force, candidate=candidate, asked=asked, dates=dates))
    for account, postures in people.items():
        devices = Subject(binding=Binding(assurance=Assurance.PROVEN, method="plan"), postures=tuple(postures))
        if is_outlined:
            devices = with_results(devices, lambda result: _with_apps(result, outline))
        planner.take(account, devices.postures)
    plan = planner.plan()

    by_user = Binding(assurance=Assurance.USER, method="user")
    for policy, tallies in ((in_force, plan.in_force), (candidate, plan.candidate)):
        for date, tally in zip(dates, tallies, strict=True):
            single = [decision_on(policy, each, asked, date.at) for each in _all(people)]
            assert tally.verdicts == Counter(decision.verdict for decision in single)
            untied = Counter(
                decide(
                    policy,
                    Subject(binding=by_user, postures=tuple(postures)),
                    asked_by(account, asked),
                    date.at,
                ).verdict
                for account, postures in people.items()
            )
            assert tally.untied == untied
    assert plan.devices == len(_all(people))


@LAW
@given(policies(), policies(), people, protocols, instants)
def test_who_is_named_is_blocked_from_that_instant_on(
    in_force: Policy, candidate: Policy, people: dict[str, list[Posture]], asked: Asked, now: datetime
) -> None:
    """To the microsecond; and nobody who is blocked at a date is left out."""
    dates = _dates(in_force, candidate, people, now)
    planner = Planner(Question(in_force=in_force, candidate=candidate, asked=asked, dates=dates))
    unique = {
        account: list({each.device.device_id: each for each in held}.values()) for account, held in people.items()
    }
    for account, postures in unique.items():
        planner.take(account, postures)
    plan = planner.plan()

    named = {(each.account, each.device_id): each for each in plan.blocked}
    assert plan.blocked_total == len(plan.blocked) == len(named)
    for posture in _all(unique):
        found = named.pop((posture.device.account, posture.device.device_id), None)
        states = [
            tuple([decision_on(policy, posture, asked, date.at).verdict.admits for policy in (in_force, candidate)])
            for date in dates
        ]
        assert (found is not None) is any(not proposed for _, proposed in states)
        if found is None:
            continue
        assert found.is_new is any(current and not proposed for current, proposed in states)
        assert not decision_on(candidate, posture, asked, found.at).verdict.admits
        if found.at > now and not found.is_new:
            assert decision_on(candidate, posture, asked, found.at - timedelta(microseconds=1)).verdict.admits


@LAW
@given(
    policies(rules=plain_rules),
    policies(rules=blind_rules),
    known_postures | lacking_postures,
    protocols,
    instants,
)
def test_an_outline_is_judged_like_the_whole_list(
    in_force: Policy, candidate: Policy, posture: Posture, asked: Asked, now: datetime
) -> None:
    """Verdict, reasons, rules and denied apps."""
    outline = Outline((in_force, candidate))
    (outlined,) = with_results(
        Subject(binding=Binding(assurance=Assurance.PROVEN, method="plan"), postures=(posture,)),
        lambda result: _with_apps(result, outline),
    ).postures
    request = asked_by(posture.device.account, asked)
    for policy in (in_force, candidate):
        whole, part = (decision_on(policy, each, asked, now) for each in (posture, outlined))
        assert (whole.verdict, whole.reasons, whole.rule_ids, whole.matched, whole.valid_until) == (
            part.verdict,
            part.reasons,
            part.rule_ids,
            part.matched,
            part.valid_until,
        )
        unanswered = [
            {rule.id for rule in judge(policy, each, request, now).unanswered} for each in (posture, outlined)
        ]
        assert unanswered[0] == unanswered[1]


def test_what_a_list_lacks_is_judged_by_its_outline_as_well() -> None:
    """Rules that ask what the list does not say, thousands of times: a rare case that examples alone seldom meet."""
    dice = random.Random(2020)
    all_defaults = pool(some_defaults, 50)
    unanswered = 0
    for _ in range(3000):
        rules = (dice.choice(BLIND_RULES), dice.choice(PLAIN_RULES))
        policy = Policy(sha256="0" * 64, rules=rules, defaults=dice.choice(all_defaults), groups=GROUPS)
        outline, posture, now = (
            Outline([policy]),
            dice.choice(LACKING),
            EPOCH + timedelta(hours=dice.randint(-130, 130)),
        )
        assert posture.result is not None
        outlined = replace(posture, result=_with_apps(posture.result, outline))
        asked = Asked(MailProtocol.IMAP, "listener")
        request = asked_by(posture.device.account, asked)
        whole, part = (decision_on(policy, each, asked, now) for each in (posture, outlined))
        assert (whole.verdict, whole.reasons, whole.rule_ids) == (part.verdict, part.reasons, part.rule_ids)
        missed = [{rule.id for rule in judge(policy, each, request, now).unanswered} for each in (posture, outlined)]
        assert missed[0] == missed[1]
        unanswered += bool(missed[0])
    assert unanswered > 50


ONLY_RULES = [
    replace(rule, only_apps=(*rule.only_apps, AppMatcher(id=Pattern.parse(pattern))))
    for rule in PLAIN_RULES
    if rule.only_apps
    for pattern in ("com.*", "com.a.*", "com.b", "org.c.z.q")
]
"""Rules that name the only apps, of whose lists something is left out."""


def test_a_list_of_the_only_apps_is_judged_by_its_outline_as_well() -> None:
    """Which apps are not on it, and that none is."""
    dice = random.Random(2020)
    all_defaults = pool(some_defaults, 50)
    known = [each for each in POSTURES if each.result]
    minded = left_out = 0
    for _ in range(2000):
        rules = tuple(dice.choices(ONLY_RULES, k=dice.randint(1, 2)))
        policy = Policy(sha256="0" * 64, rules=rules, defaults=dice.choice(all_defaults), groups=GROUPS)
        outline, posture = Outline([policy]), dice.choice(known)
        if outline.needs_everything:
            continue
        assert posture.result is not None
        outlined = replace(posture, result=_with_apps(posture.result, outline))
        now, asked = EPOCH + timedelta(hours=dice.randint(-130, 130)), Asked(MailProtocol.IMAP, "listener")
        whole, part = (decision_on(policy, each, asked, now) for each in (posture, outlined))
        assert (whole.verdict, whole.reasons, whole.matched) == (part.verdict, part.reasons, part.matched)
        minded += Reason.APP_NOT_LISTED in whole.reasons
        left_out += len(outlined.result.apps.apps) < len(posture.result.apps.apps) if outlined.result else 0
    assert min(minded, left_out) > 100


def _with_apps(result: AttestationResult, outline: Outline) -> AttestationResult:
    return replace(result, apps=outline.outline(result.apps))


def _all(people: dict[str, list[Posture]]) -> list[Posture]:
    return [posture for postures in people.values() for posture in postures]
