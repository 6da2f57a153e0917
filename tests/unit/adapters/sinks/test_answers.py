"""Who is owed an answer gets exactly one, in order; what is lost and nobody waits for is kept."""

import asyncio

from gatekeeper.adapters.sinks.answers import Answers
from gatekeeper.adapters.sinks.kept import Kept
from testkit.audit_log import event


async def test_answers_come_in_the_order_of_the_lines() -> None:
    """Each once; an event that is recorded is not kept."""
    kept, got = Kept(), list[tuple[str, bool]]()
    answers = Answers(asyncio.get_running_loop(), kept)
    answers.owe(event("a"), lambda yes: got.append(("a", yes)))
    answers.owe(event("b"), None)
    answers.owe(event("c"), lambda yes: got.append(("c", yes)))
    assert len(answers) == 3
    answers.tell(answers.settle(2, is_recorded=True), is_recorded=True)
    answers.tell(answers.settle(1, is_recorded=False), is_recorded=False)
    assert got == [("a", True), ("c", False)]
    assert (len(answers), len(kept)) == (0, 0)


async def test_a_lost_event_that_nobody_waits_for_is_kept() -> None:
    """Whoever waits is told instead."""
    kept, got = Kept(), list[bool]()
    answers = Answers(asyncio.get_running_loop(), kept)
    answers.owe(event("a"), got.append)
    answers.owe(event("b"), None)
    assert answers.settle(2, is_recorded=False) == [got.append]
    assert got == []
    assert kept.take(2) == [event("b")]


async def test_whom_it_gave_up_is_not_told_again() -> None:
    """False at once, whatever becomes of the line; those who come later are told the truth."""
    kept, got = Kept(), list[tuple[str, bool]]()
    answers = Answers(asyncio.get_running_loop(), kept)
    answers.owe(event("a"), lambda yes: got.append(("a", yes)))
    answers.owe(event("b"), None)
    answers.give_up()
    assert got == [("a", False)]
    answers.owe(event("c"), lambda yes: got.append(("c", yes)))
    answers.tell(answers.settle(3, is_recorded=True), is_recorded=True)
    assert got == [("a", False), ("c", True)]
    assert len(kept) == 0


async def test_a_callback_that_raises_does_not_stop_the_others() -> None:
    """Neither when lines are settled nor when it is given up."""
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    answers, got = Answers(loop, Kept()), list[bool]()

    def raises(_: bool) -> None:
        raise ZeroDivisionError

    for recorded in (raises, got.append):
        answers.owe(event(), recorded)
    answers.give_up()
    await asyncio.sleep(0)
    assert got == [False]
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
