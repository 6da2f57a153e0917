"""What the audit log says by itself: that nothing happened for a while, and that the clock was set.

Inside holds: silence that is longer than the heartbeat's interval is a gate that did not run, or a log that was cut; a
step of the clock by more than `STEP_S` within half of it is on record, forwards as well as backwards.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.ports.clock import Clock

STEP_S = 10.0
"""Clocks that are kept by NTP are slewed by half a millisecond a second at most; more is somebody's doing."""


class Pulse:
    """Beats on the event loop until it is stopped."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        say: Callable[[Event], object],
        *,
        position: Callable[[], int | None],
        clock: Clock,
        monotonic: Callable[[], float],
        every_s: float,
    ) -> None:
        """`position`: how far the log is, None while it cannot be written."""
        self._loop = loop
        self._say = say
        self._position = position
        self._clock = clock
        self._monotonic = monotonic
        self._pause_s = every_s / 2  # looking twice as often as needed makes it often enough
        self._seen: int | None = None
        self._looked = clock.now(), monotonic()
        self._timer = loop.call_later(self._pause_s, self._beat)

    def stop(self) -> None:
        """Say nothing more."""
        self._timer.cancel()

    def _beat(self) -> None:
        now = self._clock.now()
        self._look_at_the_clock(now)
        position = self._position()
        if position is not None and position == self._seen:
            self._say(Event(code=EventCode.LOG_HEARTBEAT, time=now))
            position = self._position()
        self._seen = position
        self._timer = self._loop.call_later(self._pause_s, self._beat)

    def _look_at_the_clock(self, now: datetime) -> None:
        then, then_s = self._looked
        now_s = self._monotonic()
        self._looked = now, now_s
        expected = then + timedelta(seconds=now_s - then_s)
        step_s = (now - expected).total_seconds()
        if abs(step_s) >= STEP_S:
            detail: dict[str, str | int] = {
                "step_s": round(step_s),
                "expected": expected.isoformat(timespec="milliseconds"),
            }
            self._say(Event(code=EventCode.CLOCK_STEPPED, time=now, detail=detail))
