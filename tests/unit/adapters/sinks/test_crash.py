"""A process that is killed, or loses its power, at any one of the calls by which it writes the log.

Whatever the moment: the log opens again, holds every record that was acknowledged, verifies, and goes on to be signed.
"""

import hashlib
import shutil
from itertools import count
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.compressor import compress
from gatekeeper.adapters.sinks.directory import read_head, segment_paths
from gatekeeper.adapters.sinks.opening import find_ending
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.publisher import Publisher
from gatekeeper.adapters.sinks.reader import all_pieces, lines
from gatekeeper.adapters.sinks.writer import Chain, Limits, Writer
from gatekeeper.audit.chain import verify
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.stored import read
from testkit.audit_log import NOW, ORIGIN, StandingClock, event, line
from testkit.disks import DyingDisk, Killed, LossyDisk, UnevenDisk
from testkit.merkle import KEY, assert_published, checkpoint_of, definition

EVERYTHING = 10**9
LIMITS = Limits(segment_octets=3000, head_interval_s=0, checkpoint_interval_s=0, retry_interval_s=0)


def encoded(of: Event, chain: Chain) -> tuple[bytes, str]:
    made = line(of, chain.sequence, chain.prev)
    chain.sequence += 1
    chain.prev = hashlib.sha256(made).hexdigest()
    return made, chain.prev


def write(directory: Path, disk: FileOperations, acknowledged: list[str]) -> None:
    """Open the log and write four records one by one, over two segments, signing on the way; then compress one."""
    (directory / "segments").mkdir(parents=True, exist_ok=True)
    seconds = count()
    ending = find_ending(directory, ORIGIN, disk)
    records = 0 if ending.last is None else ending.last.sequence + 1

    def monotonic() -> float:
        return float(next(seconds))

    publisher = Publisher(directory, KEY, records=records, files=disk, monotonic=monotonic, interval_s=0)
    conn = ""

    def tell(_count: int, is_recorded: bool) -> None:
        if is_recorded:
            acknowledged.append(conn)

    writer = Writer(
        directory,
        ORIGIN,
        last=ending.last,
        encode=encoded,
        tell=tell,
        clock=StandingClock(),
        monotonic=monotonic,
        limits=LIMITS,
        files=disk,
        publisher=publisher,
    )
    try:
        writer.write_now([Event(code=EventCode.LOG_OPENED, time=NOW)])
        for number in range(4):
            conn = f"c{records}-{number}"
            chain = writer.chain
            assert chain is not None
            writer.queue.put([(chain, *encoded(event(conn), chain))])
            for _ in range(4):  # the record, the head, and two steps of publishing
                writer._write_next()
        first = segment_paths(directory)[0]
        if first.exists():  # else it was compressed before the process died
            compress(first, disk)
    finally:
        writer.queue.close()


def assert_whole(directory: Path, acknowledged: list[str]) -> None:
    """Opened again, with nothing missing that somebody was told is there."""
    ending = find_ending(directory, ORIGIN, FileOperations())
    report = verify(all_pieces(directory), head=read_head(directory))
    assert report.is_sound, [str(finding) for finding in report.findings]
    assert report.last == ending.last
    assert set(acknowledged) <= {read(one).text("conn") for one in lines(directory)}
    leaves = [one[:-1] for one in lines(directory)]
    if (directory / "checkpoint").exists():
        signed = checkpoint_of(directory)
        assert signed.root == definition(leaves[: signed.size])


@pytest.mark.parametrize("disk", [DyingDisk, LossyDisk, UnevenDisk], ids=["killed", "power lost", "some lost"])
@pytest.mark.parametrize("octets", [0, 700, EVERYTHING], ids=["nothing", "some", "all"])
def test_at_any_call_no_acknowledged_record_is_lost(tmp_path: Path, disk: type[DyingDisk], octets: int) -> None:
    """`octets`: how much of the write under way gets to the file; afterwards a second process goes on."""
    for calls in count():
        directory, acknowledged = tmp_path / str(calls), list[str]()
        dying = disk(calls, octets=octets)
        try:
            write(directory, dying, acknowledged)
        except Killed:
            if isinstance(dying, LossyDisk):
                dying.lose(directory)
            assert_whole(directory, acknowledged)
            if calls % 10 == 0:
                write(directory, FileOperations(), acknowledged)
                assert_whole(directory, acknowledged)
                records = len(list(lines(directory)))
                publisher = Publisher(directory, KEY, records=records, files=FileOperations(), monotonic=lambda: 0.0)
                publisher.finish(records, within_s=60)
                assert_published(directory, [one[:-1] for one in lines(directory)])
            shutil.rmtree(directory)
            continue
        break
    assert len(acknowledged) == 4
    assert calls > 60
