"""Things that are due at instants of their own, without a timer or a coroutine each.

`Deadlines` is for many owners with one and the same allowance; here every owner says when. One sweep a tick looks at
what is due. An owner waits for one thing at a time.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST_GONE = 64
"""Entries of owners that did not wait for their time, before they are looked for and thrown out."""


class Holds(Generic[T]):
    """Owners that wait, each with what is to be called when its time has come."""

    __slots__ = ("_due", "_heap", "_number")

    def __init__(self) -> None:
        self._due: dict[T, tuple[int, Callable[[], None]]] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, owner: T) -> bool:
        return owner in self._due

    def add(self, owner: T, at: float, then: Callable[[], None]) -> None:
        """Call `then` at the first sweep at or after `at` (monotonic seconds); replaces what `owner` waited for."""
        self._number += 1
        self._due[owner] = (self._number, then)
        heappush(self._heap, (at, self._number, owner))

    def discard(self, owner: T) -> None:
        """`owner` waits no longer."""
        self._due.pop(owner, None)
        if len(self._heap) > 2 * len(self._due) + _MOST_GONE:
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapify(self._heap)

    def sweep(self, now: float) -> None:
        """Call what is due, the longest due first."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heappop(self._heap))
        for entry in due:
            if self._is_current(entry):  # asked here: whoever was called before may have ended another
                _, then = self._due.pop(entry[2])
                then()

    def _is_current(self, entry: tuple[float, int, T]) -> bool:
        waiting = self._due.get(entry[2])
        return waiting is not None and waiting[0] == entry[1]
