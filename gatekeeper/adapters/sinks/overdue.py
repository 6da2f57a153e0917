"""What is to be done when the disk does not answer, or takes nothing: give up for those who wait, keep the rest.

Inside holds: nobody waits for longer than the stall limit, and a bit; what nobody waits for is written when the log can
be written again, a little at a time; while nothing is unanswered or kept, nothing runs.
"""

import asyncio
from typing import Protocol

from gatekeeper.adapters.sinks.answers import Answers
from gatekeeper.adapters.sinks.kept import Kept
from gatekeeper.audit.event import Event

_AT_ONCE = 256
"""Kept events that are encoded in one go: some ten milliseconds."""
_PAUSE_S = 0.05
_LOOKS_A_STALL = 4
"""How often within the stall limit it is looked whether the disk answers."""


class Disk(Protocol):
    """The log, as seen from here."""

    @property
    def is_stalled(self) -> bool:
        """Whether it has not answered for longer than the stall limit."""
        ...

    @property
    def is_local_writable(self) -> bool:
        """Whether it takes records."""
        ...

    def append(self, event: Event) -> None:
        """Record it."""
        ...


class Overdue:
    """Looks after one log, on the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, disk: Disk, stall_limit_s: float) -> None:
        self.kept = Kept()
        self.answers = Answers(loop, self.kept)
        self._loop = loop
        self._disk = disk
        self._stall_limit_s = stall_limit_s
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False

    def keep(self, event: Event) -> None:
        """It cannot be written, and nobody waits for it."""
        self.kept.add(event)
        self.look()

    def look(self) -> None:
        """There may be something to look after: soon."""
        if self._timer is None and not self._is_stopped:
            pause_s = self._stall_limit_s / _LOOKS_A_STALL
            pause_s = min(pause_s, _PAUSE_S) if self.kept and self._disk.is_local_writable else pause_s
            self._timer = self._loop.call_later(pause_s, self._look)

    def write_all(self) -> None:
        """Write what is kept, at once."""
        self._write(len(self.kept))

    def stop(self) -> None:
        """Look no more."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self.answers and self._disk.is_stalled:
            self.answers.give_up()
        if self.kept and self._disk.is_local_writable:
            self._write(_AT_ONCE)
        if self.answers or self.kept:
            self.look()

    def _write(self, count: int) -> None:
        for event in self.kept.take(count):
            self._disk.append(event)
