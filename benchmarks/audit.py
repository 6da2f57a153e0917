"""Records a second of the audit log, each waiter appending again once its record is durable. `--json` for machines.

Beside it stands what the disk alone can do: one record's octets written and fdatasynced, one after the other.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.record import FIRST_PREV, encode
from gatekeeper.domain.decision import Decision, Phase, Reason, Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, PostureState
from gatekeeper.domain.request import Connection, MailProtocol

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
    audit = FileAuditLog.open(directory, origin=ORIGIN, clock=Clock())
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--directory", type=Path, help="where to write (default: the temporary directory)")
    arguments = parser.parse_args()
    seconds = 0.5 if arguments.quick else 3.0
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        results: dict[str, object] = {"encode_us": encoding(), "disk": disk(directory, seconds)}
        for waiters in (1, 64, 1000):
            results[f"log_{waiters}"] = asyncio.run(log(directory / f"log-{waiters}", waiters, seconds))
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"encoding one record: {results.pop('encode_us')} us")
    print(f"{'':<10}{'records/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'a batch':>10}")
    for name, row in results.items():
        batch = row.get("records_per_batch", 1)
        print(f"{name:<10}{row['per_second']:>12,}{row['p50_ms']:>10}{row['p99_ms']:>10}{batch:>10}")


if __name__ == "__main__":
    main()
