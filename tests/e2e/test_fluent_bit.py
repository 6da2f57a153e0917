"""A real Fluent Bit that follows the log's files, where one is installed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit import fluent_bit
from testkit.audit_log import ORIGIN, chained, event, write_segments
from testkit.fluent_bit import FluentBit
from testkit.receivers import HttpReceiver, mutual
from testkit.tls import Authority
from testkit.waiting import eventually

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def collector(servers_ca: Authority) -> Iterator[HttpReceiver]:
    """Return a server that takes what comes from holders of a certificate."""
    if fluent_bit.PROGRAM is None:
        pytest.skip("Fluent Bit is not installed; it is in no release of Debian")
    made = HttpReceiver(mutual(servers_ca.server_certificate("collector"), servers_ca))
    yield made
    made.stop()


def test_every_record_arrives_though_fluent_bit_is_killed_and_the_collector_away(
    collector: HttpReceiver, servers_ca: Authority, tmp_path: Path
) -> None:
    """Of old segments, new ones and lines that are appended; the octets are those of the log."""
    lines = chained(event(f"c{number}", message=f'Größe \U0001f4f1 \\ " \x7f\u2028 {number}') for number in range(400))
    (*_, last) = write_segments(tmp_path, lines[:120], lines[120:150])
    forwarder = FluentBit(servers_ca, tmp_path, collector.port)
    try:
        forwarder.start()
        eventually(lambda: len(collector.lines) >= 150, within=20, what=forwarder.log)
        collector.answers.status = 503
        asked = len(collector.posted)
        with last.open("ab") as segment:
            segment.write(b"".join(lines[150:250]))
        eventually(lambda: len(collector.posted) > asked, within=20, what=forwarder.log)
        forwarder.kill()
        with last.open("ab") as segment:
            segment.write(b"".join(lines[250:300]))
        (tmp_path / "segments" / f"{300:020}-20200710T170000Z.jsonl").write_bytes(b"".join(lines[300:]))
        collector.answers.status = 200
        forwarder.start()
        eventually(lambda: len(set(collector.lines)) >= 400, within=20, what=forwarder.log)
    finally:
        forwarder.stop()
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_bytes(b"".join(line + b"\n" for line in collector.lines))
    made = subprocess.run(
        [sys.executable, str(DEPLOY / "received_audit.py"), str(bodies), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.stdout.startswith(f"MADE: 400 records of {ORIGIN}"), made.stdout + made.stderr
    (segment,) = (tmp_path / "out" / "segments").iterdir()
    assert segment.read_bytes() == b"".join(lines)
