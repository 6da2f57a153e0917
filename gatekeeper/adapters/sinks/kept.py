"""Events that nobody waits for and that could not be written: kept until the audit log can be written again.

Inside holds: memory is bounded; no event is dropped uncounted. What there is no room for is counted, by code and
listener, in one event each: the sum of `count` over the records of a code stays the number of what happened.
"""

from collections import deque
from dataclasses import replace

from gatekeeper.audit.event import Event, EventCode

MAX_EVENTS = 4096
"""At about 1 KiB each."""
_COUNTED_DETAIL = {"kept": "counted"}


class Kept:
    """In the order in which they happened; the counted ones come last."""

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._events: deque[Event] = deque()
        self._counted: dict[tuple[EventCode, str], Event] = {}
        """As many as there are codes and listeners, at most."""

    def __len__(self) -> int:
        return len(self._events) + len(self._counted)

    def add(self, event: Event) -> None:
        """Keep it, or count it."""
        if len(self._events) < self._max_events:
            self._events.append(event)
            return
        key = (event.code, "" if event.connection is None else event.connection.listener)
        before = self._counted.get(key)
        first = event if before is None else before
        # Of many people, of whom none is named: the connection is that of the last one, for its listener.
        self._counted[key] = replace(
            event,
            account=None,
            mechanism=None,
            decision=None,
            count=event.count + (0 if before is None else before.count),
            start_time=first.start_time or first.time,
            detail=_COUNTED_DETAIL,
        )

    def take(self, count: int) -> list[Event]:
        """Up to `count` of them, which are no longer kept."""
        found = [self._events.popleft() for _ in range(min(count, len(self._events)))]
        counted = list(self._counted)[: count - len(found)]
        return found + [self._counted.pop(key) for key in counted]
