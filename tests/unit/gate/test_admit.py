"""Admission of new sessions."""

import asyncio
import dataclasses

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.domain.decision import Verdict
from gatekeeper.gate.admit import Admitted, Answer, Faulted, Refused
from testkit.reports import MINUTE, NOW, TIKTOK

from .conftest import House, claim


async def test_a_clean_phone_is_admitted_after_its_record(house: House) -> None:
    """Never before the record is durable, and once."""
    await house.register()
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
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
    await house.register(TIKTOK)
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
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
    await house.register(*apps)
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
    house.audit.answer_all(durable=False)

    (answer,) = answers
    assert isinstance(answer, Faulted)
    assert len(house.gate.sessions) == 0


async def test_without_an_audit_log_nobody_is_decided_about(house: House) -> None:
    """A fault, at once."""
    await house.register()
    house.audit.writable = False
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)

    assert [type(answer) for answer in answers] == [Faulted]
    assert house.audit.events == []


async def test_an_unknown_device_is_refused(house: House) -> None:
    """Nobody registered anything for that account."""
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
    assert isinstance(answers[0], Refused)
    assert answers[0].text
    assert house.audit.codes == ["BLOCKED_UNKNOWN_DEVICE"]


async def test_what_memory_does_not_know_is_asked_of_the_store(house: House) -> None:
    """The answer comes later, once."""
    await house.register()
    house.devices.is_cold = True
    house.devices.release.clear()
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
    await house.devices.asking.wait()
    assert answers == []
    house.devices.release.set()
    await house.settled()

    assert [type(answer) for answer in answers] == [Admitted]


async def test_a_store_that_does_not_answer_is_a_fault(house: House) -> None:
    """Told once, as a temporary failure, never as a verdict."""
    house.registry.is_available = False
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
    await house.settled()

    assert [type(answer) for answer in answers] == [Faulted]


async def test_a_store_that_hangs_is_a_fault_after_its_time(house: House) -> None:
    """The deadline is the gate's own."""
    house.gate.replace_settings(dataclasses.replace(house.gate.settings, lookup_timeout_s=0.01))
    house.devices.is_cold = True
    house.devices.release.clear()
    told = asyncio.Event()
    answers: list[Answer] = []

    def answer(given: Answer) -> None:
        answers.append(given)
        told.set()

    house.gate.admit(claim(), answer)
    async with asyncio.timeout(30):
        await told.wait()
    house.devices.release.set()
    await house.settled()
    assert [type(answer) for answer in answers] == [Faulted]


async def test_when_the_store_cannot_be_asked_any_more_it_is_a_fault(house: House) -> None:
    """While the process starts or ends."""
    house.gate._tasks = None
    house.devices.is_cold = True
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
    assert [type(answer) for answer in answers] == [Faulted]


async def test_recorded_decisions_are_counted_once(house: House) -> None:
    """For the metrics: what was not recorded is not counted."""
    seen: list[Verdict] = []
    house.gate.decided = lambda _request, decision: seen.append(decision.verdict)
    await house.register()
    house.gate.admit(claim(), lambda _answer: None)
    house.audit.answers = False
    house.gate.admit(claim(), lambda _answer: None)
    assert seen == [Verdict.ALLOW]


async def test_a_session_that_ends_by_itself_is_recorded_as_ended(house: House) -> None:
    """Its decision is not told again."""
    await house.register()
    admission = await house.open()
    house.gate.ended(admission, {"ended": "client", "octets_up": 3, "octets_down": 4})

    event = house.audit.events[-1]
    assert (event.code, event.decision) == (EventCode.SESSION_ENDED, None)
    assert dict(event.detail) == {"ended": "client", "octets_up": 3, "octets_down": 4}
    assert len(house.gate.sessions) == 0


async def test_a_change_while_the_record_is_written_is_not_missed(house: House) -> None:
    """What was decided is of yesterday by then: nothing is let through on it, and the session is decided anew."""
    await house.register()
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
    await house.register(TIKTOK, at=NOW + MINUTE)
    for _ in range(3):
        house.audit.answer_all(durable=True)
        await house.settled()

    assert [type(answer) for answer in answers] == [Refused]
    assert len(house.gate.sessions) == 0


async def test_changes_that_never_end_do_not_keep_a_log_in_waiting(house: House) -> None:
    """After a bounded number of rounds the session begins, and is decided again like every open one."""
    await house.register()
    house.audit.answers = None
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
    for round_number in range(1, 5):
        assert answers == []
        await house.register(at=NOW + round_number * MINUTE)
        house.audit.answer_all(durable=True)
        await house.settled()

    assert [type(answer) for answer in answers] == [Admitted]


async def test_a_change_while_a_new_session_is_looked_up_is_not_missed(house: House) -> None:
    """The store answered with what the change has replaced."""
    await house.register()
    house.devices.is_cold = True
    house.devices.release.clear()
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
    await house.devices.asking.wait()
    await house.register(TIKTOK, at=NOW + MINUTE)
    house.devices.release.set()
    await house.settled()

    assert [type(answer) for answer in answers] == [Refused]
    assert len(house.gate.sessions) == 0


async def test_an_unexpected_error_in_a_look_up_is_one_sessions_fault(house: House) -> None:
    """It is answered, and the gate goes on: the other look-ups are its siblings."""
    await house.register()
    house.devices.is_cold = True
    house.devices.answers_with = RuntimeError("a bug")
    answers: list[Answer] = []
    house.gate.admit(claim(), answers.append)
    await house.settled()
    assert answers == [Faulted("an unexpected error")]

    house.devices.answers_with = None
    house.gate.admit(claim(), answers.append)
    await house.settled()
    assert isinstance(answers[-1], Admitted)
