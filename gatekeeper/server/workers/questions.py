"""Questions to all workers at once, and their answers, gathered until a deadline."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from socket import socket
from typing import Any

from gatekeeper.server.workers.channel import Message
from gatekeeper.server.workers.slot import Slot

Answers = dict[int, Any]
"""By the worker's number; None: it did not answer, or died."""
_NO_SOCKETS: Mapping[int, Sequence[socket]] = {}


@dataclass(slots=True)
class _Round:
    waiting: set[int]
    answers: Answers
    deadline: float
    then: Callable[[Answers], None]


class Questions:
    """Those under way."""

    def __init__(self) -> None:
        self._number = 0
        self._rounds: dict[int, _Round] = {}

    def ask(
        self,
        slots: Iterable[Slot],
        what: str,
        body: Any,
        *,
        deadline: float,
        then: Callable[[Answers], None],
        sockets: Mapping[int, Sequence[socket]] = _NO_SOCKETS,
    ) -> None:
        """Ask; `then` is called once, with an answer or None of each, at the deadline at the latest."""
        self._number += 1
        found = _Round(set(), {}, deadline, then)
        for slot in slots:
            found.answers[slot.number] = None
            if slot.send(Message(what, self._number, body), sockets.get(slot.number, ())):
                found.waiting.add(slot.number)
        self._rounds[self._number] = found
        self._close_done()

    def answered(self, worker: int, message: Message) -> None:
        """An answer came."""
        found = self._rounds.get(message.number)
        if found is not None and worker in found.waiting:
            found.answers[worker] = message.body
            found.waiting.discard(worker)
            self._close_done()

    def lost(self, worker: int) -> None:
        """No answers will come from there."""
        for found in self._rounds.values():
            found.waiting.discard(worker)
        self._close_done()

    def sweep(self, now: float) -> None:
        """End what has waited for too long."""
        for found in self._rounds.values():
            if found.deadline <= now:
                found.waiting.clear()
        self._close_done()

    @property
    def next_deadline(self) -> float | None:
        """When `sweep` has something to do."""
        return min((found.deadline for found in self._rounds.values()), default=None)

    def _close_done(self) -> None:
        for number in [number for number, found in self._rounds.items() if not found.waiting]:
            found = self._rounds.pop(number, None)
            if found is not None:
                found.then(found.answers)
