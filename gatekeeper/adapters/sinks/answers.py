"""Whom the audit log still owes an answer, on the event loop's thread.

Inside holds: whoever waits is told exactly once, in the order of the lines; an event that nobody waits for and that is
lost is kept, to be written later; an error in a callback is its owner's, and keeps nobody else from an answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from gatekeeper.adapters.sinks.kept import Kept
from gatekeeper.audit.event import Event

Recorded = Callable[[bool], None]


class Answers:
    """One entry for each line that is not settled yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kept: Kept) -> None:
        self._loop = loop
        self._kept = kept
        self._owed: deque[Recorded | Event | None] = deque()
        """Whom to tell, or what to keep if it is lost; None: was told already."""

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, event: Event, recorded: Recorded | None) -> None:
        """A line was made of `event`."""
        self._owed.append(recorded or event)

    def settle(self, count: int, *, is_recorded: bool) -> list[Recorded]:
        """The next `count` lines are durable, or never will be; returns who waits to be told."""
        settled = [self._owed.popleft() for _ in range(count)]
        if not is_recorded:
            for event in settled:
                if isinstance(event, Event):
                    self._kept.add(event)
        return _waiting(settled)

    def tell(self, waiting: Iterable[Recorded], *, is_recorded: bool) -> None:
        """Call back; one that raises goes to the loop's handler and does not keep the others from their answer."""
        self._tell(iter(waiting), is_recorded)

    def give_up(self) -> None:
        """Tell everybody who waits False now; what becomes of the lines is not told any more."""
        owed = self._owed
        self._owed = deque(one if isinstance(one, Event) else None for one in owed)
        self.guarded(lambda: self._tell(iter(_waiting(owed)), is_recorded=False))

    def guarded(self, call: Callable[[], object]) -> None:
        """An error in a callback is reported, and the loop goes on."""
        try:
            call()
        except Exception as error:  # noqa: BLE001  the guard of what comes from the writer's thread
            self._loop.call_exception_handler({"message": "a recorded event's callback failed", "exception": error})

    def _tell(self, waiting: Iterator[Recorded], is_recorded: bool) -> None:
        for recorded in waiting:
            try:
                recorded(is_recorded)
            except BaseException:
                self._loop.call_soon(self._tell, waiting, is_recorded)
                raise


def _waiting(owed: Iterable[Recorded | Event | None]) -> list[Recorded]:
    return [one for one in owed if one is not None and not isinstance(one, Event)]
