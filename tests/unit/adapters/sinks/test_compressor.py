"""Compressing closed segments: nothing is lost at any point, nothing is taken on trust, nobody is kept waiting."""

import errno
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.adapters.sinks import content
from gatekeeper.adapters.sinks.compressor import Compressor, compress
from gatekeeper.adapters.sinks.directory import segment_paths
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.packed import MEMBER_OCTETS, SegmentDamaged
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.server.clock import SystemClock
from testkit.audit_log import StandingClock, log_of, write_segments
from testkit.disks import DyingDisk, FaultyDisk, Killed
from testkit.waiting import eventually

LOG = log_of(300)  # several members


@pytest.fixture
def segments(tmp_path: Path) -> list[Path]:
    """Two closed ones and one that is written to."""
    return write_segments(tmp_path, LOG[:120], LOG[120:290], LOG[290:])


def names(directory: Path) -> list[str]:
    return [path.name[20:] for path in sorted((directory / "segments").iterdir())]


def test_a_compressed_segment_takes_the_place_of_the_plain_one(tmp_path: Path, segments: list[Path]) -> None:
    """The same lines, in a fraction of the room, for the same eyes."""
    plain = segments[1].stat().st_size
    assert plain > 2 * MEMBER_OCTETS
    compress(segments[1], FileOperations())
    assert not segments[1].exists()
    gz = content.packed(segments[1])
    assert gz.stat().st_size < plain / 4
    assert gz.stat().st_mode & 0o007 == 0
    assert segment_paths(tmp_path) == segments
    assert list(lines(tmp_path)) == LOG


def test_a_process_killed_at_any_call_leaves_a_log_that_can_be_read(tmp_path: Path) -> None:
    """And compressing again finishes it, whatever lies there."""
    calls = 0
    while True:
        directory = tmp_path / str(calls)
        segment, _ = write_segments(directory, LOG[:10], LOG[10:])
        disk = DyingDisk(calls)
        try:
            compress(segment, disk)
        except Killed:
            assert list(lines(directory)) == LOG
            if segment.exists():
                compress(segment, FileOperations())
            assert list(lines(directory)) == LOG
            assert not segment.exists()
            shutil.rmtree(directory)
            calls += 1
            continue
        break
    assert calls > 8


def test_what_is_not_read_back_as_it_was_written_is_not_taken(segments: list[Path]) -> None:
    """A disk that changes a bit: the plain segment stays, and nothing else."""

    class LyingDisk(FileOperations):
        def write(self, fd: int, data: memoryview) -> int:
            changed = bytearray(data)
            changed[len(changed) // 2] ^= 1
            return super().write(fd, memoryview(changed))

    before = segments[0].read_bytes()
    with pytest.raises(SegmentDamaged):
        compress(segments[0], LyingDisk())
    assert segments[0].read_bytes() == before
    assert not content.packed(segments[0]).exists()
    assert not content.draft(segments[0]).exists()


def test_it_stops_where_it_is_told_to(segments: list[Path]) -> None:
    """Between two members, leaving nothing behind."""
    left = iter([True, False])
    compress(segments[1], FileOperations(), lambda: next(left))
    assert segments[1].exists()
    assert not content.draft(segments[1]).exists()


def started(directory: Path, disk: FileOperations, **more: Any) -> tuple[Compressor, list[str]]:
    told: list[str] = []
    compressor = Compressor(directory, disk, **{"clock": SystemClock(), "report": told.append, **more})
    compressor.start()
    return compressor, told


def test_the_thread_compresses_what_has_come_to_an_end(tmp_path: Path, segments: list[Path]) -> None:
    """What is there at the start, and what comes later; never the last one."""
    compressor, told = started(tmp_path, FileOperations())
    eventually(lambda: compressor.done == 2, within=20)
    assert [name.partition(".")[2] for name in names(tmp_path)] == ["jsonl.gz", "jsonl.gz", "jsonl"]
    segments[2].with_name("00000000000000000300" + segments[2].name[20:]).write_bytes(b"")
    compressor.wake()
    eventually(lambda: compressor.done == 3, within=20)
    assert compressor.end(20)
    assert [name.partition(".")[2] for name in names(tmp_path)] == ["jsonl.gz"] * 3 + ["jsonl"]
    assert told == []


def test_whoever_follows_the_files_has_time_to_read_them(tmp_path: Path, segments: list[Path]) -> None:
    """Each segment so long after its last record."""
    now = int(segments[0].stat().st_mtime)  # whole: a clock has microseconds, and a file's date has not the same ones
    for age, segment in ((60, segments[0]), (59, segments[1])):
        os.utime(segment, (now - age, now - age))
    compressor, told = started(
        tmp_path, FileOperations(), after_s=60.0, clock=StandingClock(datetime.fromtimestamp(now, UTC))
    )
    eventually(lambda: compressor.done, within=20)
    assert compressor.end(20)
    assert [segment.exists() for segment in segments] == [False, True, True]
    assert told == []


def test_a_time_that_never_comes_stops_nothing(tmp_path: Path, segments: list[Path]) -> None:
    """The thread goes on, and ends when it is told to."""
    compressor, told = started(tmp_path, FileOperations(), after_s=timedelta.max.total_seconds())
    assert compressor._compress_all() == 3600
    assert compressor.end(20)
    assert all(segment.exists() for segment in segments)
    assert told == []


def test_when_their_time_is_over_nobody_has_to_say_so(tmp_path: Path, segments: list[Path]) -> None:
    """The thread waits for it; a file dated in the future waits no longer than others."""
    now = SystemClock().now().timestamp()
    os.utime(segments[0], (now - 59.9, now - 59.9))
    os.utime(segments[1], (now + 10**6, now + 10**6))
    compressor, told = started(tmp_path, FileOperations(), after_s=60.0)
    eventually(lambda: compressor.done, within=20)
    assert compressor.end(20)
    assert [segment.exists() for segment in segments] == [False, True, True]
    assert told == []


def test_a_full_disk_is_told_once_and_tried_again(tmp_path: Path, segments: list[Path]) -> None:
    """The plain segments stay meanwhile; no half file takes up room."""
    disk = FaultyDisk()
    disk.room = 100
    compressor, told = started(tmp_path, disk, retry_s=0.01)
    eventually(lambda: compressor.failures >= 4, within=20)
    assert list(lines(tmp_path)) == LOG
    disk.room = None
    eventually(lambda: compressor.done == 2, within=20)
    assert compressor.end(20)
    assert len(set(told)) == len(segments) - 1
    assert all("no space left" in fault for fault in told)


def test_what_does_not_consist_of_lines_is_left_alone(tmp_path: Path) -> None:
    """It stays for `audit verify` to find, is told once, and the others go on."""
    torn, whole, _ = write_segments(tmp_path, [LOG[0], b"torn"], LOG[1:10], LOG[10:])
    compressor, told = started(tmp_path, FileOperations())
    eventually(lambda: compressor.done == 1, within=20)
    compressor.wake()
    compressor.wake()
    assert compressor.end(20)
    assert (torn.exists(), whole.exists()) == (True, False)
    assert (compressor.failures, len(told)) == (1, 1)
    assert torn.name in told[0]


def test_it_ends_with_the_log(tmp_path: Path, segments: list[Path]) -> None:
    """In the middle of a segment too; from a disk that hangs nobody waits for it."""

    class HangingDisk(FileOperations):
        def __init__(self) -> None:
            self.hangs = threading.Event()
            self.answers = threading.Event()

        def fdatasync(self, fd: int) -> None:
            self.hangs.set()
            assert self.answers.wait(30)
            raise OSError(errno.EIO, "input/output error")

    disk = HangingDisk()
    compressor, _ = started(tmp_path, disk)
    assert disk.hangs.wait(20)
    assert not compressor.end(0.01)
    disk.answers.set()
    assert compressor.end(20)
    assert segments[0].exists()
    assert segments[1].exists()
