"""Who must have a record before a session goes on: `audit.required`.

Inside holds: an answer is given exactly once. It is True only when the local log had the record and as many remotes as
are required have acknowledged every record up to it; it is False when they did not within the timeout, or when too many
wait already. What is held is bounded. While the remotes are not up to date no session begins; that ends by itself.

Records are counted from the first of the log: "having N records" is having those with the numbers 0 to N-1.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

Answer = Callable[[bool], object]


class Required(StrEnum):
    """Who must have a record before a session goes on."""

    LOCAL = "local"
    """The log on this machine; remotes get it when they can."""
    REMOTE = "remote"
    """The log on this machine, and at least one remote."""
    ANY = "any"
    """The log on this machine, or, while that cannot be written, at least one remote."""
    ALL = "all"
    """The log on this machine, and every remote."""


class Acknowledging(Protocol):
    """A remote, as seen from here."""

    name: str
    acknowledged: int
    """How many records it has said that it has."""
    fault: str | None

    @property
    def is_current(self) -> bool:
        """Whether it is known to have all that became durable up to a short while ago."""
        ...

    def hurry(self) -> None:
        """Somebody waits."""
        ...


class _Held(NamedTuple):
    records: int
    """How many a remote must have."""
    people: int
    """Who wait for that."""
    until: float
    answer: Answer


class Quorum:
    """Holds answers back until enough remotes have the records."""

    def __init__(
        self, required: Required, *, timeout_s: float, monotonic: Callable[[], float], most: int = 10_000
    ) -> None:
        """`most`: so many may wait; `required` is `REMOTE` or `ALL`: the others do not wait for what the disk took."""
        self.timeout_s = timeout_s
        self._enough: Callable[[Sequence[int]], int] = min if required is Required.ALL else max
        self._are_enough = all if required is Required.ALL else any
        self._words = "not every remote" if required is Required.ALL else "no remote"
        self._monotonic = monotonic
        self._most = most
        self._remotes: tuple[Acknowledging, ...] = ()
        self._lock = threading.Lock()
        self._held: deque[_Held] = deque()
        self._waiting = 0
        self._is_closed = False

    def watch(self, remotes: Sequence[Acknowledging]) -> None:
        """These are the remotes; before that none has anything."""
        self._remotes = tuple(remotes)

    def hold(self, records: int, count: int, answer: Answer) -> None:
        """`records` are durable here: answer the `count` who wait for that once they are elsewhere too. Any thread."""
        is_recorded = is_held = False
        with self._lock:
            if self._reached() >= records:
                is_recorded = True
            elif not self._is_closed and self._waiting + count <= self._most:
                self._held.append(_Held(records, count, self._monotonic() + self.timeout_s, answer))
                self._waiting += count
                is_held = True
        if not is_held:
            answer(is_recorded)
            return
        for remote in self._remotes:
            remote.hurry()

    def advanced(self) -> None:
        """A remote has acknowledged more. Any thread."""
        with self._lock:
            reached = self._reached()
            answers = []
            while self._held and self._held[0].records <= reached:
                answers.append(self._take())
        for answer in answers:
            answer(True)  # noqa: FBT003  the port's answer

    def expire(self) -> None:
        """Called now and then: who has waited for too long is answered False."""
        now = self._monotonic()
        with self._lock:
            answers = []
            while self._held and self._held[0].until <= now:
                answers.append(self._take())
        for answer in answers:
            answer(False)  # noqa: FBT003  the port's answer

    def close(self) -> None:
        """Nobody will acknowledge any more."""
        with self._lock:
            self._is_closed = True
            answers = [self._take() for _ in range(len(self._held))]
        for answer in answers:
            answer(False)  # noqa: FBT003  the port's answer

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting

    @property
    def is_met(self) -> bool:
        """Whether a session could be recorded as required."""
        return bool(self._remotes) and self._are_enough(remote.is_current for remote in self._remotes)

    @property
    def fault(self) -> str | None:
        """Why not, for operators."""
        if self.is_met:
            return None
        late = "; ".join(
            f"{remote.name}: {remote.fault or 'is behind'}" for remote in self._remotes if not remote.is_current
        )
        return f"{self._words} has acknowledged the last records ({late})"

    def _reached(self) -> int:
        return self._enough([remote.acknowledged for remote in self._remotes] or [0])

    def _take(self) -> Answer:
        held = self._held.popleft()
        self._waiting -= held.people
        return held.answer
