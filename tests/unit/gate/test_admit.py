"""Admission, and what becomes of sessions that are open."""

import asyncio
from datetime import timedelta

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.request import ClientCertificate
from gatekeeper.gate.admit import LOOKED_UP_SINGLY, Admitted, Answer, Claim, Faulted, Refused
from gatekeeper.gate.sessions import Admission
from gatekeeper.ports.devices import DeviceChange
from testkit.audit_log import connection
from testkit.reports import ALICE, BOB, MINUTE, NOTES, NOW, TIKTOK, phone, report

from .conftest import ALLOW, DENY, House

HOUR = timedelta(hours=1)
CERTIFICATE = ClientCertificate(sha256="00", san_uris=("urn:gatekeeper:device:ph-1",))


def _claim(account: str = ALICE, certificate: ClientCertificate | None = None) -> Claim:
    return Claim(connection=connection(), account=account, mechanism="PLAIN", certificate=certificate)


async def _open(house: House, account: str = ALICE, certificate: ClientCertificate | None = None) -> Admission:
    """Log in and be admitted; a cut ends the session, as its owner would."""
    answers: list[Answer] = []
    house.gate.admit(_claim(account, certificate), answers.append)
    await house.settled()
    (answer,) = answers
    assert isinstance(answer, Admitted), answer
    admission = answer.admission

    def cut() -> None:
        house.cuts.append(admission)
        house.gate.ended(admission, {"ended": "cut"})

    admission.cut = cut
    return admission


async def _register(house: House, *apps: object, account: str = ALICE, at: object = NOW) -> None:
    await house.registry.apply([report(phone("ph-1", account), *apps, at=at)], now=NOW)  # type: ignore[arg-type]


# New sessions.


async def test_a_clean_phone_is_admitted_after_its_record(house: House) -> None:
    """Never before the record is durable, and once."""
    await _register(house)
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    assert answers == []
    assert len(house.gate.sessions) == 0
    assert house.audit.codes == ["SESSION_ALLOWED"]
    house.audit.answer_all(durable=True)

    (answer,) = answers
    assert isinstance(answer, Admitted)
    assert house.gate.sessions.all() == (answer.admission,)
    assert answer.admission.decision.verdict is Verdict.ALLOW


async def test_a_phone_with_a_denied_app_is_refused_after_its_record(house: House) -> None:
    """With the words of the rule."""
    await _register(house, TIKTOK)
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    assert answers == []
    house.audit.answer_all(durable=True)

    (answer,) = answers
    assert isinstance(answer, Refused)
    assert answer.text == "TikTok is on this phone. Remove it."
    assert house.audit.codes == ["BLOCKED_APP"]
    assert len(house.gate.sessions) == 0


@pytest.mark.parametrize("apps", [(), (TIKTOK,)], ids=["clean", "denied"])
async def test_a_decision_that_cannot_be_recorded_is_a_fault(house: House, apps: tuple[object, ...]) -> None:
    """Whatever it was: nobody is admitted, and nobody is told a verdict, on a promise."""
    await _register(house, *apps)
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    house.audit.answer_all(durable=False)

    (answer,) = answers
    assert isinstance(answer, Faulted)
    assert len(house.gate.sessions) == 0


async def test_without_an_audit_log_nobody_is_decided_about(house: House) -> None:
    """A fault, at once."""
    await _register(house)
    house.audit.writable = False
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)

    assert [type(answer) for answer in answers] == [Faulted]
    assert house.audit.events == []


async def test_an_unknown_device_is_refused(house: House) -> None:
    """Nobody registered anything for that account."""
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    assert isinstance(answers[0], Refused)
    assert answers[0].text
    assert house.audit.codes == ["BLOCKED_UNKNOWN_DEVICE"]


async def test_what_memory_does_not_know_is_asked_of_the_store(house: House) -> None:
    """The answer comes later, once."""
    await _register(house)
    house.devices.is_cold = True
    house.devices.release.clear()
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    await house.devices.asking.wait()
    assert answers == []
    house.devices.release.set()
    await house.settled()

    assert [type(answer) for answer in answers] == [Admitted]


async def test_a_store_that_does_not_answer_is_a_fault(house: House) -> None:
    """Told once, as a temporary failure, never as a verdict."""
    house.registry.is_available = False
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    await house.settled()

    assert [type(answer) for answer in answers] == [Faulted]


async def test_a_store_that_hangs_is_a_fault_after_its_time(house: House) -> None:
    """The deadline is the gate's own."""
    house.gate.settings = type(house.gate.settings)(binding=house.gate.settings.binding, lookup_timeout_s=0.01)
    house.devices.is_cold = True
    house.devices.release.clear()
    told = asyncio.Event()
    answers: list[Answer] = []

    def answer(given: Answer) -> None:
        answers.append(given)
        told.set()

    house.gate.admit(_claim(), answer)
    async with asyncio.timeout(5):
        await told.wait()
    house.devices.release.set()
    await house.settled()
    assert [type(answer) for answer in answers] == [Faulted]


async def test_when_the_store_cannot_be_asked_any_more_it_is_a_fault(house: House) -> None:
    """While the process starts or ends."""
    house.gate._tasks = None
    house.devices.is_cold = True
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    assert [type(answer) for answer in answers] == [Faulted]


async def test_recorded_decisions_are_counted_once(house: House) -> None:
    """For the metrics: what was not recorded is not counted."""
    seen: list[Verdict] = []
    house.gate.decided = lambda _request, decision: seen.append(decision.verdict)
    await _register(house)
    house.gate.admit(_claim(), lambda _answer: None)
    house.audit.answers = False
    house.gate.admit(_claim(), lambda _answer: None)
    assert seen == [Verdict.ALLOW]


# Open sessions.


async def test_a_stricter_policy_cuts_the_sessions_that_no_longer_stand(house: House) -> None:
    """Those that stand go on with the new decision; each is recorded as revoked, once."""
    house.policy(ALLOW)
    await house.registry.apply([report(phone("ph-1"), TIKTOK), report(phone("ph-2", BOB))], now=NOW)
    bad, good = await _open(house), await _open(house, BOB)
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
    hers, his = await _open(house), await _open(house, BOB)
    await house.registry.apply([report(phone("ph-1"), TIKTOK, at=NOW + MINUTE)], now=NOW)

    assert house.cuts == [hers]
    assert house.gate.sessions.all() == (his,)


async def test_a_forgotten_device_cuts_the_session_of_its_certificate(house: House) -> None:
    """The device that the certificate names is no longer known."""
    await _register(house)
    admission = await _open(house, certificate=CERTIFICATE)
    await house.registry.forget(DeviceId("ph-1"))
    await house.settled()
    assert house.cuts == [admission]


async def test_a_device_that_changes_hands_cuts_the_old_owners_session(house: House) -> None:
    """Her session stood on that phone."""
    await _register(house)
    admission = await _open(house)
    await _register(house, account=BOB, at=NOW + MINUTE)
    assert house.cuts == [admission]


async def test_time_alone_cuts_a_session_whose_evidence_grows_stale(house: House) -> None:
    """At `valid_until`, not before: first it is warned of, then it no longer stands."""
    await _register(house)
    admission = await _open(house)
    assert admission.decision.valid_until == NOW + 24 * HOUR
    house.clock.instant = NOW + 24 * HOUR - MINUTE
    house.gate.tick()
    assert admission.decision.verdict is Verdict.ALLOW
    house.clock.instant = NOW + 24 * HOUR
    house.gate.tick()
    assert admission.decision.verdict is Verdict.WARN
    assert house.cuts == []
    house.clock.instant = NOW + 97 * HOUR
    house.gate.tick()
    assert house.cuts == [admission]
    house.gate.tick()
    assert house.audit.codes.count("SESSION_REVOKED") == 1


async def test_a_session_that_ends_by_itself_is_recorded_as_ended(house: House) -> None:
    """Its decision is not told again."""
    await _register(house)
    admission = await _open(house)
    house.gate.ended(admission, {"ended": "client", "octets_up": 3, "octets_down": 4})

    event = house.audit.events[-1]
    assert (event.code, event.decision) == (EventCode.SESSION_ENDED, None)
    assert dict(event.detail) == {"ended": "client", "octets_up": 3, "octets_down": 4}
    assert len(house.gate.sessions) == 0


async def test_a_change_while_the_record_is_written_is_not_missed(house: House) -> None:
    """What was decided is of yesterday by then: nothing is let through on it, and the session is decided anew."""
    await _register(house)
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    await _register(house, TIKTOK, at=NOW + MINUTE)
    for _ in range(3):
        house.audit.answer_all(durable=True)
        await house.settled()

    assert [type(answer) for answer in answers] == [Refused]
    assert len(house.gate.sessions) == 0


async def test_changes_that_never_end_do_not_keep_a_log_in_waiting(house: House) -> None:
    """After a bounded number of rounds the session begins, and is decided again like every open one."""
    await _register(house)
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    for round_number in range(1, 5):
        assert answers == []
        await _register(house, at=NOW + round_number * MINUTE)
        house.audit.answer_all(durable=True)
        await house.settled()

    assert [type(answer) for answer in answers] == [Admitted]


async def test_a_change_while_a_new_session_is_looked_up_is_not_missed(house: House) -> None:
    """The store answered with what the change has replaced."""
    await _register(house)
    house.devices.is_cold = True
    house.devices.release.clear()
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    await house.devices.asking.wait()
    await _register(house, TIKTOK, at=NOW + MINUTE)
    house.devices.release.set()
    await house.settled()

    assert [type(answer) for answer in answers] == [Refused]
    assert len(house.gate.sessions) == 0


async def test_an_undecidable_session_goes_on_for_its_grace_and_is_cut_then(house: House) -> None:
    """A fault of ours is not the person's; but not for ever."""
    await _register(house)
    admission = await _open(house)
    house.registry.is_available = False
    house.policy(DENY)
    await house.settled()
    house.clock.instant = NOW + 5 * MINUTE
    house.gate.tick()
    await house.settled()
    assert house.cuts == []
    house.clock.instant = NOW + 5 * MINUTE + timedelta(seconds=1)
    house.gate.tick()
    await house.settled()

    assert house.cuts == [admission]
    assert admission.decision.verdict is Verdict.UNAVAILABLE
    assert house.gate._undecided == {}


async def test_a_store_that_comes_back_within_the_grace_saves_the_session(house: House) -> None:
    """And the grace begins anew with the next fault."""
    await _register(house)
    await _open(house)
    house.registry.is_available = False
    house.policy(DENY)
    await house.settled()
    house.registry.is_available = True
    house.gate.tick()
    await house.settled()
    assert house.gate._undecided == {}
    house.clock.instant = NOW + HOUR
    house.registry.is_available = False
    house.policy(DENY)
    await house.settled()
    assert house.cuts == []


async def test_a_session_that_ended_while_it_was_looked_up_is_not_touched(house: House) -> None:
    """No second record, no count, nothing kept."""
    await _register(house)
    admission = await _open(house)
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
    assert house.gate._undecided == {}
    assert not admission.revoked


async def test_a_session_that_ended_while_the_store_was_down_is_not_kept(house: House) -> None:
    """Its look-up fails after its end."""
    await _register(house)
    admission = await _open(house)
    house.devices.release.clear()
    house.registry.is_available = False
    house.policy(DENY)
    await house.devices.asking.wait()
    house.gate.ended(admission, {"ended": "client"})
    house.devices.release.set()
    await house.settled()
    assert house.gate._undecided == {}


async def test_a_change_during_a_look_up_is_looked_up_again(house: House) -> None:
    """The first look-up read what the change has replaced: its answer alone would let the session go on."""
    await _register(house)
    admission = await _open(house)
    house.devices.is_cold = True
    house.devices.release.clear()
    house.gate.devices_changed((DeviceChange(DeviceId("ph-1"), ALICE),))
    await house.devices.asking.wait()
    await _register(house, TIKTOK, at=NOW + MINUTE)
    house.devices.release.set()
    await house.settled()

    assert house.cuts == [admission]
    assert house.devices.asked == 2


async def test_one_look_up_at_a_time_for_each_session(house: House) -> None:
    """Ticks while it is under way add nothing."""
    await _register(house)
    admission = await _open(house)
    house.devices.is_cold = True
    house.devices.release.clear()
    house.gate._undecided[admission] = NOW
    for _ in range(5):
        house.gate.tick()
    await house.settled()
    assert house.devices.asked == 1


async def test_an_unexpected_error_in_a_look_up_is_one_sessions_fault(house: House) -> None:
    """It is answered, and the gate goes on: the other look-ups are its siblings."""
    await _register(house)
    house.devices.is_cold = True
    house.devices.answers_with = RuntimeError("a bug")
    answers: list[Answer] = []
    house.gate.admit(_claim(), answers.append)
    await house.settled()
    assert answers == [Faulted("an unexpected error")]

    house.devices.answers_with = None
    house.gate.admit(_claim(), answers.append)
    await house.settled()
    assert isinstance(answers[-1], Admitted)


async def test_an_unexpected_error_leaves_an_open_session_its_grace(house: House) -> None:
    """As when the store does not answer."""
    await _register(house)
    admission = await _open(house)
    house.devices.is_cold = True
    house.devices.answers_with = RuntimeError("a bug")
    house.policy(DENY)
    await house.settled()
    assert house.cuts == []
    assert not admission.in_question
    house.clock.instant = NOW + 6 * MINUTE
    house.gate.tick()
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
    admissions = [await _open(house, who) for who in people]
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
    admissions = [await _open(house, who) for who in people]
    house.devices.is_cold, house.registry.is_available = True, False
    house.policy(DENY)
    await house.settled()
    assert not any(each.revoked for each in admissions)

    house.registry.is_available = True
    house.gate.tick()
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
    admissions = [await _open(house, who) for who in people]
    house.devices.is_cold = True
    monkeypatch.setattr(house.devices, "outlined", outlined)
    house.policy(DENY)
    await house.settled()
    assert house.cuts == []
    assert not any(each.in_question for each in admissions)

    monkeypatch.undo()
    house.gate.tick()
    await house.settled()
    assert all(each.revoked for each in admissions)
