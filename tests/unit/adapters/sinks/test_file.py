"""The audit log on disk: group commit, order, faults and coming back from them."""

import asyncio
import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogError, AuditLogLocked, read_head, segment_paths
from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.reader import all_pieces, lines
from gatekeeper.adapters.sinks.writer import Limits
from gatekeeper.audit.chain import verify
from gatekeeper.audit.report import Report
from gatekeeper.audit.stored import StoredRecord, read
from gatekeeper.ports.audit import AuditLog
from testkit.audit_log import BLOCKED, NOW, ORIGIN, StandingClock, event
from testkit.disks import FaultyDisk
from testkit.waiting import eventually

QUICK = Limits(retry_interval_s=0.01, stall_limit_s=60)
"""A disk that is busy with something else does not count as one that hangs, but where a test says so."""


@asynccontextmanager
async def opened(
    directory: Path, disk: FaultyDisk | None = None, limits: Limits = QUICK, **more: object
) -> AsyncIterator[FileAuditLog]:
    """A log that is closed at the end whatever happens."""
    log = FileAuditLog.open(
        directory,
        origin=ORIGIN,
        limits=limits,
        files=disk,
        **{"clock": StandingClock(), **more},  # type: ignore[arg-type]  # named by the tests
    )
    try:
        yield log
    finally:
        if disk is not None:
            disk.gate.set()
        await log.close()


class Answers:
    """Collects what `recorded` is called with."""

    def __init__(self, expected: int) -> None:
        self.got: list[tuple[int, bool]] = []
        self._expected = expected
        self._complete = asyncio.Event()

    def of(self, number: int) -> Callable[[bool], None]:
        def recorded(is_recorded: bool) -> None:
            self.got.append((number, is_recorded))
            if len(self.got) == self._expected:
                self._complete.set()

        return recorded

    async def complete(self) -> list[tuple[int, bool]]:
        async with asyncio.timeout(20):
            await self._complete.wait()
        return self.got


async def append(log: AuditLog, conn: str) -> bool:
    """Append one record and wait for the answer."""
    answers = Answers(1)
    log.append(event(conn), answers.of(0))
    return (await answers.complete())[0][1]


async def append_until(log: AuditLog, wanted: bool) -> None:
    """Append until the answer is `wanted`."""
    async with asyncio.timeout(20):
        while await append(log, "again") is not wanted:
            continue


def verified(directory: Path) -> Report:
    report = verify(all_pieces(directory), head=read_head(directory))
    assert report.is_sound, [str(finding) for finding in report.findings]
    return report


def noted(directory: Path) -> int:
    """The number of the noted head."""
    head = read_head(directory)
    assert head is not None
    return head.sequence


def records(directory: Path) -> list[StoredRecord]:
    return [read(line) for line in lines(directory)]


def conns(directory: Path) -> list[str]:
    return [conn for record in records(directory) if (conn := record.text("conn")) is not None]


def codes(directory: Path) -> list[str]:
    return [record.code for record in records(directory)]


async def test_a_log_tells_its_opening_what_happened_and_its_closing(tmp_path: Path) -> None:
    """Three records, chained, in one segment named after the first one, with the head noted."""
    async with opened(tmp_path) as log:
        assert log.writable
        assert log.fault is None
        assert await append(log, "a")
        assert await log.close()
        assert not log.writable

    assert codes(tmp_path) == ["GK9001I", "GK1002W", "GK9003I"]
    assert [path.name for path in segment_paths(tmp_path)] == ["00000000000000000000-20200710T170000Z.jsonl"]
    report = verified(tmp_path)
    assert report.is_closed
    assert read_head(tmp_path) == report.last


async def test_the_opening_is_durable_when_open_returns(tmp_path: Path) -> None:
    """Record and head are there before anything is appended, so that a cut of everything is found."""
    async with opened(tmp_path):
        assert codes(tmp_path) == ["GK9001I"]
        assert read_head(tmp_path) == verified(tmp_path).last


async def test_the_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    """A second opening begins a new segment and continues numbers and chain."""
    for conn in ("a", "b"):
        async with opened(tmp_path) as log:
            assert await append(log, conn)

    assert conns(tmp_path) == ["a", "b"]
    assert len(segment_paths(tmp_path)) == 2
    assert [record.sequence for record in records(tmp_path)] == list(range(6))
    report = verified(tmp_path)
    assert (report.openings, report.unclean) == (2, 0)


async def test_a_torn_tail_is_recovered_and_recorded_at_opening(tmp_path: Path) -> None:
    """Half a line, as a crash leaves it: cut off, told with length and digest, and the log goes on."""
    async with opened(tmp_path) as log:
        assert await append(log, "a")
    (segment,) = segment_paths(tmp_path)
    whole = segment.read_bytes()
    segment.write_bytes(whole + b'{"half')
    async with opened(tmp_path) as log:
        assert await append(log, "b")

    assert segment.read_bytes() == whole
    assert codes(tmp_path) == ["GK9001I", "GK1002W", "GK9003I", "GK9001I", "GK9004W", "GK1002W", "GK9003I"]
    facts = records(tmp_path)[4].facts
    assert (facts["segment"], facts["offset"], facts["cut_length"]) == (segment.name, len(whole), 6)
    assert facts["cut_sha256"] == hashlib.sha256(b'{"half').hexdigest()
    assert len(verified(tmp_path).recovered) == 1


async def test_many_records_share_one_sync(tmp_path: Path) -> None:
    """A thousand appends in one turn of the loop take a handful of fdatasyncs."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        before = disk.syncs
        answers = Answers(1000)
        for number in range(1000):
            log.append(event(str(number)), answers.of(number))
        assert await answers.complete() == [(number, True) for number in range(1000)]
        assert disk.syncs - before < 100
        assert log.counters.records == 1001
        assert log.counters.batches < 100
        assert log.counters.last_batch_s >= 0

    assert conns(tmp_path) == [str(number) for number in range(1000)]
    verified(tmp_path)


async def test_true_comes_only_after_the_sync(tmp_path: Path) -> None:
    """While the disk has not answered, nobody is told anything."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        disk.gate.clear()
        answers = Answers(1)
        log.append(event("a"), answers.of(0))
        assert await asyncio.to_thread(disk.is_hanging.wait, 20)
        await asyncio.sleep(0)
        assert answers.got == []
        disk.gate.set()
        assert await answers.complete() == [(0, True)]


async def test_a_caller_that_raises_does_not_keep_others_from_their_answer(tmp_path: Path) -> None:
    """The exception goes to the loop's handler; the rest of the batch is answered."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:

        def raises(_: bool) -> None:
            raise ZeroDivisionError

        answers = Answers(2)
        log.append(event("a"), answers.of(0))
        log.append(event("b"), raises)
        log.append(event("c"), answers.of(2))
        assert await answers.complete() == [(0, True), (2, True)]
    assert [type(fault) for fault in faults] == [ZeroDivisionError]


async def test_a_sync_that_fails_answers_false_and_the_log_comes_back(tmp_path: Path) -> None:
    """What was not synced is cut off, that is recorded, and the log continues in a new segment without a gap."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        assert await append(log, "before")
        disk.fails_to_sync = True
        answers = Answers(50)
        for number in range(50):
            log.append(event("lost"), answers.of(number))
        # Order is promised to lines, not to refusals: those after the fault are answered without a wait.
        assert sorted(await answers.complete()) == [(number, False) for number in range(50)]
        assert not log.writable
        assert "input/output error" in str(log.fault)
        assert not await append(log, "refused at once")
        failures = log.counters.failures  # of attempts to cut off what was not synced
        eventually(lambda: log.counters.failures >= failures + 2, within=20)
        disk.fails_to_sync = False
        await append_until(log, wanted=True)
        assert log.writable
        assert log.fault is None
        assert await append(log, "after")
        assert log.counters.failures >= 1
        assert log.counters.unrecorded + log.overflowed >= 51

    assert "lost" not in conns(tmp_path)
    assert conns(tmp_path)[0] == "before"
    assert conns(tmp_path)[-1] == "after"
    (recovered,) = [record for record in records(tmp_path) if record.code == "GK9004W"]
    first = segment_paths(tmp_path)[0]
    assert recovered.text("segment") == first.name
    assert recovered.facts["offset"] == first.stat().st_size
    assert recovered.facts["cut_length"] != 0
    assert len(segment_paths(tmp_path)) == 2
    assert len(verified(tmp_path).recovered) == 1


async def test_records_chained_to_a_lost_one_are_never_written(tmp_path: Path) -> None:
    """What was appended while a batch was failing cannot follow it, even when the log is back before they are taken."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk, dataclasses.replace(QUICK, retry_interval_s=0)) as log:
        disk.gate.clear()
        answers = Answers(3)
        log.append(event("lost"), answers.of(0))
        assert await asyncio.to_thread(disk.is_hanging.wait, 20)
        log.append(event("follows"), answers.of(1))
        log.append(event("follows"), answers.of(2))
        await asyncio.sleep(0)  # one trip through the loop: their lines are made, and chained to the lost one
        disk.failures_to_come = 1
        disk.gate.set()
        assert await answers.complete() == [(0, False), (1, False), (2, False)]
        assert log.writable
        assert await append(log, "after")

    assert conns(tmp_path) == ["after"]
    assert codes(tmp_path) == ["GK9001I", "GK9004W", "GK1002W", "GK9003I"]
    verified(tmp_path)


async def test_each_fault_tells_its_own_cut(tmp_path: Path) -> None:
    """Two faults one after the other: two recoveries, each with what it cut off."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        for room in (100, 200):
            disk.room = room
            assert not await append(log, "lost")
            disk.room = None
            await append_until(log, wanted=True)

    recovered = [record for record in records(tmp_path) if record.code == "GK9004W"]
    assert [record.facts["cut_length"] for record in recovered] == [100, 200]
    verified(tmp_path)


async def test_a_full_disk_in_the_middle_of_a_line_is_survived(tmp_path: Path) -> None:
    """ENOSPC after half a record: the half is cut off; without room the log stays shut, with room it comes back."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        assert await append(log, "before")
        disk.room = 700
        assert not await append(log, "lost")
        assert not log.writable
        assert "no space left" in str(log.fault)
        failures = log.counters.failures
        eventually(lambda: log.counters.failures >= failures + 3, within=20)
        assert not log.writable
        disk.room = None
        await append_until(log, wanted=True)

    assert "lost" not in conns(tmp_path)
    verified(tmp_path)
    (recovered,) = [record for record in records(tmp_path) if record.code == "GK9004W"]
    assert recovered.facts["cut_length"] == 700


async def test_a_segment_that_cannot_be_made_is_tried_again(tmp_path: Path) -> None:
    """No room for a new file: the log comes back later, and what was cut off first is still told."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        assert await append(log, "before")
        disk.fails_to_create = True
        disk.room = 100
        assert not await append(log, "lost")
        disk.room = None
        eventually(lambda: log.counters.failures >= 4, within=20)
        disk.fails_to_create = False
        await append_until(log, wanted=True)

    verified(tmp_path)
    (recovered,) = [record for record in records(tmp_path) if record.code == "GK9004W"]
    assert recovered.facts["cut_length"] == 100


async def test_a_fault_in_a_new_segment_leaves_no_trace_but_its_record(tmp_path: Path) -> None:
    """The first write of a segment fails: its name is used again, and every file holds records."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk, dataclasses.replace(QUICK, segment_octets=1)) as log:
        assert await append(log, "before")
        disk.room = 100
        assert not await append(log, "lost")
        disk.room = None
        await append_until(log, wanted=True)
    assert all(path.stat().st_size for path in segment_paths(tmp_path))
    assert len(verified(tmp_path).recovered) == 1


async def test_a_new_name_that_cannot_be_made_durable_is_no_segment(tmp_path: Path) -> None:
    """A file whose name may be lost in a crash is not written to."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        disk.fails_to_sync_names = True
        disk.failures_to_come = 1
        assert not await append(log, "lost")
        eventually(lambda: log.counters.failures >= 3, within=20)
        eventually(lambda: len(segment_paths(tmp_path)) == 1, within=20)
        disk.fails_to_sync_names = False
        await append_until(log, wanted=True)
    verified(tmp_path)


def test_a_loop_that_ended_without_closing_the_log_does_not_break_the_writer(tmp_path: Path) -> None:
    """Nobody is left to be told: the thread writes what it has and ends when told to."""

    async def leave_open() -> FileAuditLog:
        log = FileAuditLog.open(tmp_path, origin=ORIGIN, clock=StandingClock(), files=disk)
        disk.gate.clear()
        log.append(event("a"), [].append)
        assert await asyncio.to_thread(disk.is_hanging.wait, 20)
        return log

    disk = FaultyDisk()
    log = asyncio.run(leave_open())
    disk.gate.set()
    log._writer.queue.put([None])
    eventually(lambda: not any(thread.name == "audit-writer" for thread in threading.enumerate()), within=20)
    assert conns(tmp_path) == ["a"]
    assert verified(tmp_path).unclean == 0


async def test_a_log_that_was_moved_away_takes_no_records(tmp_path: Path) -> None:
    """Nobody would find them; when it is back, it goes on where it was."""
    directory = tmp_path / "audit"
    async with opened(directory) as log:
        assert await append(log, "before")
        directory.rename(tmp_path / "away")
        assert not await append(log, "lost")
        assert "No such file" in str(log.fault)
        failures = log.counters.failures
        eventually(lambda: log.counters.failures >= failures + 3, within=20)
        (tmp_path / "away").rename(directory)
        await append_until(log, wanted=True)
    assert conns(directory)[0] == "before"
    assert "lost" not in conns(directory)
    verified(directory)


async def test_a_segment_that_was_replaced_takes_no_records(tmp_path: Path) -> None:
    """A copy put in its place is not what is written to; it has what was durable, and is gone on from."""
    async with opened(tmp_path) as log:
        assert await append(log, "before")
        (segment,) = segment_paths(tmp_path)
        segment.with_name("copy").write_bytes(segment.read_bytes())
        segment.with_name("copy").rename(segment)
        assert not await append(log, "lost")
        assert "another file" in str(log.fault)
        await append_until(log, wanted=True)
    assert "lost" not in conns(tmp_path)
    verified(tmp_path)


async def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path) -> None:
    """Numbers go on, new segments stand behind the old ones, and the verification tells of the step."""
    clock = StandingClock()
    async with opened(tmp_path, clock=clock, limits=dataclasses.replace(QUICK, segment_octets=4000)) as log:
        for number in range(5):
            assert await append(log, str(number))
        clock.instant -= timedelta(days=1)
        for number in range(5, 10):
            log_event = event(str(number), time=clock.instant)
            answers = Answers(1)
            log.append(log_event, answers.of(0))
            assert await answers.complete() == [(0, True)]
    assert conns(tmp_path) == [str(number) for number in range(10)]
    report = verified(tmp_path)
    assert report.max_back_step_ms == 24 * 3600 * 1000


async def test_damage_found_on_the_way_back_keeps_the_log_shut(tmp_path: Path) -> None:
    """When the durable part of the segment is not what was written, nothing is appended any more."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        assert await append(log, "before")
        (segment,) = segment_paths(tmp_path)
        segment.write_bytes(segment.read_bytes().replace(b"before", b"forged"))
        disk.fails_to_sync = True
        assert not await append(log, "lost")
        disk.fails_to_sync = False
        eventually(lambda: "damaged" in str(log.fault), within=20)
        assert segment.name in str(log.fault)
        assert not await append(log, "refused")
        assert not await log.close()


async def test_a_disk_that_hangs_is_not_writable_until_it_answers(tmp_path: Path) -> None:
    """Work that takes longer than the limit counts as a fault; with the disk's answer it is over."""
    disk = FaultyDisk()
    now = 100.0
    # Long, as measured by the loop: that whoever waits is given up is another test's.
    limits = dataclasses.replace(QUICK, stall_limit_s=2000.0)
    async with opened(tmp_path, disk, limits, monotonic=lambda: now) as log:
        disk.gate.clear()
        answers = Answers(2)
        log.append(event("a"), answers.of(0))
        assert await asyncio.to_thread(disk.is_hanging.wait, 20)
        log.append(event("b"), answers.of(1))
        now = 2099.9
        assert log.writable
        now = 2100.1
        assert not log.writable
        assert log.fault == "the disk does not answer"
        disk.gate.set()
        assert await answers.complete() == [(0, True), (1, True)]
        assert log.writable


async def test_nobody_waits_for_a_disk_that_hangs(tmp_path: Path) -> None:
    """False after the stall limit, once; the records may be written later, and others go on."""
    disk = FaultyDisk()
    now = 100.0
    async with opened(tmp_path, disk, dataclasses.replace(QUICK, stall_limit_s=0.05), monotonic=lambda: now) as log:
        disk.gate.clear()
        answers = Answers(2)
        log.append(event("a"), answers.of(0))
        assert await asyncio.to_thread(disk.is_hanging.wait, 20)
        log.append(event("b"), answers.of(1))
        now = 100.1
        assert await answers.complete() == [(0, False), (1, False)]
        assert not log.writable
        log.append(event("nobody waits"))
        disk.gate.set()
        await append_until(log, wanted=True)
        assert answers.got == [(0, False), (1, False)]
    assert conns(tmp_path)[:3] == ["a", "b", "nobody waits"]
    verified(tmp_path)


async def test_a_hang_outside_of_a_batch_is_noticed(tmp_path: Path) -> None:
    """Noting the head or publishing the tree: whoever comes next is not left waiting."""

    class HangingHead(FaultyDisk):
        def open(self, path: Path, flags: int) -> int:
            if path.name == "head.json.new" and not self.gate.is_set():
                self.is_hanging.set()
                assert self.gate.wait(30)
            return super().open(path, flags)

        def fdatasync(self, fd: int) -> None:
            os.fdatasync(fd)

    disk = HangingHead()
    now = 100.0
    limits = dataclasses.replace(QUICK, stall_limit_s=0.5, head_interval_s=0.0)
    async with opened(tmp_path, disk, limits, monotonic=lambda: now) as log:
        disk.gate.clear()
        assert await append(log, "a")
        assert await asyncio.to_thread(disk.is_hanging.wait, 20)
        assert log.writable
        now = 100.6
        assert not log.writable
        assert not await append(log, "b")


async def test_what_nobody_waited_for_is_recorded_late(tmp_path: Path) -> None:
    """Of a failed batch, and of the time until the log is back: with its own time, found by a search for that time."""
    disk = FaultyDisk()
    clock = StandingClock()
    limits = dataclasses.replace(QUICK, stall_limit_s=2.0)  # what is kept is looked after four times in it
    async with opened(tmp_path, disk, limits, clock=clock) as log:
        await append_until(log, wanted=True)
        disk.fails_to_sync = True
        log.append(event("in the batch"))
        assert not await append(log, "refused")
        clock.instant += timedelta(minutes=30)
        log.append(event("meanwhile", time=clock.instant))
        assert log.late == 2
        clock.instant += timedelta(minutes=30)
        disk.fails_to_sync = False
        await append_until(log, wanted=True)
        await asyncio.to_thread(eventually, lambda: not log.late, within=20)

    assert {"again", "in the batch", "meanwhile"} <= set(conns(tmp_path))
    assert "refused" not in conns(tmp_path)
    half_an_hour = NOW + timedelta(minutes=30)
    found = [read(line).text("conn") for line in lines(tmp_path, since=half_an_hour, until=half_an_hour)]
    assert "meanwhile" in found
    verified(tmp_path)


async def test_what_is_kept_is_written_at_the_end_at_the_latest(tmp_path: Path) -> None:
    """The log is back and is closed before anybody looked: nothing kept is lost."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        disk.fails_to_sync = True
        log.append(event("kept"))
        assert not await append(log, "refused")
        disk.fails_to_sync = False
        eventually(lambda: log.writable, within=20)
        assert await log.close()
    assert conns(tmp_path) == ["kept"]
    assert codes(tmp_path)[-1] == "GK9003I"


async def test_closing_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A disk that hangs: closing gives up in time and says so."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk) as log:
        disk.gate.clear()
        log.append(event("a"))
        assert await asyncio.to_thread(disk.is_hanging.wait, 20)
        assert not await log.close(timeout_s=0.01)


async def test_the_queue_is_bounded(tmp_path: Path) -> None:
    """What does not fit while the disk is busy is answered False at once, and the chain stays whole."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk, dataclasses.replace(QUICK, queued_records=10)) as log:
        disk.gate.clear()
        answers = Answers(31)
        log.append(event("0"), answers.of(0))
        assert await asyncio.to_thread(disk.is_hanging.wait, 20)
        for number in range(1, 31):
            log.append(event(str(number)), answers.of(number))
        await asyncio.sleep(0)
        assert answers.got == [(number, False) for number in range(11, 31)]
        assert log.overflowed == 20
        disk.gate.set()
        await answers.complete()
        assert await append(log, "after")

    assert conns(tmp_path) == [str(number) for number in range(11)] + ["after"]
    verified(tmp_path)


async def test_short_writes_are_completed(tmp_path: Path) -> None:
    """The operating system may take a batch in small bites."""
    disk = FaultyDisk()
    disk.largest_write = 100
    async with opened(tmp_path, disk) as log:
        assert await append(log, "a")
    verified(tmp_path)


async def test_full_segments_are_followed_by_new_ones(tmp_path: Path) -> None:
    """At its size limit a segment ends; the chain goes across."""
    async with opened(tmp_path, limits=dataclasses.replace(QUICK, segment_octets=4000)) as log:
        for number in range(10):
            assert await append(log, str(number))

    segments = segment_paths(tmp_path)
    assert len(segments) > 3
    assert all(segment.stat().st_size <= 4000 for segment in segments)
    assert conns(tmp_path) == [str(number) for number in range(10)]
    assert verified(tmp_path).segments == len(segments)


async def test_old_segments_are_followed_by_new_ones(tmp_path: Path) -> None:
    """A segment is used for a day at most."""
    now = 0.0
    async with opened(tmp_path, monotonic=lambda: now) as log:
        assert await append(log, "a")
        now = 24 * 3600 - 1
        assert await append(log, "b")
        assert len(segment_paths(tmp_path)) == 1
        now = 24 * 3600
        assert await append(log, "c")
        assert len(segment_paths(tmp_path)) == 2


async def test_the_head_is_noted_at_most_once_in_its_interval(tmp_path: Path) -> None:
    """Records within a second share one note; the next one after it takes it further."""
    now = 0.0

    def is_noted_later() -> bool:
        nonlocal now
        now += 1.0
        return noted(tmp_path) == 2

    async with opened(tmp_path, monotonic=lambda: now) as log:
        assert await append(log, "a")
        assert await append(log, "b")
        assert noted(tmp_path) == 0
        eventually(is_noted_later, within=20)


async def test_the_head_is_noted_when_nothing_more_comes(tmp_path: Path) -> None:
    """The last record of a burst is noted a moment later although nothing follows it."""
    async with opened(tmp_path, limits=dataclasses.replace(QUICK, head_interval_s=0.01)) as log:
        assert await append(log, "a")
        eventually(lambda: noted(tmp_path) == 1, within=20)


async def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """One log, one writing process; afterwards the log is free again."""
    async with opened(tmp_path):
        with pytest.raises(AuditLogLocked, match=f"process {os.getpid()} writes"):
            FileAuditLog.open(tmp_path, origin=ORIGIN, clock=StandingClock())
    async with opened(tmp_path) as log:
        assert log.writable


@pytest.mark.parametrize("origin", ["", "a\nb", "ä", "x" * 201])
async def test_an_origin_that_is_no_name_is_refused(tmp_path: Path, origin: str) -> None:
    """The name of a log stands in every record."""
    with pytest.raises(AuditLogError, match="origin"):
        FileAuditLog.open(tmp_path, origin=origin, clock=StandingClock())


async def test_another_logs_directory_is_refused(tmp_path: Path) -> None:
    """A directory holds one log."""
    async with opened(tmp_path):
        pass
    with pytest.raises(AuditLogError, match=r"holds the audit log `tests\.example/audit/1`"):
        FileAuditLog.open(tmp_path, origin="other", clock=StandingClock())


async def test_a_disk_that_fails_at_opening_refuses_to_open(tmp_path: Path) -> None:
    """Without a durable record of the opening there is no log; the next opening works."""
    disk = FaultyDisk()
    disk.room = 10
    with pytest.raises(AuditLogError, match="no space left"):
        FileAuditLog.open(tmp_path, origin=ORIGIN, clock=StandingClock(), files=disk)
    async with opened(tmp_path):
        assert codes(tmp_path) == ["GK9001I", "GK9004W"]
        verified(tmp_path)


async def test_an_event_that_breaks_its_types_is_answered_false(tmp_path: Path) -> None:
    """`append` never raises, and the records of others go on."""
    async with opened(tmp_path) as log:
        answers = Answers(1)
        log.append(dataclasses.replace(event(), time=NOW.replace(tzinfo=None)), answers.of(0))
        assert await answers.complete() == [(0, False)]
        broken = dataclasses.replace(BLOCKED, reasons=())
        log.append(event(decision=broken))
        assert await append(log, "a")
    verified(tmp_path)


async def test_appending_to_a_closed_log_is_answered_false(tmp_path: Path) -> None:
    """After closing nothing is taken any more; closing twice is one closing."""
    async with opened(tmp_path) as log:
        assert await log.close()
        assert not await append(log, "late")
    assert codes(tmp_path) == ["GK9001I", "GK9003I"]


async def test_files_are_not_for_everybody(tmp_path: Path) -> None:
    """The log says who reads mail where: others cannot read it."""
    async with opened(tmp_path / "new"):
        pass
    for path in (tmp_path / "new").rglob("*"):
        assert path.stat().st_mode & 0o007 == 0, path


async def test_a_head_that_cannot_be_noted_is_counted_only(tmp_path: Path) -> None:
    """The note is a second safety: without it records are still taken."""
    async with opened(tmp_path) as log:
        (tmp_path / "head.json").unlink()
        (tmp_path / "head.json").mkdir()
        assert await append(log, "a")
        assert await log.close()
        assert log.counters.head_failures >= 1
    (tmp_path / "head.json").rmdir()
    assert json.loads((tmp_path / "head.json.new").read_bytes())["log"] == ORIGIN
