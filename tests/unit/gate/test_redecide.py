"""What becomes of sessions that are open."""

from datetime import timedelta

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.request import ClientCertificate
from gatekeeper.gate.redecide import LOOKED_UP_SINGLY
from gatekeeper.ports.devices import DeviceChange
from testkit.reports import ALICE, BOB, MINUTE, NOTES, NOW, TIKTOK, phone, report

from .conftest import ALLOW, DENY, House

HOUR = timedelta(hours=1)
CERTIFICATE = ClientCertificate(sha256="00", san_uris=("urn:gatekeeper:device:ph-1",))


async def test_a_stricter_policy_cuts_the_sessions_that_no_longer_stand(house: House) -> None:
    """Those that stand go on with the new decision; each is recorded as revoked, once."""
    house.policy(ALLOW)
    await house.registry.apply([report(phone("ph-1"), TIKTOK), report(phone("ph-2", BOB))], now=NOW)
    bad, good = await house.open(), await house.open(BOB)
    old = good.decision
    house.policy(DENY)

    assert house.cuts == [bad]
    assert bad.revoked
    assert house.audit.events[-1].code is EventCode.SESSION_REVOKED
    assert house.audit.events[-1].decision is bad.decision
    assert bad.decision.verdict is Verdict.BLOCK
    assert house.gate.sessions.all() == (good,)
    assert good.decision.policy_sha256 != old.policy_sha256
    house.policy(DENY)
    assert house.audit.codes.count("SESSION_REVOKED") == 1


async def test_a_denied_app_that_appears_cuts_that_users_sessions(house: House) -> None:
    """The others hear nothing of it."""
    await house.registry.apply([report(phone("ph-1")), report(phone("ph-2", BOB))], now=NOW)
    hers, his = await house.open(), await house.open(BOB)
    await house.registry.apply([report(phone("ph-1"), TIKTOK, at=NOW + MINUTE)], now=NOW)

    assert house.cuts == [hers]
    assert house.gate.sessions.all() == (his,)


async def test_a_forgotten_device_cuts_the_session_of_its_certificate(house: House) -> None:
    """The device that the certificate names is no longer known."""
    await house.register()
    admission = await house.open(certificate=CERTIFICATE)
    await house.registry.forget(DeviceId("ph-1"))
    await house.settled()
    assert house.cuts == [admission]


async def test_a_device_that_changes_hands_cuts_the_old_owners_session(house: House) -> None:
    """Her session stood on that phone."""
    await house.register()
    admission = await house.open()
    await house.register(account=BOB, at=NOW + MINUTE)
    assert house.cuts == [admission]


async def test_time_alone_cuts_a_session_whose_evidence_grows_stale(house: House) -> None:
    """At `valid_until`, not before: first it is warned of, then it no longer stands."""
    await house.register()
    admission = await house.open()
    assert admission.decision.valid_until == NOW + 24 * HOUR
    house.clock.instant = NOW + 24 * HOUR - MINUTE
    house.gate.redecision.tick()
    assert admission.decision.verdict is Verdict.ALLOW
    house.clock.instant = NOW + 24 * HOUR
    house.gate.redecision.tick()
    assert admission.decision.verdict is Verdict.WARN
    assert house.cuts == []
    house.clock.instant = NOW + 97 * HOUR
    house.gate.redecision.tick()
    assert house.cuts == [admission]
    house.gate.redecision.tick()
    assert house.audit.codes.count("SESSION_REVOKED") == 1


async def test_an_undecidable_session_goes_on_for_its_grace_and_is_cut_then(house: House) -> None:
    """A fault of ours is not the person's; but not for ever."""
    await house.register()
    admission = await house.open()
    house.registry.is_available = False
    house.policy(DENY)
    await house.settled()
    house.clock.instant = NOW + 5 * MINUTE
    house.gate.redecision.tick()
    await house.settled()
    assert house.cuts == []
    house.clock.instant = NOW + 5 * MINUTE + timedelta(seconds=1)
    house.gate.redecision.tick()
    await house.settled()

    assert house.cuts == [admission]
    assert admission.decision.verdict is Verdict.UNAVAILABLE
    assert house.gate.redecision._undecided == {}


async def test_a_store_that_comes_back_within_the_grace_saves_the_session(house: House) -> None:
    """And the grace begins anew with the next fault."""
    await house.register()
    await house.open()
    house.registry.is_available = False
    house.policy(DENY)
    await house.settled()
    house.registry.is_available = True
    house.gate.redecision.tick()
    await house.settled()
    assert house.gate.redecision._undecided == {}
    house.clock.instant = NOW + HOUR
    house.registry.is_available = False
    house.policy(DENY)
    await house.settled()
    assert house.cuts == []


async def test_a_session_that_ended_while_it_was_looked_up_is_not_touched(house: House) -> None:
    """No second record, no count, nothing kept."""
    await house.register()
    admission = await house.open()
    seen: list[Verdict] = []
    house.gate.decided = lambda _request, decision: seen.append(decision.verdict)
    house.devices.is_cold = True
    house.devices.release.clear()
    house.policy(DENY)
    await house.devices.asking.wait()
    house.gate.ended(admission, {"ended": "client"})
    house.registry.is_available = False
    house.devices.release.set()
    await house.settled()

    assert seen == []
    assert house.gate.redecision._undecided == {}
    assert not admission.revoked


async def test_a_session_that_ended_while_the_store_was_down_is_not_kept(house: House) -> None:
    """Its look-up fails after its end."""
    await house.register()
    admission = await house.open()
    house.devices.release.clear()
    house.registry.is_available = False
    house.policy(DENY)
    await house.devices.asking.wait()
    house.gate.ended(admission, {"ended": "client"})
    house.devices.release.set()
    await house.settled()
    assert house.gate.redecision._undecided == {}


async def test_a_session_that_ends_while_it_cannot_be_decided_is_let_go_of(house: House) -> None:
    """Nothing of it is kept for the ticks to ask about."""
    await house.register()
    admission = await house.open()
    house.registry.is_available = False
    house.policy(DENY)
    await house.settled()
    assert admission in house.gate.redecision._undecided
    house.gate.ended(admission, {"ended": "client"})
    assert house.gate.redecision._undecided == {}


async def test_a_change_during_a_look_up_is_looked_up_again(house: House) -> None:
    """The first look-up read what the change has replaced: its answer alone would let the session go on."""
    await house.register()
    admission = await house.open()
    house.devices.is_cold = True
    house.devices.release.clear()
    house.gate.redecision.devices_changed((DeviceChange(DeviceId("ph-1"), ALICE),))
    await house.devices.asking.wait()
    await house.register(TIKTOK, at=NOW + MINUTE)
    house.devices.release.set()
    await house.settled()

    assert house.cuts == [admission]
    assert house.devices.asked == 2


async def test_one_look_up_at_a_time_for_each_session(house: House) -> None:
    """Ticks while it is under way add nothing."""
    await house.register()
    admission = await house.open()
    house.devices.is_cold = True
    house.devices.release.clear()
    house.gate.redecision._undecided[admission] = NOW
    for _ in range(5):
        house.gate.redecision.tick()
    await house.settled()
    assert house.devices.asked == 1


async def test_an_unexpected_error_leaves_an_open_session_its_grace(house: House) -> None:
    """As when the store does not answer."""
    await house.register()
    admission = await house.open()
    house.devices.is_cold = True
    house.devices.answers_with = RuntimeError("a bug")
    house.policy(DENY)
    await house.settled()
    assert house.cuts == []
    assert not admission.in_question
    house.clock.instant = NOW + 6 * MINUTE
    house.gate.redecision.tick()
    await house.settled()
    assert house.cuts == [admission]


async def test_very_many_sessions_are_looked_up_together_when_the_policy_changes(house: House) -> None:
    """Not one by one: none waits for the store longer than its turn, and only those that fall are cut."""
    people = [f"user{number}@example.com" for number in range(3 * LOOKED_UP_SINGLY)]
    await house.registry.apply(
        [report(phone(f"ph-{n}", who), NOTES, *([TIKTOK] if n % 3 == 0 else [])) for n, who in enumerate(people)],
        now=NOW,
    )
    house.policy(ALLOW)
    admissions = [await house.open(who) for who in people]
    house.devices.is_cold = True
    house.policy(DENY)
    await house.settled()

    assert house.devices.asked == 0
    assert [each.revoked for each in admissions] == [n % 3 == 0 for n in range(len(people))]
    fallen = admissions[0].decision
    assert (fallen.verdict, fallen.rule_ids, fallen.apps_count) == (Verdict.BLOCK, ("no-tiktok",), 2)
    assert not any(each.in_question for each in admissions)


async def test_very_many_sessions_outlast_a_store_that_is_away_for_a_while(house: House) -> None:
    """They are asked about again, and decided when it is back."""
    people = [f"user{number}@example.com" for number in range(3 * LOOKED_UP_SINGLY)]
    await house.registry.apply([report(phone(f"ph-{n}", who), TIKTOK) for n, who in enumerate(people)], now=NOW)
    house.policy(ALLOW)
    admissions = [await house.open(who) for who in people]
    house.devices.is_cold, house.registry.is_available = True, False
    house.policy(DENY)
    await house.settled()
    assert not any(each.revoked for each in admissions)

    house.registry.is_available = True
    house.gate.redecision.tick()
    await house.settled()
    assert all(each.revoked for each in admissions)


async def test_an_unexpected_error_about_very_many_sessions_leaves_them_their_grace(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate goes on, and decides about them when the store makes sense again."""

    async def outlined(*_: object) -> object:
        raise RuntimeError("a bug")

    people = [f"user{number}@example.com" for number in range(3 * LOOKED_UP_SINGLY)]
    await house.registry.apply([report(phone(f"ph-{n}", who), TIKTOK) for n, who in enumerate(people)], now=NOW)
    house.policy(ALLOW)
    admissions = [await house.open(who) for who in people]
    house.devices.is_cold = True
    monkeypatch.setattr(house.devices, "outlined", outlined)
    house.policy(DENY)
    await house.settled()
    assert house.cuts == []
    assert not any(each.in_question for each in admissions)

    monkeypatch.undo()
    house.gate.redecision.tick()
    await house.settled()
    assert all(each.revoked for each in admissions)


async def test_a_change_while_very_many_sessions_are_looked_up_is_not_missed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store answered with what the change has replaced: that answer alone would let the session go on."""
    people = [f"user{number}@example.com" for number in range(3 * LOOKED_UP_SINGLY)]
    await house.registry.apply([report(phone(f"ph-{n}", who)) for n, who in enumerate(people)], now=NOW)
    house.policy(ALLOW)
    admissions = [await house.open(who) for who in people]
    outlined, asked = house.devices.outlined, 0

    async def overtaken(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        answer = await outlined(*arguments)  # type: ignore[arg-type]
        if asked == 1:
            await house.registry.apply([report(phone("ph-0", people[0]), TIKTOK, at=NOW + MINUTE)], now=NOW)
        return answer

    house.devices.is_cold = True
    monkeypatch.setattr(house.devices, "outlined", overtaken)
    house.policy(DENY)
    await house.settled()
    await house.settled()

    assert asked == 2
    assert [each.revoked for each in admissions] == [True] + [False] * (len(people) - 1)
