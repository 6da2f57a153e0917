"""A log with everything that sends it, to real receivers: threads, answers, and the end."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.shipping import remotes as module
from gatekeeper.adapters.sinks.shipping import shipper
from gatekeeper.adapters.sinks.shipping.quorum import Required
from gatekeeper.adapters.sinks.shipping.remotes import Remotes
from gatekeeper.adapters.sinks.shipping.settings import (
    FilePlace,
    HeadSettings,
    HttpPeer,
    RemoteSettings,
    ShippingSettings,
    SyslogPeer,
)
from gatekeeper.adapters.sinks.writer import Limits
from gatekeeper.audit.chain import verify
from gatekeeper.audit.checkpoint import read_checkpoint
from gatekeeper.audit.stored import read
from testkit.audit_log import ORIGIN, StandingClock, event
from testkit.disks import FaultyDisk
from testkit.receivers import Certificates, HttpReceiver, SyslogReceiver
from testkit.waiting import eventually

PATIENT_S = 60.0
"""Nobody is given up for a machine that is busy, but where a test says so."""


@asynccontextmanager
async def sending(
    directory: Path,
    settings: ShippingSettings,
    disk: FaultyDisk | None = None,
    *,
    stall_limit_s: float = PATIENT_S,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[tuple[FileAuditLog, Remotes]]:
    """As it is composed: the log is closed first, then what sends it."""
    clock = StandingClock()
    remotes = Remotes(settings, clock=clock)
    log = FileAuditLog.open(
        directory,
        origin=ORIGIN,
        clock=clock,
        signing_key=directory / "signing.key",
        quorum=remotes.quorum,
        fallback=remotes.fallback,
        files=disk,
        limits=Limits(retry_interval_s=0.1, stall_limit_s=stall_limit_s),
        monotonic=monotonic,
    )
    remotes.start(log, directory, ORIGIN, asyncio.get_running_loop().call_soon_threadsafe)
    try:
        async with asyncio.timeout(PATIENT_S):
            yield log, remotes
    finally:
        await log.close()
        await remotes.close(timeout_s=20)


def append(log: FileAuditLog, conn: str = "a") -> "asyncio.Future[bool]":
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    log.append(event(conn), answer.set_result)
    return answer


def stored(directory: Path) -> list[bytes]:
    return [line.rstrip(b"\n") for line in lines(directory)]


async def test_everything_arrives_at_every_remote_up_to_the_record_of_closing(
    tmp_path: Path, certificates: Certificates, syslog: SyslogReceiver, collector: HttpReceiver
) -> None:
    """Octet by octet what lies in the log; the last head too."""
    directory, shelf = tmp_path / "log", tmp_path / "shelf"
    shelf.mkdir()
    settings = ShippingSettings(
        remotes=(
            RemoteSettings(name="siem", peer=SyslogPeer(host="localhost", port=syslog.port, tls=certificates.tls)),
            RemoteSettings(
                name="collector", peer=HttpPeer(url=collector.url, tls=certificates.tls), resend=timedelta(0)
            ),
        ),
        heads=(HeadSettings(name="auditors", peer=FilePlace(path=shelf)),),
    )
    async with sending(directory, settings) as (log, remotes):
        for number in range(20):
            assert await append(log, f"c{number}")
    expected = stored(directory)
    assert len(expected) == 22
    await asyncio.to_thread(syslog.wait_for, 22)
    assert [message.partition(b'"] ')[2] for message in syslog.messages] == expected
    assert collector.lines == expected
    (kept,) = shelf.glob("*.checkpoint")
    assert read_checkpoint(kept.read_bytes())[0].size == 22
    assert remotes.status() == {"siem": "ok", "collector": "ok", "auditors": "ok, head of 22 records"}


async def test_what_a_remote_missed_it_gets_from_the_next_process(
    tmp_path: Path, certificates: Certificates, collector: HttpReceiver
) -> None:
    """The log is the queue; what arrived is not sent again."""
    remote = RemoteSettings(
        name="collector", peer=HttpPeer(url=collector.url, tls=certificates.tls), resend=timedelta(0)
    )
    settings = ShippingSettings(remotes=(remote,))
    async with sending(tmp_path, settings) as (log, _):
        assert await append(log, "a")
    before = len(collector.lines)
    collector.answers.status = 503
    async with sending(tmp_path, settings) as (log, _):
        assert await append(log, "b")  # whoever does not ask for remotes does not wait for them
    collector.answers.status = 200
    async with sending(tmp_path, settings) as (log, _):
        assert await append(log, "c")
    assert before == 3
    assert collector.lines == stored(tmp_path)


@pytest.mark.parametrize("required", [Required.REMOTE, Required.ALL])
async def test_a_session_goes_on_only_once_a_remote_has_its_record(
    tmp_path: Path,
    certificates: Certificates,
    collector: HttpReceiver,
    required: Required,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When it does not take it, the log cannot be written, and says so; when it does again, it can, by itself."""
    remote = RemoteSettings(
        name="collector", peer=HttpPeer(url=collector.url, tls=certificates.tls), resend=timedelta(0)
    )
    settings = ShippingSettings(required=required, timeout=timedelta(seconds=20), remotes=(remote,))
    ahead_s = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_s))
    async with sending(tmp_path, settings) as (log, remotes):
        await asyncio.to_thread(eventually, lambda: log.writable, within=20)
        assert await append(log, "a")
        assert collector.lines == stored(tmp_path)
        collector.answers.status = 503
        answer = append(log, "b")
        await asyncio.to_thread(eventually, lambda: remotes.shippers[0].fault, within=20)
        assert not answer.done()
        ahead_s = 21.0
        assert not await answer
        assert not log.writable
        assert log.fault is not None
        assert "collector: it answered 503" in log.fault
        collector.answers.status = 200
        await asyncio.to_thread(eventually, lambda: log.writable, within=20)
        assert await append(log, "c")
        assert collector.lines == stored(tmp_path)


async def test_a_remote_that_is_lost_and_found_is_on_record(
    tmp_path: Path, certificates: Certificates, collector: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log itself, so that auditors see when copies were missing."""
    monkeypatch.setitem(shipper.Shipper.__init__.__kwdefaults__, "lost_after_s", 0.0)
    collector.answers.status = 503
    remote = RemoteSettings(
        name="collector", peer=HttpPeer(url=collector.url, tls=certificates.tls), resend=timedelta(0)
    )
    async with sending(tmp_path, ShippingSettings(remotes=(remote,))) as (log, _):

        def has(code: bytes) -> bool:
            return any(code in line for line in stored(tmp_path))

        await asyncio.to_thread(eventually, lambda: has(b"GK9030W"), within=20)
        collector.answers.status = 200
        await asyncio.to_thread(eventually, lambda: has(b"GK9031I"), within=20)
        assert log.writable


@pytest.mark.parametrize("fault", ["refuses", "hangs"])
async def test_while_the_disk_takes_nothing_a_remote_may(
    tmp_path: Path, certificates: Certificates, collector: HttpReceiver, fault: str
) -> None:
    """In a log of its own, which the local one signs when it is back; it goes on by itself, and verifies."""
    remote = RemoteSettings(
        name="collector", peer=HttpPeer(url=collector.url, tls=certificates.tls), resend=timedelta(0)
    )
    settings = ShippingSettings(required=Required.ANY, timeout=timedelta(seconds=20), remotes=(remote,))
    disk = FaultyDisk()
    now = 100.0  # stands still: only what the test lets hang takes longer than the limit
    how: dict[str, Any] = {"stall_limit_s": 0.5, "monotonic": lambda: now} if fault == "hangs" else {}
    async with sending(tmp_path, settings, disk, **how) as (log, remotes):
        assert await append(log, "before")
        await asyncio.to_thread(eventually, lambda: remotes.shippers[0].is_up, within=20)
        if fault == "hangs":
            disk.gate.clear()
        else:
            disk.fails_to_sync = True
        answer = append(log, "the one that finds out")
        if fault == "hangs":
            assert await asyncio.to_thread(disk.is_hanging.wait, 20)
            now += 1.0
        assert not await answer
        await asyncio.to_thread(eventually, lambda: log.fault is not None, within=20)
        assert log.writable
        assert await append(log, "meanwhile")
        log.append(event("unheeded"))
        disk.fails_to_sync = False
        disk.gate.set()
        await asyncio.to_thread(eventually, lambda: log.fault is None, within=20)
        assert await append(log, "after")
    local = stored(tmp_path)
    assert verify([("all", (line + b"\n" for line in local))]).is_sound
    direct = [line for line in collector.lines if b"/direct/" in line and b"GK9032W" not in line]
    assert verify([("direct", (line + b"\n" for line in direct))]).is_sound
    assert any(b'"meanwhile"' in line for line in direct)
    assert not any(b'"meanwhile"' in line for line in local)
    assert any(b'"unheeded"' in line for line in [*direct, *local])
    (said,) = [read(line) for line in local if b"GK9032W" in line]
    assert said.text("direct") == read(direct[0]).log
    assert said.text("sha256") == hashlib.sha256(direct[-1]).hexdigest()
    assert said.facts["records_n"] == len(direct)
    assert [line for line in collector.lines if line not in direct] == local


async def test_without_a_remote_either_nothing_is_recorded(
    tmp_path: Path, certificates: Certificates, collector: HttpReceiver
) -> None:
    """The gate fails closed, and says that the disk is to blame."""
    remote = RemoteSettings(
        name="collector", peer=HttpPeer(url=collector.url, tls=certificates.tls), resend=timedelta(0)
    )
    settings = ShippingSettings(required=Required.ANY, timeout=timedelta(seconds=1), remotes=(remote,))
    disk = FaultyDisk()
    collector.answers.status = 503
    async with sending(tmp_path, settings, disk) as (log, _):
        assert await append(log, "a")  # the disk takes it, and that is enough
        disk.fails_to_sync = True
        assert not await append(log, "b")
        assert not await append(log, "c")
        assert not log.writable
        assert log.fault is not None
        disk.fails_to_sync = False
