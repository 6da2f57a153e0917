"""Reload with several workers: the parent reads and checks, every worker prepares, and only then all swap, or none.

A worker that dies meanwhile has no vote: its successor starts with what is in force then. One that has prepared and
does not say that it swapped is killed, for nobody may go on with what was replaced.
"""

import gc
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import structlog

from gatekeeper.server.reload import FAULTS, faults_of, restart_notes
from gatekeeper.server.workers.channel import Message
from gatekeeper.server.workers.estate import Estate, Successor
from gatekeeper.server.workers.questions import Answers, Questions
from gatekeeper.server.workers.slot import Slot

_log = structlog.get_logger("gatekeeper.reload")

PREPARED_WITHIN_S = 25.0
"""Looking up the mail servers' names is in it; the command line waits for 30 s."""
SWAPPED_WITHIN_S = 2.0

Asker = Callable[[dict[str, Any]], None] | None


class Reloading:
    """One at a time; those that are asked for meanwhile come after it, as one."""

    def __init__(
        self,
        estate: Estate,
        slots: Sequence[Slot],
        questions: Questions,
        over: Callable[[Message], None],
        *,
        kill: Callable[[Slot, str], None],
    ) -> None:
        """`over` is told of the outcome."""
        self._estate = estate
        self._slots = slots
        self._questions = questions
        self._over = over
        self._kill = kill
        self._asked: deque[Asker] = deque()
        self._askers: list[Asker] = []
        self.is_under_way = False

    def ask(self, asker: Asker) -> None:
        """Reload when nothing else is going on; `asker` hears of the outcome."""
        self._asked.append(asker)

    def go_on(self, *, may_begin: bool) -> None:
        """Begin with what is asked for, if it is time."""
        if not self._asked or self.is_under_way or not may_begin:
            return
        self._askers = list(self._asked)
        self._asked.clear()
        self.is_under_way = True
        try:
            successor = self._estate.prepare()
        except FAULTS as error:
            self._end(faults_of(error), None)
            return
        names = list(successor.sockets)
        self._questions.ask(
            [slot for slot in self._slots if slot.is_ready],
            "prepare",
            {"fingerprint": successor.fingerprint, "taken": successor.taken, "names": names},
            deadline=monotonic() + PREPARED_WITHIN_S,
            then=lambda answers: self._prepared(successor, answers),
            sockets={slot.number: [successor.sockets[name][slot.number - 1] for name in names] for slot in self._slots},
        )

    def _prepared(self, successor: Successor, answers: Answers) -> None:
        faults: list[str] = []
        for slot in self._slots:
            if slot.is_ready and slot.number in answers:
                answer = answers[slot.number]
                found = [f"worker {slot.number} does not answer"] if answer is None else answer.get("faults", [])
                faults += (fault for fault in found if fault not in faults)
        if faults:
            for slot in self._slots:
                slot.send(Message("abandon"))
            self._estate.abandon(successor)
            self._end(tuple(faults), None)
            return
        notes = (*successor.settings.notes, *restart_notes(self._estate.settings, successor.settings))
        self._estate.adopt(successor)
        self._questions.ask(
            [slot for slot in self._slots if slot.is_ready],
            "commit",
            None,
            deadline=monotonic() + SWAPPED_WITHIN_S,
            then=lambda answers: self._swapped(notes, answers),
        )

    def _swapped(self, notes: tuple[str, ...], answers: Answers) -> None:
        for slot in self._slots:
            if slot.is_ready and answers.get(slot.number) is None:
                self._kill(slot, "did not put the new configuration in force")
        gc.collect()
        gc.freeze()  # what the next worker inherits
        self._end((), notes)

    def _end(self, faults: tuple[str, ...], notes: tuple[str, ...] | None) -> None:
        self.is_under_way = False
        body: dict[str, Any] = {
            "faults": list(faults),
            "notes": list(notes or ()),
            "policy_sha256": self._estate.source.policy.sha256,
        }
        self._over(Message("rejected" if faults else "reloaded", 0, body))
        askers, self._askers = self._askers, []
        for asker in askers:
            if asker is not None:
                asker(body)
