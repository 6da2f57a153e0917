"""Who must have a record before a session goes on."""

import pytest

from gatekeeper.adapters.sinks.shipping.quorum import Quorum, Required


class Remote:
    def __init__(self, name: str, acknowledged: int = 0) -> None:
        self.name = name
        self.acknowledged = acknowledged
        self.fault: str | None = None
        self.is_current = True
        self.hurried = 0

    def hurry(self) -> None:
        self.hurried += 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A quorum over two remotes, and what it answered."""

    def __init__(self, required: Required, most: int = 10) -> None:
        self.clock = Clock()
        self.one, self.other = Remote("one"), Remote("other")
        self.quorum = Quorum(required, timeout_s=5.0, monotonic=self.clock, most=most)
        self.quorum.watch([self.one, self.other])
        self.answers: list[tuple[int, bool]] = []

    def hold(self, records: int, count: int = 1) -> None:
        self.quorum.hold(records, count, lambda known: self.answers.append((records, known)))

    def acknowledge(self, remote: Remote, records: int) -> None:
        remote.acknowledged = records
        self.quorum.advanced()


def test_one_remote_is_enough_for_remote() -> None:
    """Answers come in the order of the records, as soon as either remote has them."""
    bench = Bench(Required.REMOTE)
    bench.hold(1)
    bench.hold(2)
    bench.hold(5)
    assert bench.answers == []
    assert (bench.one.hurried, bench.other.hurried) == (3, 3)
    bench.acknowledge(bench.other, 3)
    assert bench.answers == [(1, True), (2, True)]
    bench.acknowledge(bench.one, 5)
    assert bench.answers[-1] == (5, True)
    assert bench.quorum.waiting == 0


def test_all_want_every_remote() -> None:
    """The slowest one decides."""
    bench = Bench(Required.ALL)
    bench.hold(2)
    bench.acknowledge(bench.one, 9)
    assert bench.answers == []
    bench.acknowledge(bench.other, 2)
    assert bench.answers == [(2, True)]


def test_what_a_remote_has_already_is_answered_at_once() -> None:
    """A remote may be faster than whoever asks."""
    bench = Bench(Required.REMOTE)
    bench.one.acknowledged = 7
    bench.hold(7)
    assert bench.answers == [(7, True)]
    assert bench.one.hurried == 0


def test_who_waits_too_long_is_answered_false_once() -> None:
    """An acknowledgement that comes later changes nothing."""
    bench = Bench(Required.REMOTE)
    bench.hold(1)
    bench.clock.now += 3
    bench.hold(2)
    bench.clock.now += 2
    bench.quorum.expire()
    assert bench.answers == [(1, False)]
    bench.acknowledge(bench.one, 9)
    assert bench.answers == [(1, False), (2, True)]


def test_waiting_is_bounded() -> None:
    """Those who come when too many wait are answered False at once."""
    bench = Bench(Required.REMOTE, most=10)
    bench.hold(1, count=6)
    bench.hold(2, count=5)
    assert bench.answers == [(2, False)]
    bench.hold(3, count=4)
    assert bench.quorum.waiting == 10


def test_closing_answers_everybody() -> None:
    """And whoever comes after that."""
    bench = Bench(Required.ALL)
    bench.hold(1)
    bench.quorum.close()
    bench.hold(2)
    assert bench.answers == [(1, False), (2, False)]


@pytest.mark.parametrize(
    ("required", "one", "other", "is_met"),
    [
        (Required.REMOTE, True, False, True),
        (Required.REMOTE, False, False, False),
        (Required.ALL, True, False, False),
        (Required.ALL, True, True, True),
    ],
)
def test_the_log_can_be_written_while_enough_remotes_are_up_to_date(
    required: Required, one: bool, other: bool, is_met: bool
) -> None:
    """Operators are told which are not, and why."""
    bench = Bench(required)
    bench.one.is_current, bench.other.is_current = one, other
    bench.other.fault = None if other else "connection refused"
    assert bench.quorum.is_met is is_met
    fault = bench.quorum.fault
    assert (fault is None) is is_met
    if fault is not None:
        assert "other: connection refused" in fault


def test_without_remotes_nothing_is_recorded() -> None:
    """Before the remotes are known, none has anything."""
    quorum = Quorum(Required.REMOTE, timeout_s=5.0, monotonic=Clock())
    assert not quorum.is_met
    answers: list[bool] = []
    quorum.hold(1, 1, answers.append)
    assert answers == []


def test_every_remote_of_none_is_not_enough() -> None:
    """`all` of an empty list is no promise."""
    assert not Quorum(Required.ALL, timeout_s=5.0, monotonic=Clock()).is_met
