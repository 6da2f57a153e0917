"""The log's own records: heartbeats in silence, steps of the clock."""

import asyncio
from datetime import timedelta

from gatekeeper.adapters.sinks.pulse import STEP_S, Pulse
from gatekeeper.audit.event import Event, EventCode
from testkit.audit_log import NOW, StandingClock


class Log:
    """Counts what is said, and drives both clocks by one beat at a time."""

    def __init__(self) -> None:
        self.said: list[Event] = []
        self.position: int | None = 0
        self.clock = StandingClock()
        self.seconds = 1000.0
        self.pulse = Pulse(
            asyncio.get_running_loop(),
            self._say,
            position=lambda: self.position,
            clock=self.clock,
            monotonic=lambda: self.seconds,
            every_s=60.0,
        )

    def _say(self, event: Event) -> None:
        self.said.append(event)
        if self.position is not None:
            self.position += 1

    def beat(self, step: float = 0.0) -> None:
        """Thirty seconds later; the wall clock goes `step` further."""
        self.seconds += 30.0
        self.clock.instant += timedelta(seconds=30.0 + step)
        self.pulse._beat()

    @property
    def codes(self) -> list[EventCode]:
        return [event.code for event in self.said]


async def test_a_heartbeat_comes_only_in_silence() -> None:
    """At each look since when nothing else was recorded."""
    log = Log()
    log.beat()
    assert log.codes == []
    log.beat()
    log.beat()
    assert log.codes == [EventCode.LOG_HEARTBEAT] * 2
    log.position = 100
    log.beat()
    assert log.codes == [EventCode.LOG_HEARTBEAT] * 2
    log.beat()
    assert log.codes == [EventCode.LOG_HEARTBEAT] * 3
    log.pulse.stop()


async def test_a_log_that_cannot_be_written_has_no_pulse() -> None:
    """It begins again when it can."""
    log = Log()
    log.position = None
    for _ in range(3):
        log.beat()
    assert log.codes == []
    log.position = 7
    log.beat()
    log.beat()
    assert log.codes == [EventCode.LOG_HEARTBEAT]
    log.pulse.stop()


async def test_a_clock_that_is_set_is_on_record() -> None:
    """Forwards and back, once each, with what was expected; what is slewed is not."""
    log = Log()
    log.beat(step=STEP_S - 0.1)
    assert log.codes == []
    log.beat(step=-3600)
    log.beat(step=86_400)
    steps = [event for event in log.said if event.code is EventCode.CLOCK_STEPPED]
    assert [event.detail["step_s"] for event in steps] == [-3600, 86_400]
    expected = NOW + timedelta(seconds=60 + STEP_S - 0.1)
    assert steps[0].detail["expected"] == expected.isoformat(timespec="milliseconds")
    assert steps[0].time == expected - timedelta(hours=1)
    log.pulse.stop()
