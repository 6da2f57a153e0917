"""A process that is killed while it writes: no record that was acknowledged is missing afterwards."""

import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from gatekeeper.adapters.sinks.directory import read_head
from gatekeeper.adapters.sinks.identities import IdentityMap
from gatekeeper.adapters.sinks.opening import find_ending
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.publisher import Publisher
from gatekeeper.adapters.sinks.reader import all_pieces, lines
from gatekeeper.adapters.sinks.signing_key import key_of
from gatekeeper.audit.chain import verify
from gatekeeper.audit.stored import read
from testkit.audit_log import ORIGIN
from testkit.merkle import assert_published, checkpoint_of, definition

_WRITER = """
import asyncio, os, sys
from datetime import UTC, datetime
from pathlib import Path
from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.identities import IdentityMap
from gatekeeper.adapters.sinks.writer import Limits
from gatekeeper.audit.event import Event, EventCode

class Clock:
    def now(self):
        return datetime(2020, 7, 10, tzinfo=UTC)

async def main():
    names = IdentityMap(Path(sys.argv[3]), b"k" * 32) if len(sys.argv) > 3 else None
    log = FileAuditLog.open(
        Path(sys.argv[1]),
        origin=sys.argv[2],
        clock=Clock(),
        signing_key=Path(sys.argv[1], "signing.key"),
        names=names,
        limits=Limits(stall_limit_s=60),  # a disk that has much to do beside is no end of the answers
    )
    number = 0
    def write():
        nonlocal number
        mine = number
        number += 1
        def recorded(is_recorded):
            assert is_recorded
            os.write(1, b"%d\\n" % mine)
            write()
        log.append(
            Event(
                code=EventCode.CONFIGURATION_LOADED, time=Clock().now(), account=f"u{mine}@x.example", detail={"mine": mine}
            ),
            recorded,
        )
    for _ in range(20):
        write()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 7, 40, 100, 250] * 4)
def test_no_acknowledged_record_is_lost(tmp_path: Path, acknowledged: int) -> None:
    """Killed after so many answers: every answered record is in the log, which can be continued and signed."""
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), ORIGIN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(acknowledged)]
        process.kill()
        told += process.stdout.readlines()
    answered = {int(line) for line in told if line.endswith(b"\n")}

    ending = find_ending(tmp_path, ORIGIN, FileOperations())

    report = verify(all_pieces(tmp_path), head=read_head(tmp_path))
    assert report.is_sound, [str(finding) for finding in report.findings]
    assert report.last == ending.last
    written = {record.facts.get("mine") for record in map(read, lines(tmp_path))}
    assert len(answered) >= acknowledged
    assert answered <= written

    key = key_of(tmp_path, tmp_path / "signing.key", ORIGIN)
    leaves = [line[:-1] for line in lines(tmp_path)]
    if (tmp_path / "checkpoint").exists():
        signed = checkpoint_of(tmp_path, key)
        assert signed.root == definition(leaves[: signed.size])
    publisher = Publisher(tmp_path, key, records=len(leaves), files=FileOperations(), monotonic=monotonic)
    publisher.finish(len(leaves), within_s=60)
    assert_published(tmp_path, leaves, key)


@pytest.mark.parametrize("acknowledged", [1, 40, 200])
def test_no_record_has_a_pseudonym_that_nobody_can_resolve(tmp_path: Path, acknowledged: int) -> None:
    """Names are in the map before the lines are in the log, whenever the process is killed."""
    log, names = tmp_path / "log", tmp_path / "map"
    command = [sys.executable, "-c", _WRITER, str(log), ORIGIN, str(names)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(acknowledged):
            process.stdout.readline()
        process.kill()
    found = IdentityMap(names, b"k" * 32)
    records = list(map(read, lines(log)))
    people = {record.account: record.facts["mine"] for record in records if record.account is not None}
    assert len(people) >= acknowledged
    assert {found.name_of(one): mine for one, mine in people.items()} == {
        f"u{mine}@x.example": mine for mine in people.values()
    }
    found.close()
