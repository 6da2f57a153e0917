"""The audit log when remotes must have a record before anybody is told that it is recorded."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.shipping.quorum import Quorum, Required
from gatekeeper.adapters.sinks.writer import Limits
from testkit.audit_log import ORIGIN, StandingClock, event
from testkit.disks import FaultyDisk

LONG_S = 60.0
"""Nobody is given up for a machine that is busy."""


class Remote:
    name = "siem"
    fault: str | None = None

    def __init__(self) -> None:
        self.acknowledged = 0
        self.is_current = True
        self.hurried = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def hurry(self) -> None:
        self._loop.call_soon_threadsafe(self.hurried.set)


@asynccontextmanager
async def opened(
    directory: Path, disk: FaultyDisk | None = None, *, most: int = 10_000, timeout_s: float = LONG_S
) -> AsyncIterator[tuple[FileAuditLog, Quorum, Remote]]:
    quorum, remote = Quorum(Required.REMOTE, timeout_s=timeout_s, monotonic=time.monotonic), Remote()
    quorum.watch([remote])
    log = FileAuditLog.open(
        directory,
        origin=ORIGIN,
        clock=StandingClock(),
        files=disk,
        quorum=quorum,
        limits=Limits(queued_records=most, stall_limit_s=LONG_S),
    )
    try:
        yield log, quorum, remote
    finally:
        await log.close()
        quorum.close()


def append(log: FileAuditLog, conn: str = "a") -> "asyncio.Future[bool]":
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    log.append(event(conn), answer.set_result)
    return answer


async def test_a_record_counts_only_once_the_remote_has_it(tmp_path: Path) -> None:
    """It is durable here first; then the remote is hurried, and its word is the answer."""
    async with asyncio.timeout(20), opened(tmp_path) as (log, quorum, remote):
        answer = append(log)
        await remote.hurried.wait()
        assert log.records == 2
        assert not answer.done()
        remote.acknowledged = 2
        quorum.advanced()
        assert await answer


async def test_without_the_remotes_word_it_is_not_recorded(tmp_path: Path) -> None:
    """Whoever waits hears it in time; the record stands in the local log all the same."""
    async with asyncio.timeout(20), opened(tmp_path, timeout_s=0.05) as (log, _, _):
        assert not await append(log)
        assert log.records == 2


async def test_a_record_that_the_disk_did_not_take_waits_for_nobody(tmp_path: Path) -> None:
    """No remote can have what is not durable here."""
    disk = FaultyDisk()
    async with asyncio.timeout(20), opened(tmp_path, disk) as (log, quorum, _):
        disk.failures_to_come = 1
        assert not await append(log)
        assert quorum.waiting == 0


async def test_the_log_cannot_be_written_while_the_remotes_are_behind(tmp_path: Path) -> None:
    """No session begins meanwhile, the reason is told, and it ends by itself."""
    async with asyncio.timeout(20), opened(tmp_path) as (log, _, remote):
        assert log.writable
        assert log.fault is None
        remote.is_current, remote.fault = False, "connection refused"
        assert not log.writable
        assert log.fault is not None
        assert "siem: connection refused" in log.fault
        remote.is_current = True
        assert log.writable


async def test_who_waits_for_a_remote_counts_as_waiting(tmp_path: Path) -> None:
    """Memory is bounded whatever the remote does."""
    async with asyncio.timeout(20), opened(tmp_path, most=3) as (log, _, remote):
        answers = [append(log, f"c{number}") for number in range(3)]
        await remote.hurried.wait()
        answers.append(append(log, "one too many"))
        assert not await answers[3]
        assert not any(answer.done() for answer in answers[:3])
