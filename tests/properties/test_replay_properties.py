"""Laws of the replay: what is decided again by class, from postures held small, is what deciding each by itself gives."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from test_decide_properties import (
    ACCOUNTS,
    EPOCH,
    GROUPS,
    POSTURES,
    a_rule,
    an_exemption,
    pool,
    some_defaults,
)

from gatekeeper.audit.decided import Decided
from gatekeeper.audit.record import milliseconds
from gatekeeper.campaign.ledger import Ledger
from gatekeeper.campaign.outline import Outline
from gatekeeper.campaign.rehearsal import Rehearsal
from gatekeeper.decision.decide import decide
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, EvidenceLevel, Posture, Subject
from gatekeeper.domain.request import MailProtocol, Request

WORLDS, SESSIONS = 400, 40
RULES, EXEMPTIONS, DEFAULTS = pool(lambda: a_rule(by_id=False), 300), pool(an_exemption, 60), pool(some_defaults, 60)
HOUR, ALMOST_A_MS = timedelta(hours=1), timedelta(microseconds=999)


@dataclass(frozen=True)
class Session:
    """What a decision is about."""

    account: str
    protocol: MailProtocol
    address: str
    assurance: Assurance
    is_waived: bool
    now: datetime
    judged: tuple[tuple[int, int], ...]
    """Places of devices, and of their postures."""


def a_policy(dice: random.Random, digest: str) -> Policy:
    return Policy(
        sha256=digest * 64,
        rules=tuple(dice.choices(RULES, k=dice.randint(1, 3))),
        exemptions=tuple(dice.choices(EXEMPTIONS, k=dice.randint(0, 4))),
        defaults=dice.choice(DEFAULTS),
        groups=GROUPS,
        sources={"mdm": EvidenceLevel.MDM, "agent": EvidenceLevel.AGENT},
    )


def some_devices(dice: random.Random) -> list[list[Posture]]:
    """Alike but for one thing or another: whatever is asked of it tells two of them apart."""
    base = dice.choice([each for each in POSTURES if each.result])
    assert base.result is not None
    found = []
    for number in range(3):
        postures = []
        for revision in range(3):
            posture = base if dice.random() < 0.9 else dice.choice(POSTURES)
            device = replace(
                posture.device,
                device_id=DeviceId(f"ph-{number}"),  # exemptions name `ph-1` and `ph-2`
                account=dice.choice([*ACCOUNTS, ACCOUNTS[0]]),
                first_seen=dice.choice([None, EPOCH + dice.randint(-99, 99) * HOUR]),
            )
            result = posture.result and replace(
                posture.result,
                source=dice.choice([posture.result.source] * 5 + ["mdm", "agent"]),
                collected_at=EPOCH + dice.randint(-150, 99) * HOUR,
            )
            postures.append(Posture(device=device, result=result, revision=90 - 7 * revision))
        found.append(postures)
    return found


def some_sessions(dice: random.Random, devices: list[list[Posture]]) -> Iterator[Session]:
    """Each like one before it but for one thing, so that nothing that counts may be forgotten."""

    def judged() -> tuple[tuple[int, int], ...]:
        devices = dice.sample(range(3), dice.choice([0, 1, 1, 1, 2, 3]))
        return tuple((device, dice.randrange(3)) for device in devices)

    def instant() -> datetime:
        return EPOCH + dice.randint(-130, 130) * HOUR + timedelta(microseconds=dice.choice([0, 0, 1, -1]))

    def own() -> dict[str, object]:
        device, place = dice.randrange(3), dice.randrange(3)
        return {"account": devices[device][place].device.account, "judged": ((device, place),)}

    changes: list[Callable[[], dict[str, object]]] = [
        lambda: {"account": dice.choice(ACCOUNTS)},
        lambda: {"protocol": dice.choice(list(MailProtocol))},
        lambda: {"address": dice.choice(["192.0.2.1", "192.0.2.200"])},
        lambda: {"assurance": dice.choice(list(Assurance))},
        lambda: {"is_waived": dice.random() < 0.5},
        lambda: {"now": instant()},
        lambda: {"judged": judged()},
        *[own] * 7,
    ]
    known = [
        Session(
            account=dice.choice(ACCOUNTS),
            protocol=MailProtocol.IMAP,
            address="192.0.2.1",
            assurance=Assurance.USER,
            is_waived=False,
            now=instant(),
            judged=judged(),
        )
    ]
    while len(known) < SESSIONS:
        known.append(replace(dice.choice(known), **dice.choice(changes)()))
    yield from known


def performed(
    policy: Policy, session: Session, devices: list[list[Posture]], now: datetime
) -> tuple[str, tuple[str, ...]]:
    """Verdict and rules, decided by itself on whole lists."""
    decision = decision_of(policy, session, devices, now)
    if session.is_waived and not decision.verdict.admits:
        return "allow", decision.rule_ids
    return decision.verdict.value, decision.rule_ids


def decision_of(policy: Policy, session: Session, devices: list[list[Posture]], now: datetime) -> Decision:
    binding = Binding(assurance=session.assurance, method="method")
    subject = Subject(binding=binding, postures=tuple(devices[device][place] for device, place in session.judged))
    request = Request(
        account=session.account, protocol=session.protocol, listener="listener", client_address=session.address
    )
    return decide(policy, subject, request, now)


@pytest.mark.parametrize("is_candidate", [False, True], ids=["as it was", "a candidate"])
def test_every_decision_comes_out_as_it_would_by_itself(is_candidate: bool) -> None:
    """Whatever was decided before it: what is remembered of one is never taken for another that differs."""
    dice = random.Random(2020)
    performed_in_all = different_in_all = 0
    for _ in range(WORLDS):
        devices, made_by, candidate = some_devices(dice), a_policy(dice, "a"), a_policy(dice, "b")
        policy = candidate if is_candidate else made_by
        outline = Outline([policy])
        ledger = Ledger()
        for postures in devices:
            ledger.add([outlined(each, outline) for each in postures])
        rehearsal = Rehearsal({made_by.sha256: made_by}, candidate if is_candidate else None, ledger)

        same, different = 0, {}
        for number, session in enumerate(some_sessions(dice, devices)):
            was = performed(made_by, session, devices, session.now)
            if not is_candidate and dice.random() < 0.1:
                was = dice.choice(["allow", "block"]), was[1]  # a record that its policy did not make
            rehearsal.take(decided(number, session, devices, was))
            begin = EPOCH + (session.now - EPOCH) // timedelta(milliseconds=1) * timedelta(milliseconds=1)
            early, late = (performed(policy, session, devices, each) for each in (begin, begin + ALMOST_A_MS))
            if was[0] in (early[0], late[0]) if is_candidate else was in (early, late):
                same += 1
            else:
                different[number] = early

        report = rehearsal.report
        assert (report.same, report.gaps) == (same, {})
        assert {each.decided.sequence: (each.verdict.value, each.rules) for each in report.differences} == different
        performed_in_all += report.performed
        different_in_all += report.different
    assert performed_in_all == WORLDS * SESSIONS
    assert different_in_all > WORLDS


def outlined(posture: Posture, outline: Outline) -> Posture:
    if posture.result is None:
        return posture
    return replace(posture, result=replace(posture.result, apps=outline.outline(posture.result.apps)))


def decided(number: int, session: Session, devices: list[list[Posture]], said: tuple[str, tuple[str, ...]]) -> Decided:
    judged = [devices[device][place] for device, place in session.judged]
    return Decided(
        sequence=number,
        code="GK1001I",
        time_ms=milliseconds(session.now),
        start_ms=None,
        times=1,
        verdict=Verdict(said[0]),
        rules=said[1],
        account=session.account,
        protocol=session.protocol,
        listener="listener",
        address=session.address,
        prefix=None,
        assurance=session.assurance,
        method="method",
        claimed_device=None,
        device=None,
        judged=tuple((each.device.device_id, each.revision) for each in judged),
        policy_sha256="a" * 64,
        engine="1",
        is_waived=session.is_waived,
    )
