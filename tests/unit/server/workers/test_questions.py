"""Questions to all workers: one answer or None of each, once, at the deadline at the latest."""

from gatekeeper.server.workers.channel import Message, pair
from gatekeeper.server.workers.questions import Answers, Questions
from gatekeeper.server.workers.slot import Slot


def test_every_worker_answers_dies_or_is_given_up() -> None:
    """The asker hears once."""
    questions, heard = Questions(), list[Answers]()
    slots, far_ends = [Slot(number) for number in range(1, 5)], []
    for slot in slots[:3]:
        ours, theirs = pair()
        slot.begin(slot.number, ours, 0.0)
        far_ends.append(theirs)
    questions.ask(slots, "checks", None, deadline=10.0, then=heard.append)
    (asked,) = far_ends[0].receive()
    assert (asked.kind, questions.next_deadline) == ("checks", 10.0)

    questions.answered(1, Message("answer", asked.number, {"audit": "ok"}))
    questions.answered(1, Message("answer", asked.number, {"audit": "said twice"}))
    questions.answered(2, Message("answer", asked.number + 1, "to another question"))
    questions.lost(2)
    questions.sweep(9.9)
    assert heard == []
    questions.sweep(10.0)
    questions.answered(3, Message("answer", asked.number, "too late"))
    assert heard == [{1: {"audit": "ok"}, 2: None, 3: None, 4: None}]
    assert questions.next_deadline is None
    for slot, theirs in zip(slots, far_ends, strict=False):
        slot.end(0, 0.0)
        theirs.close()


def test_nobody_to_ask_is_an_answer() -> None:
    """At once."""
    heard = list[Answers]()
    Questions().ask([], "checks", None, deadline=10.0, then=heard.append)
    assert heard == [{}]
