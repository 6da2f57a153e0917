"""An audit log that is signed while it is written."""

import asyncio
import dataclasses
import shutil
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogDamaged, AuditLogError, segment_paths
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.signing_key import load_or_make_key
from gatekeeper.adapters.sinks.writer import Limits
from testkit.audit_log import ORIGIN
from testkit.disks import FaultyDisk
from testkit.merkle import assert_published
from testkit.waiting import eventually
from unit.adapters.sinks.test_file import append, append_until, codes, conns, opened

QUICK = Limits(retry_interval_s=0.01, checkpoint_interval_s=0.02, stall_limit_s=60)


def assert_signed(directory: Path) -> None:
    """Every record there is."""
    assert_published(
        directory, [line[:-1] for line in lines(directory)], load_or_make_key(directory / "signing.key", ORIGIN)
    )


async def test_all_is_signed_when_the_log_is_closed(tmp_path: Path) -> None:
    """Also that it was closed; and again by the next process, whose log goes on."""
    for _ in range(2):
        async with opened(tmp_path, signing_key=tmp_path / "signing.key") as log:
            for number in range(150):
                assert await append(log, f"c{number}")
        assert_signed(tmp_path)
    assert len(codes(tmp_path)) == 304


async def test_it_is_signed_while_it_is_open(tmp_path: Path) -> None:
    """Soon after each record; what is recorded is never held up."""
    async with opened(tmp_path, limits=QUICK, signing_key=tmp_path / "signing.key") as log:
        for number in range(5):
            assert await append(log, f"c{number}")
            eventually(lambda: log.counters.signed == log.counters.records, within=20)
            assert_signed(tmp_path)


async def test_a_log_that_was_never_signed_is_taken_up(tmp_path: Path) -> None:
    """With all it has."""
    async with opened(tmp_path) as log:
        for number in range(300):
            assert await append(log, f"c{number}")
    assert not (tmp_path / "checkpoint").exists()
    async with opened(tmp_path, signing_key=tmp_path / "signing.key"):
        pass
    assert_signed(tmp_path)


async def test_after_a_failed_write_what_was_recorded_is_signed(tmp_path: Path) -> None:
    """Over the segments before and after, without what was cut off."""
    disk = FaultyDisk()
    async with opened(tmp_path, disk, QUICK, signing_key=tmp_path / "signing.key") as log:
        assert await append(log, "before")
        eventually(lambda: log.counters.signed == 2, within=20)
        disk.room = 100
        assert not await append(log, "torn")
        disk.room = None
        await append_until(log, wanted=True)
    assert len(segment_paths(tmp_path)) == 2
    assert_signed(tmp_path)


async def test_a_log_is_compressed_while_it_is_written_and_signed(tmp_path: Path) -> None:
    """Segment by segment; the next process compresses what the one before had left, and goes on with the tree."""
    limits = dataclasses.replace(QUICK, segment_octets=20_000)
    for session in range(2):
        async with opened(tmp_path, limits=limits, compress_after_s=0.0, signing_key=tmp_path / "signing.key") as log:
            for number in range(100):
                assert await append(log, f"c{session}-{number}")
            eventually(lambda: not any(path.exists() for path in segment_paths(tmp_path)[:-1]), within=20)
        assert_signed(tmp_path)
    shutil.rmtree(tmp_path / "tile")  # made again from what is compressed
    async with opened(tmp_path, limits=limits, signing_key=tmp_path / "signing.key"):
        pass
    assert len(segment_paths(tmp_path)) > 10
    assert_signed(tmp_path)
    assert conns(tmp_path) == [f"c{session}-{number}" for session in range(2) for number in range(100)]


class NoCheckpoints(FaultyDisk):
    """Has no room for one file."""

    is_full = True

    def open(self, path: Path, flags: int) -> int:
        if self.is_full and path.name == "checkpoint.new":
            raise OSError(28, "no space left on device")
        return super().open(path, flags)


async def test_what_cannot_be_signed_is_recorded_all_the_same(tmp_path: Path) -> None:
    """It is counted, said once, and signed when that is possible again."""
    disk = NoCheckpoints()
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    async with opened(tmp_path, disk, QUICK, signing_key=tmp_path / "signing.key") as log:
        eventually(lambda: log.counters.checkpoint_failures > 1, within=20)
        assert await append(log, "a")
        assert log.writable
        assert log.counters.signed == 0
        assert told == ["the audit log's checkpoint cannot be published: [Errno 28] no space left on device"]
        disk.is_full = False
        eventually(lambda: log.counters.signed == 2, within=20)
    assert_signed(tmp_path)


async def test_silence_is_recorded(tmp_path: Path) -> None:
    """A heartbeat when nothing else was, and none beside other records."""
    async with opened(tmp_path, limits=Limits(heartbeat_s=0.02)):
        await asyncio.to_thread(eventually, lambda: "GK9002I" in codes(tmp_path), within=20)
    async with opened(tmp_path / "busy") as log:
        assert await append(log, "a")
        log._pulse._beat()
        assert await append(log, "b")
        log._pulse._beat()
    assert codes(tmp_path / "busy") == ["GK9001I", "GK1002W", "GK1002W", "GK9003I"]


async def test_a_restored_log_is_not_opened(tmp_path: Path) -> None:
    """Nothing is written to it, and the operator is told what to do."""
    async with opened(tmp_path, signing_key=tmp_path / "signing.key") as log:
        assert await append(log, "a")
    (segment,) = segment_paths(tmp_path)
    content = segment.read_bytes()
    older = content[: content.index(b"\n") + 1]
    segment.write_bytes(older)
    (tmp_path / "head.json").unlink()
    with pytest.raises(AuditLogDamaged, match=r"has 1 records, but 3 were signed\. If it was restored from a backup"):
        async with opened(tmp_path, signing_key=tmp_path / "signing.key"):
            pass
    assert segment.read_bytes() == older
    assert segment_paths(tmp_path) == [segment]


async def test_a_lost_key_is_not_replaced(tmp_path: Path) -> None:
    """It is to be put back."""
    async with opened(tmp_path, signing_key=tmp_path / "signing.key"):
        pass
    (tmp_path / "signing.key").rename(tmp_path / "elsewhere")
    with pytest.raises(AuditLogError, match="is gone"):
        async with opened(tmp_path, signing_key=tmp_path / "signing.key"):
            pass
    async with opened(tmp_path, signing_key=tmp_path / "elsewhere"):
        pass
