"""The figures of a period."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.period import MAX_LISTED, Period, Silence
from gatekeeper.audit.stored import read
from gatekeeper.domain.decision import Decision, Phase, Reason, Verdict
from gatekeeper.domain.posture import PostureState
from testkit.audit_log import BLOCKED, NOW, chained, event

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CLEAN = replace(
    BLOCKED,
    verdict=Verdict.ALLOW,
    reasons=(Reason.CLEAN,),
    rule_ids=(),
    matched=(),
    phase=None,
    posture=PostureState.CLEAN,
)
WARNED = replace(BLOCKED, verdict=Verdict.WARN, phase=Phase.WARN)


def decided(at: datetime, decision: Decision = BLOCKED, device: str = "ph-001", **more: object) -> Event:
    codes = {Verdict.BLOCK: EventCode.BLOCKED_APP, Verdict.WARN: EventCode.SESSION_WARNED}
    code = codes.get(decision.verdict, EventCode.SESSION_ALLOWED)
    collected = at - HOUR if decision.collected_at is not None else None
    return event(code=code, time=at, decision=replace(decision, device_id=device, collected_at=collected), **more)


def told(code: EventCode, at: datetime = NOW, **detail: str | int) -> Event:
    return event(code=code, time=at, connection=None, decision=None, account=None, message="", detail=detail)


def counted(events: Iterable[Event], since: datetime = NOW, until: datetime = NOW + DAY) -> Period:
    period = Period(since, until)
    for line in chained(events):
        period.add(read(line))
    period.finish(until + DAY)
    return period


@pytest.mark.parametrize(
    ("span", "step", "count"),
    [
        (timedelta(0), HOUR, 1),
        (DAY, HOUR, 25),
        (9 * DAY, 6 * HOUR, 37),
        (30 * DAY, DAY, 31),
        (365 * DAY, 7 * DAY, 53),
        (1500 * DAY, 28 * DAY, 54),
        (9000 * DAY, 364 * DAY, 25),
    ],
)
def test_buckets_are_as_long_as_fits_the_period(span: timedelta, step: timedelta, count: int) -> None:
    """Never so many that nobody can tell them apart; they begin at round times."""
    period = Period(NOW, NOW + span)
    assert (period.step, len(period.starts) in (count, count + 1)) == (step, True)
    assert period.starts[0] <= NOW < period.starts[0] + step
    assert period.starts[-1] <= NOW + span


def test_decisions_are_counted_where_they_belong() -> None:
    """By hour and outcome; one record may stand for several; both ends belong to the period."""
    period = counted(
        [
            decided(NOW - timedelta(milliseconds=1)),
            decided(NOW),
            decided(NOW + HOUR, CLEAN, count=3, start_time=NOW),
            event(code=EventCode.CREDENTIALS_REFUSED, time=NOW + HOUR, decision=None),
            event(code=EventCode.SESSION_ENDED, time=NOW + HOUR, decision=None),
            decided(NOW + DAY, WARNED),
            decided(NOW + DAY + timedelta(milliseconds=1)),
        ]
    )
    assert period.decisions[0] == {"block": 1}
    assert period.decisions[1] == {"allow": 3, "refused": 1}
    assert period.decisions[-1] == {"warn": 1}
    assert period.totals() == {"block": 1, "allow": 3, "refused": 1, "warn": 1}
    assert period.people == {"alice@example.com"}
    assert period.policies["a" * 64].times == 5
    assert period.records == 5


def test_a_device_is_in_breach_until_a_record_says_that_it_is_not() -> None:
    """Stale evidence does not say that an app is gone; a clean list, forgotten device or clean posture does."""
    stale = replace(CLEAN, posture=PostureState.STALE)
    period = counted(
        [
            decided(NOW - DAY, WARNED, "ph-1"),
            decided(NOW, WARNED, "ph-2"),
            decided(NOW + HOUR, WARNED, "ph-3"),
            decided(NOW + 2 * HOUR, stale, "ph-1"),
            decided(NOW + 3 * HOUR, CLEAN, "ph-1"),
            told(EventCode.DEVICE_CLEAN, NOW + 4 * HOUR, device_id="ph-2"),
            told(EventCode.DEVICE_FORGOTTEN, NOW + 5 * HOUR, device_id="ph-3"),
            decided(NOW + 6 * HOUR, replace(WARNED, rule_ids=("a", "b")), "ph-1"),
            decided(NOW + 7 * HOUR, replace(WARNED, rule_ids=("b",)), "ph-1"),
        ],
        until=NOW + 8 * HOUR,
    )
    assert period.breaches == {
        "no-tiktok": [2, 3, 3, 2, 1, 0, 0, 0, 0],
        "a": [0, 0, 0, 0, 0, 0, 1, 0, 0],
        "b": [0, 0, 0, 0, 0, 0, 1, 1, 1],
    }


def test_nothing_is_said_of_a_time_that_has_not_come() -> None:
    """Of a period that is not over, the breach is known up to now."""
    period = Period(NOW, NOW + DAY)
    period.add(read(chained([decided(NOW)])[0]))
    period.finish(NOW + 2 * HOUR)
    assert period.breaches == {"no-tiktok": [1, 1, 1]}


def test_denied_apps_are_counted_by_device_and_person() -> None:
    """A repeated log-in counts as a log-in, not as a device."""
    other = replace(WARNED, matched=("ios:x", "ios:com.zhiliaoapp.musically"))
    use = counted(
        [decided(NOW, count=4, start_time=NOW), decided(NOW + HOUR, other, "ph-2", account="bob@example.com")]
    ).apps
    assert {app: (one.refused, one.let_through, sorted(one.devices)) for app, one in use.items()} == {
        "ios:com.zhiliaoapp.musically": (4, 1, ["ph-001", "ph-2"]),
        "ios:x": (0, 1, ["ph-2"]),
    }
    assert use["ios:com.zhiliaoapp.musically"].people == {"alice@example.com", "bob@example.com"}


def test_evidence_is_as_old_as_at_the_last_decision_on_a_device() -> None:
    """A device counts once."""
    period = counted([decided(NOW, CLEAN, "ph-1"), decided(NOW, CLEAN, "ph-2")])
    assert period.evidence() == {"up to 1 hour": 2, **dict.fromkeys(list(period.evidence())[1:], 0)}
    period.ages = {"a": 3600, "b": 3601, "c": 10**12, "d": -5}
    assert [count for _, count in sorted(period.evidence().items())] == [1, 0, 2, 0, 1, 0]


def test_exemptions_changes_reads_and_faults_are_listed() -> None:
    """Each with its record."""
    period = counted(
        [
            decided(NOW, replace(CLEAN, exemptions=("ex-1",)), count=2, start_time=NOW),
            told(EventCode.POLICY_PUBLISHED, author="m.ruiz"),
            told(EventCode.CONFIGURATION_LOADED),
            told(EventCode.AUDIT_EXPORTED, by="root"),
            told(EventCode.IDENTITY_RESOLVED, by="eve", pseudonym="u2020q3:" + "0" * 32, reason="Case 7"),
            told(EventCode.LOG_PRUNED, by="cron", first_kept="300"),
            told(EventCode.WORKER_DIED),
            told(EventCode.TAIL_RECOVERED),
        ]
    )
    assert (period.exemptions["ex-1"].times, len(period.exemptions["ex-1"].people)) == (2, 1)
    assert [record.code for record in period.changes] == ["GK3001I", "GK3030I"]
    assert [record.text("by") for record in period.reads] == ["root", "eve", "cron"]
    assert [record.code for record in period.faults] == ["GK9010E", "GK9004W"]


def test_lists_are_bounded_and_say_how_much_is_left_out() -> None:
    """A page of a million policies would be no page."""
    assert counted([told(EventCode.POLICY_ACTIVATED)] * (MAX_LISTED + 3)).left_out == 3


def test_silences_are_told_longest_first() -> None:
    """Also one that began before the period, and one at its end; a log is silent by itself."""
    minutes = [1, 3, 11, 13, 41, 43]
    period = counted(
        [
            told(EventCode.POLICY_ACTIVATED, NOW - HOUR + timedelta(minutes=at))
            for at in (0, *(60 + at for at in minutes))
        ],
        until=NOW + timedelta(minutes=51),
    )
    base = 1594400400000
    lengths = [(one.begin_ms - base, one.end_ms - base) for one in period.silences]
    assert [(begin // 60000, end // 60000) for begin, end in lengths] == [(-60, 1), (13, 41), (3, 11), (43, 51)]
    assert period.silences[0] == Silence("tests.example/audit/1", base - 3600_000, base + 60_000)
