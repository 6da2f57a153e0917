"""Records that only remotes have, while the local log cannot be written."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.shipping.direct import Fallback, MemoryLog
from gatekeeper.adapters.sinks.shipping.quorum import Quorum, Required
from gatekeeper.adapters.sinks.writer import Chain
from gatekeeper.audit.chain import verify
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.record import encode
from gatekeeper.audit.stored import read
from testkit.audit_log import NOW, ORIGIN, event

from .test_quorum import Clock, Remote

DIRECT = f"{ORIGIN}/direct/20200710T170000.000000Z"


class Sending:
    """One remote, driven by hand."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.clock = Clock()
        self.remote = Remote("siem")
        self.quorum = Quorum(Required.REMOTE, timeout_s=5.0, monotonic=self.clock)
        self.quorum.watch([self.remote])
        self.has_ended = False

    @property
    def acknowledged(self) -> int:
        return self.remote.acknowledged

    def end(self) -> None:
        self.has_ended = True

    def acknowledge(self, records: int) -> None:
        self.remote.acknowledged = records
        self.quorum.advanced()


class Bench:
    def __init__(self, most: int = 10) -> None:
        self.begun: list[tuple[str, Sending]] = []
        self.is_reachable = True
        self.fallback = Fallback(self._begin, lambda: self.is_reachable, lambda: NOW, most)
        self.answers: list[bool] = []

    def _begin(self, origin: str, log: MemoryLog) -> Sending:
        self.begun.append((origin, Sending(log)))
        return self.begun[-1][1]

    def append(self, of: Event, answer: Callable[[bool], object] | None = None) -> bool:
        return self.fallback.append(of, answer, log=ORIGIN, encode=_encode)

    @property
    def sending(self) -> Sending:
        return self.begun[-1][1]


def _encode(of: Event, chain: Chain, origin: str) -> tuple[bytes, str]:
    line = encode(of, sequence=chain.sequence, prev=chain.prev, origin=origin, address_prefix=None)
    chain.sequence += 1
    chain.prev = hashlib.sha256(line).hexdigest()
    return line, chain.prev


def test_it_is_a_log_of_its_own_that_verifies() -> None:
    """From number 0, chained, under a name that is never used again; its first record says whose place it takes."""
    bench = Bench()
    assert not bench.fallback.is_in_use
    for number in range(3):
        assert bench.append(event(f"c{number}"), bench.answers.append)
    ((origin, sending),) = bench.begun
    assert origin == DIRECT
    report = verify([("memory", iter(sending.log.lines))])
    assert report.is_sound
    records = [read(line) for line in sending.log.lines]
    assert [record.sequence for record in records] == [0, 1, 2, 3]
    assert {record.log for record in records} == {DIRECT}
    assert (records[0].code, records[0].text("instead_of")) == (EventCode.LOG_OPENED, ORIGIN)


def test_a_record_counts_once_a_remote_has_it() -> None:
    """And does not when none takes it in time."""
    bench = Bench()
    bench.append(event("a"), bench.answers.append)
    bench.append(event("b"), bench.answers.append)
    assert bench.answers == []
    bench.sending.acknowledge(2)
    assert bench.answers == [True]
    bench.sending.clock.now += 5
    bench.fallback.expire()
    assert bench.answers == [True, False]


def test_nothing_is_promised_that_no_remote_takes() -> None:
    """Neither at first, nor when the remote goes away, nor when memory is full."""
    bench = Bench(most=3)
    bench.is_reachable = False
    assert not bench.fallback.is_ready
    assert not bench.append(event("a"))
    assert bench.begun == []
    bench.is_reachable = True
    assert bench.append(event("a"))
    bench.sending.remote.is_current = False
    assert not bench.append(event("b"))
    bench.sending.remote.is_current = True
    assert bench.append(event("c"))
    assert not bench.append(event("full"))
    assert not bench.fallback.is_ready


def test_the_local_log_learns_what_there_is_and_what_may_be_lost() -> None:
    """Events that nobody waited for and no remote has; what was acknowledged is not recorded twice."""
    bench = Bench()
    one, other = event("one"), event("other")
    bench.append(one)
    bench.append(event("waited for"), bench.answers.append)
    bench.append(other)
    bench.sending.acknowledge(3)
    detail, lost = bench.fallback.finish()
    assert lost == [other]
    assert detail["direct"] == DIRECT
    assert detail["records_n"] == 4
    last = bench.sending.log.lines[-1][:-1]
    assert detail["sha256"] == hashlib.sha256(last).hexdigest()
    assert bench.sending.has_ended
    assert not bench.fallback.is_in_use
    assert bench.fallback.finish() == ({}, [])
    assert bench.append(event("again"))
    assert len(bench.begun) == 2


def test_lines_are_read_as_from_a_directory(tmp_path: Path) -> None:
    """All or none."""
    log = MemoryLog()
    log.lines += [b"a\n", b"b\n", b"c\n"]
    cursor = log.read_from(1)
    assert cursor.take(1) == [b"b\n"]
    assert cursor.take(1) == [b"c\n"]
    with pytest.raises(AuditLogError):
        cursor.take(1)
