"""Repeats become counted records, and nothing is lost."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.gate.folding import AT_ONCE, MAX_KINDS, FoldingLog
from testkit.audit_log import BLOCKED, NOW, connection, event


class Log:
    """What is behind the folding: keeps everything, and answers at once."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.writable = True
        self.clock_s = 0.0
        self.folding = FoldingLog(self, window_s=60, monotonic=lambda: self.clock_s)

    def append(self, event: Event, recorded: object = None) -> None:
        self.events.append(event)
        if callable(recorded):
            recorded(self.writable)

    def at(self, seconds: float, *events: Event) -> None:
        """Let it be so late, and these happen."""
        self.clock_s = seconds
        self.folding.tick()
        for one in events:
            self.folding.append(replace(one, time=NOW + timedelta(seconds=seconds)))

    def counts(self) -> list[int]:
        return [one.count for one in self.events]


def closed(ended: str = "closed", attempts: int = 1, **changed: object) -> Event:
    return event(
        code=EventCode.CONNECTION_CLOSED, decision=None, detail={"ended": ended, "attempts": attempts}, **changed
    )


def test_the_first_is_recorded_at_once_and_repeats_once_a_minute() -> None:
    """With how many there were, and from when to when."""
    log = Log()
    log.at(0, event())
    assert log.counts() == [1]
    assert log.events[0].start_time is None
    for second in (10, 20, 50):
        log.at(second, event(f"c{second}"))
    assert log.counts() == [1]
    log.at(60)
    assert log.counts() == [1, 3]
    counted = log.events[1]
    assert counted.start_time == NOW + timedelta(seconds=10)
    assert counted.time == NOW + timedelta(seconds=50)
    assert counted.connection is not None
    assert counted.connection.conn == "c50"
    assert counted.decision == BLOCKED
    log.at(70, event())
    log.at(119.9)
    assert log.counts() == [1, 3]
    log.at(120)
    assert log.counts() == [1, 3, 1]
    log.at(180)
    log.at(240, event())
    assert log.counts() == [1, 3, 1, 1]
    assert log.events[3].start_time is None


def test_what_differs_in_anything_that_matters_is_recorded_at_once() -> None:
    """Another account, source, listener, cause or decision; not another port or connection."""
    log = Log()
    kinds = [
        event(),
        event(account="bob@example.com"),
        event(connection=connection(address="203.0.113.1")),
        event(code=EventCode.CREDENTIALS_REFUSED, decision=None),
        event(decision=replace(BLOCKED, policy_sha256="c" * 64)),
        event(decision=replace(BLOCKED, valid_until=NOW)),
        closed(),
        closed(ended="timeout"),
    ]
    log.at(0, *kinds, *kinds)
    assert log.counts() == [1] * len(kinds)
    log.folding.close()
    assert log.counts() == [1] * 2 * len(kinds)


def test_sessions_faults_and_changes_are_never_folded() -> None:
    """Each is recorded by itself."""
    never = [
        code
        for code in EventCode
        if not code.name.startswith("BLOCKED")
        and code not in (EventCode.CREDENTIALS_REFUSED, EventCode.CONNECTION_CLOSED, EventCode.PASSWORD_EXPOSED)
    ]
    log = Log()
    log.at(0, *[event(code=code) for code in never * 2])
    assert log.counts() == [1] * 2 * len(never)


def test_connections_without_an_attempt_fold_only_when_they_flood() -> None:
    """A handful is recorded one by one."""
    log = Log()
    log.at(0, *[closed(attempts=0) for _ in range(AT_ONCE + 5)])
    assert log.counts() == [1] * AT_ONCE
    log.folding.close()
    assert log.counts()[-1] == 5


def test_a_connection_whose_refusal_is_on_record_has_its_end_on_record() -> None:
    """Also when others ended alike just before; and nothing is kept of connections that have ended."""
    log = Log()
    log.at(0, event("c1"), closed("refused", connection=connection("c1")))
    log.at(1, event("c2"), closed("refused", connection=connection("c2")))
    assert log.counts() == [1, 1]
    changed = event("c3", decision=replace(BLOCKED, policy_sha256="c" * 64))
    log.at(2, changed, closed("refused", connection=connection("c3")))
    assert [one.connection.conn for one in log.events if one.connection] == ["c1", "c1", "c3", "c3"]
    log.at(3, event("c4", code=EventCode.CREDENTIALS_REFUSED), event("c4", code=EventCode.SESSION_ENDED))
    assert not log.folding._on_record


def test_a_counted_end_adds_up_the_attempts() -> None:
    """So that the sums over records are what happened."""
    log = Log()
    log.at(0, closed(attempts=3), closed(attempts=2), closed(attempts=5))
    log.folding.close()
    assert [one.detail["attempts"] for one in log.events] == [3, 7]


def test_a_repeat_is_answered_as_the_log_stands() -> None:
    """The first waits for its record; a repeat is durable enough when records are written, and a fault when not."""
    log = Log()
    answers: list[bool] = []
    log.folding.append(event(), answers.append)
    log.folding.append(event(), answers.append)
    log.writable = False
    assert log.folding.writable is False
    log.folding.append(event(), answers.append)
    assert answers == [True, True, False]


def test_a_window_of_zero_folds_nothing() -> None:
    """It can be switched off."""
    log = Log()
    folding = FoldingLog(log, window_s=0, monotonic=lambda: 0)
    for _ in range(3):
        folding.append(event())
    assert log.counts() == [1, 1, 1]


def test_memory_is_bounded() -> None:
    """With too many kinds the oldest is written out."""
    log = Log()
    log.at(0, event(account="first"), event(account="first"))
    log.at(1, *[event(account=f"user{number}") for number in range(MAX_KINDS)])
    assert len(log.folding._folds) == MAX_KINDS
    assert log.events[-1].account == "first" or "first" in [one.account for one in log.events[1:]]


@given(
    st.lists(
        st.tuples(st.sampled_from(["alice", "bob"]), st.booleans(), st.integers(0, 3), st.floats(0, 50)), max_size=150
    )
)
def test_sums_are_what_happened(steps: list[tuple[str, bool, int, float]]) -> None:
    """Counts and attempts by account and code, in the log after its end, and no more records than events."""
    log, now = Log(), 0.0
    happened: Counter[tuple[str, EventCode]] = Counter()
    attempted = 0
    for account, is_end, attempts, later in steps:
        now += later
        one = closed(attempts=attempts, account=account) if is_end else event(account=account)
        log.at(now, one)
        happened[account, one.code] += 1
        attempted += attempts if is_end else 0
    log.folding.close()
    recorded: Counter[tuple[str, EventCode]] = Counter()
    for one in log.events:
        recorded[str(one.account), one.code] += one.count
        assert (one.start_time is None) <= (one.count == 1)
        assert one.start_time is None or one.start_time <= one.time
    assert recorded == happened
    assert sum(int(one.detail.get("attempts", 0)) for one in log.events) == attempted
