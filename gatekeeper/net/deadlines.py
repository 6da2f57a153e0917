"""Absolute deadlines that all last equally long: constant-time to set, to clear and to sweep.

One timer of the event loop for each connection would cost more than the connection's own state. Here the owners stand
in the order of their deadlines, and one sweep a tick looks at the oldest only.
"""

import math
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Owners with a deadline `after_s` seconds after they were added."""

    __slots__ = ("_expired", "_owners", "after_s")

    def __init__(self, after_s: float, expired: Callable[[T], None]) -> None:
        self.after_s = after_s
        self._expired = expired
        self._owners: dict[T, float] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, owner: T) -> bool:
        return owner in self._owners

    def add(self, owner: T, now: float) -> None:
        """Start `owner`'s deadline; monotonic seconds. Adding again starts it anew."""
        self._owners.pop(owner, None)
        self._owners[owner] = now + self.after_s

    def discard(self, owner: T) -> None:
        """`owner` made it in time."""
        self._owners.pop(owner, None)

    def sweep(self, now: float) -> None:
        """Call `expired` for every owner whose deadline has passed."""
        late = []
        for owner, at in self._owners.items():
            if at > now:
                break
            late.append(owner)
        for owner in late:
            # An owner that expires may have ended, or given more time to, another late one.
            if self._owners.get(owner, math.inf) <= now:
                del self._owners[owner]
                self._expired(owner)

    def oldest(self, count: int) -> list[T]:
        """At most so many owners, oldest first."""
        return list(islice(self._owners, count))

    def owners(self) -> tuple[T, ...]:
        """A snapshot, oldest first."""
        return tuple(self._owners)
