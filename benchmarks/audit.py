"""The audit log: records a second, and what it adds to a log-in. `--json` for machines, `--quick` for a first look.

Three things side by side: the disk alone (one record's octets written and fdatasynced, one after the other); the log,
signed and compressed as it is in a gate, with 1, 64 and 1,000 waiters that each append again once their record is
durable; and a gate in which 64 phones log in at the same time over and over, with its log and with one that answers at
once and writes nothing. About half a minute; `--quick` a quarter of it.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import load, peers
from benchmarks.processes import PeerMissing
from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.writer import Limits
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.record import FIRST_PREV, encode
from gatekeeper.domain.decision import Decision, Phase, Reason, Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, PostureState
from gatekeeper.domain.request import Connection, MailProtocol

PHONES = 64
SEGMENT = 8 << 20
"""So that segments end, and are compressed, while it is measured."""
NOW = datetime(2020, 7, 10, 17, tzinfo=UTC)
ORIGIN = "gatekeeper.example/audit/1"

EVENT = Event(
    code=EventCode.BLOCKED_APP,
    time=NOW,
    connection=Connection("h1Zq0mJtY3k9bC5xW7aE2g", MailProtocol.IMAP, "imaps", "198.51.100.7", 40000, 9993),
    account="alice@example.com",
    mechanism="PLAIN",
    decision=Decision(
        verdict=Verdict.BLOCK,
        reasons=(Reason.APP_MATCH,),
        posture=PostureState.DENIED,
        binding=Binding(assurance=Assurance.PROVEN, method="client_certificate"),
        policy_sha256="a" * 64,
        valid_until=NOW + timedelta(hours=1),
        device_id=DeviceId("ph-001"),
        rule_ids=("no-tiktok",),
        matched=("ios:com.zhiliaoapp.musically",),
        phase=Phase.ENFORCE,
        evidence_sha256="b" * 64,
        evidence_source="company-agents",
        collected_at=NOW - timedelta(seconds=412),
        apps_count=143,
    ),
    message="Mail sign-in refused: TikTok is installed",
)


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def figures(latencies: list[float], elapsed: float) -> dict[str, float]:
    latencies.sort()
    return {
        "per_second": round(len(latencies) / elapsed),
        "p50_ms": round(statistics.median(latencies) * 1000, 3),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 3),
    }


def encoding() -> float:
    """Microseconds for one record."""
    best = min(
        _seconds(lambda: encode(EVENT, sequence=12345, prev=FIRST_PREV, origin=ORIGIN, address_prefix=(24, 48)))
        for _ in range(5)
    )
    return round(best * 1e6, 1)


def _seconds(call: object, count: int = 5000) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count


def disk(directory: Path, seconds: float) -> dict[str, float]:
    data = encode(EVENT, sequence=12345, prev=FIRST_PREV, origin=ORIGIN, address_prefix=(24, 48)) + b"\n"
    fd = os.open(directory / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    latencies = []
    started = now = time.perf_counter()
    while now - started < seconds:
        os.write(fd, data)
        os.fdatasync(fd)
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    os.close(fd)
    return figures(latencies, now - started)


async def log(directory: Path, waiters: int, seconds: float) -> dict[str, float]:
    audit = FileAuditLog.open(
        directory,
        origin=ORIGIN,
        clock=Clock(),
        signing_key=directory / "signing.key",
        limits=Limits(segment_octets=SEGMENT),
        compress_after_s=0.0,
    )
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    finished = loop.create_future()
    started = time.perf_counter()
    running = waiters

    def begin() -> None:
        appended = time.perf_counter()

        def recorded(is_recorded: bool) -> None:
            nonlocal running
            assert is_recorded
            now = time.perf_counter()
            latencies.append(now - appended)
            if now - started < seconds:
                begin()
                return
            running -= 1
            if not running:
                finished.set_result(now - started)

        audit.append(EVENT, recorded)

    for _ in range(waiters):
        begin()
    elapsed = await finished
    counters = audit.counters
    result = figures(latencies, elapsed) | {"records_per_batch": round(counters.records / counters.batches, 1)}
    await audit.close()
    return result


@dataclass(frozen=True)
class Timed(peers.Gatekeeper):
    """The gate with a stop watch, or without a log."""

    name: str = "gatekeeper with its log"
    log: str = "file"

    def commands(self, site: peers.Site, directory: Path, port: int) -> Sequence[Sequence[str]]:
        ((_, *arguments),) = super().commands(site, directory, port)
        variables = ["env", f"GATEKEEPER_BENCH_LOG={self.log}", f"PYTHONPATH={peers.HERE.parent}"]
        return [[*variables, sys.executable, str(peers.HERE / "audit_gate.py"), *arguments]]


def gate(directory: Path, bursts: int) -> dict[str, float]:
    """Bursts of 64 log-ins, in turn with and without a log: how long each waits for its record, and what that adds."""
    with_log, without = Timed(), Timed("gatekeeper without a log", "none")
    taken: dict[str, list[float]] = {}
    port = peers.free_port()
    with peers.upstream(port, directory, frozenset()):
        site = peers.make_site(directory, port, frozenset())
        with peers.running(with_log, site) as one, peers.running(without, site) as other:
            for number in range(bursts + 3):  # three to warm up
                for peer, running in ((with_log, one), (without, other)):
                    opened = load.open_many(
                        running.target, running.target.context(), PHONES, at_once=PHONES, timeout_s=30.0, keep=False
                    )
                    if number >= 3:
                        taken.setdefault(peer.name, []).append(opened.wall_s)
    waits = json.loads((directory / with_log.name.replace(" ", "-") / "waits.json").read_text())[-bursts * PHONES :]
    last = {name: statistics.median(walls) * 1000 for name, walls in taken.items()}
    return figures(waits, sum(taken[with_log.name])) | {
        "last_of_64_ms": round(last[with_log.name], 2),
        "last_of_64_without_ms": round(last[without.name], 2),
        "added_ms": round(last[with_log.name] - last[without.name], 2),
    }


def measured(directory: Path, *, quick: bool) -> dict[str, object]:
    """Everything."""
    seconds = 0.5 if quick else 3.0
    results: dict[str, object] = {"encode_us": encoding(), "disk": disk(directory, seconds)}
    for waiters in (1, PHONES, 1000):
        results[f"log_{waiters}"] = asyncio.run(log(directory / f"log-{waiters}", waiters, seconds))
    try:
        results["gate_64"] = gate(directory, 10 if quick else 60)
    except PeerMissing as reason:
        results["gate_missing"] = str(reason)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--directory", type=Path, help="where to write (default: the temporary directory)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        Path(name).chmod(0o755)
        results = measured(Path(name), quick=arguments.quick)
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"encoding one record: {results.pop('encode_us')} us")
    print(f"{'':<10}{'records/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'a batch':>10}")
    for name, row in results.items():
        if isinstance(row, str):
            print(f"{name}: {row}")
            continue
        batch = row.get("records_per_batch", "")
        print(f"{name:<10}{row['per_second']:>12,}{row['p50_ms']:>10}{row['p99_ms']:>10}{batch:>10}")
    if "gate_64" in results:
        gate_64 = results["gate_64"]
        print(
            f"until the last of {PHONES} log-ins at once is in: {gate_64['last_of_64_ms']} ms, "
            f"without a log {gate_64['last_of_64_without_ms']} ms"
        )


if __name__ == "__main__":
    main()
