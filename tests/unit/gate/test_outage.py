"""Open sessions while the audit log cannot be written: they stay, leave politely, or are cut; and the record of it."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.gate.outage import LEAST_ENDED_A_TICK, Existing, Outage, share
from gatekeeper.net.poller import Poller
from gatekeeper.net.relay import Ended, Relay, Relayed
from testkit.loops import Kept, tcp_pair, transport_on

NOW = datetime(2020, 7, 10, 17, tzinfo=UTC)
DRAIN_S = 10.0


class Log:
    """An audit log that can be written when the test says so."""

    def __init__(self) -> None:
        self.writable = True
        self.events: list[Event] = []

    @property
    def fault(self) -> str | None:
        return None if self.writable else "no space left on device"

    def append(self, event: Event, recorded: Callable[[bool], None] | None = None) -> None:
        assert self.writable
        self.events.append(event)


class Clock:
    def now(self) -> datetime:
        return NOW


class Bed:
    """Sessions over sockets, a log, and a clock to drive."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.log = Log()
        self.seconds = 0.0
        self.ended: list[Ended] = []
        self.last_words = b"* BYE\r\n"

    def outage(self, existing: Existing) -> Outage:
        return Outage(
            audit=self.log, relay=self.relay, clock=Clock(), monotonic=lambda: self.seconds, existing=existing
        )

    def session_ended(self, relayed: Relayed, why: Ended, error: Exception | None) -> None:
        self.ended.append(why)


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    """Three sessions."""
    poller = Poller()
    bed = Bed(Relay(poller))
    far_ends = []
    for _ in range(3):
        sides = []
        for _ in range(2):
            near, far = tcp_pair()
            far_ends.append(far)
            sides.append(transport_on(near, Kept(), poller).detach())
        bed.relay.begin(sides[0], sides[1], bed)
    yield bed
    bed.relay.end_all(Ended.DRAINED)
    for far in far_ends:
        far.close()
    poller.close()


async def test_while_the_log_is_written_nothing_happens(bed: Bed) -> None:
    """No record, no end."""
    bed.outage(Existing.DROP).tick(DRAIN_S)
    assert (len(bed.relay), bed.log.events) == (3, [])


async def test_kept_sessions_go_on(bed: Bed) -> None:
    """However long it takes; afterwards one record says how long, why, and that nobody was cut."""
    outage = bed.outage(Existing.KEEP)
    bed.log.writable = False
    for bed.seconds in (100.0, 200.0, 4000.0):
        outage.tick(DRAIN_S)
    assert len(bed.relay) == 3
    bed.log.writable = True
    outage.tick(DRAIN_S)
    outage.tick(DRAIN_S)
    (event,) = bed.log.events
    assert event.code is EventCode.LOG_INTERRUPTED
    assert event.detail == {
        "interrupted_since": "2020-07-10T17:00:00.000+00:00",
        "seconds": 3900,
        "reason": "no space left on device",
        "existing": "keep",
        "sessions_n": 3,
        "ended_n": 0,
    }


async def test_dropped_sessions_are_cut_at_once(bed: Bed) -> None:
    """At the first look, also those that came about since."""
    outage = bed.outage(Existing.DROP)
    bed.log.writable = False
    outage.tick(DRAIN_S)
    assert bed.ended == [Ended.AUDIT_LOST] * 3
    bed.log.writable = True
    outage.tick(DRAIN_S)
    assert bed.log.events[0].detail["ended_n"] == 3


async def test_drained_sessions_are_ended_when_they_are_quiet(bed: Bed) -> None:
    """One that moves stays until the deadline."""
    outage = bed.outage(Existing.DRAIN)
    busy = bed.relay.sessions()[0]
    bed.log.writable = False
    outage.tick(DRAIN_S)
    assert bed.ended == []
    for bed.seconds in (1.0, 5.0, 9.9):
        busy.client.octets += 1
        outage.tick(DRAIN_S)
        assert bed.ended == [Ended.AUDIT_LOST] * 2
    assert bed.relay.sessions() == (busy,)
    bed.seconds = 10.0
    outage.tick(DRAIN_S)
    assert bed.ended == [Ended.AUDIT_LOST] * 3


async def test_a_log_that_comes_back_ends_the_drain(bed: Bed) -> None:
    """Who was not ended yet goes on."""
    outage = bed.outage(Existing.DRAIN)
    for is_writable in (False, True):
        bed.log.writable = is_writable
        outage.tick(DRAIN_S)
    bed.seconds = 1000.0
    outage.tick(DRAIN_S)
    assert len(bed.relay) == 3
    assert bed.log.events[0].detail["ended_n"] == 0


def test_the_ends_are_spread_over_most_of_the_window() -> None:
    """All within four fifths of it, no fewer than a handful at a time."""
    assert share(10, 30.0) == LEAST_ENDED_A_TICK
    assert share(9600, 30.0) == 100
    assert share(100, 0.0) == 100
