"""What could not be recorded, until it can: nothing is dropped uncounted, memory is bounded."""

from dataclasses import replace
from datetime import timedelta

from gatekeeper.adapters.sinks.kept import Kept
from gatekeeper.audit.event import EventCode
from testkit.audit_log import NOW, connection, event


def test_events_come_back_in_their_order() -> None:
    """As they were, some at a time."""
    kept = Kept()
    events = [event(f"c{number}") for number in range(5)]
    for one in events:
        kept.add(one)
    assert len(kept) == 5
    assert kept.take(3) == events[:3]
    assert kept.take(100) == events[3:]
    assert len(kept) == 0
    assert kept.take(1) == []


def test_what_there_is_no_room_for_is_counted_without_names() -> None:
    """By code and listener, from the first to the last, counts added up."""
    kept = Kept(max_events=1)
    kept.add(event("kept"))
    for minute in (1, 2, 3):
        kept.add(event(f"c{minute}", EventCode.SESSION_ENDED, time=NOW + timedelta(minutes=minute)))
    elsewhere = replace(connection("d"), listener="imap")
    kept.add(event("d", EventCode.SESSION_ENDED, connection=elsewhere, count=10, start_time=NOW))
    kept.add(event(code=EventCode.LOG_HEARTBEAT, connection=None))

    assert len(kept) == 4
    assert kept.take(1) == [event("kept")]
    ended, other, heartbeat = kept.take(100)
    assert (ended.code, ended.count) == (EventCode.SESSION_ENDED, 3)
    assert (ended.start_time, ended.time) == (NOW + timedelta(minutes=1), NOW + timedelta(minutes=3))
    assert (ended.account, ended.decision, ended.mechanism) == (None, None, None)
    assert ended.detail == {"kept": "counted"}
    assert (other.count, other.start_time) == (10, NOW)
    assert other.connection == elsewhere
    assert (heartbeat.code, heartbeat.count) == (EventCode.LOG_HEARTBEAT, 1)
