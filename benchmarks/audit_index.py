"""How long looks into a large audit log take, by its index and (`--scan`) without. `--json` for machines.

    python -m benchmarks.audit_index                                  # 200,000 records: half a minute
    python -m benchmarks.audit_index --records 10000000 --directory /var/tmp    # ten million: 10 GiB, some minutes

The closed segments are compressed as in service (`--plain`: not). Each look is the command as people type it, in a process of its own, and beside it the search alone in this process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from benchmarks.audit import EVENT, ORIGIN
from gatekeeper.adapters.sinks import content
from gatekeeper.adapters.sinks.compressor import compress
from gatekeeper.adapters.sinks.directory import segment_paths
from gatekeeper.adapters.sinks.index import NAME, LogIndex
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.search import Search
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.record import FIRST_PREV, encode
from gatekeeper.audit.wanted import Wanted

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SEGMENT = 64 << 20
PEOPLE = 20_000


def lines(count: int) -> Iterator[bytes]:
    """Records as the gate writes them: sessions let through and ended, one log-in in twenty refused. The chain is not
    made, which an index does not look at."""
    decision = EVENT.decision
    assert decision is not None
    clean = replace(decision, verdict="allow", rule_ids=(), matched=(), phase=None)
    kinds = [
        (EventCode.SESSION_ALLOWED, clean),
        (EventCode.SESSION_ENDED, None),
    ] * 19 + [(EventCode.BLOCKED_APP, decision), (EventCode.CONNECTION_CLOSED, None)]
    templates = []
    for code, of in kinds:
        event = replace(EVENT, code=code, decision=of, detail={} if of else {"device_id": "ph-XXXXXXX"})
        line = encode(event, sequence=9_999_999_999, prev=FIRST_PREV, origin=ORIGIN, address_prefix=(24, 48)).decode()
        line = line.replace("%", "%%").replace("9999999999", "%(n)d").replace("1594400400000", "%(t)d")
        line = line.replace("alice@example.com", "%(u)s").replace("ph-001", "%(d)s").replace("ph-XXXXXXX", "%(d)s")
        line = line.replace("h1Zq0mJtY3k9bC5xW7aE2g", "%(c)s").replace("198.51.100.0", "%(a)s")
        templates.append(line + "\n")
    began = int(BEGAN.timestamp() * 1000)
    for number in range(count):
        session = number // 2
        person = session * 7919 % PEOPLE
        yield (
            templates[number % len(templates)]
            % {
                "n": number,
                "t": began + number * 20,
                "u": f"person{person:05d}@example.com",
                "d": f"ph-{person:05d}",
                "c": f"h1Zq0mJtY3k9{session:010d}",
                "a": f"10.{person >> 8}.{person & 255}.0",
            }
        ).encode()


def write(directory: Path, count: int) -> int:
    """The log; returns its octets."""
    (directory / "segments").mkdir(parents=True)
    total = size = 0
    file = None
    for number, line in enumerate(lines(count)):
        if file is None or size + len(line) > SEGMENT:
            if file is not None:
                file.close()
            began = BEGAN + timedelta(milliseconds=number * 20)
            file = (directory / "segments" / f"{number:020d}-{began:%Y%m%dT%H%M%SZ}.jsonl").open("wb", 1 << 20)
            size = 0
        file.write(line)
        size += len(line)
        total += len(line)
    if file is not None:
        file.close()
    return total


def pack(directory: Path) -> dict[str, float]:
    """Compress all closed segments, as the gate does."""
    started, closed = time.perf_counter(), segment_paths(directory)[:-1]
    for segment in closed:
        compress(segment, FileOperations())
    return {
        "compress_s": round(time.perf_counter() - started, 1),
        "packed_mib": round(sum(map(content.room, segment_paths(directory))) / 2**20),
    }


def looks(count: int) -> dict[str, tuple[Wanted, list[str]]]:
    person = count // 2 // 2 * 7919 % PEOPLE
    half = BEGAN + timedelta(milliseconds=20 * (count // 2))
    return {
        "user": (Wanted(account=f"person{person:05d}@example.com"), ["--user", f"person{person:05d}@example.com"]),
        "device": (Wanted(device=f"ph-{person:05d}"), ["--device", f"ph-{person:05d}"]),
        "device, a day": (
            Wanted(device=f"ph-{person:05d}", since=half, until=half + timedelta(days=1)),
            [
                "--device",
                f"ph-{person:05d}",
                "--since",
                half.isoformat(),
                "--until",
                (half + timedelta(days=1)).isoformat(),
            ],
        ),
        "address": (
            Wanted(network=ip_network(f"10.{person >> 8}.{person & 255}.7")),
            ["--address", f"10.{person >> 8}.{person & 255}.7"],
        ),
        "connection": (Wanted(conn=f"h1Zq0mJtY3k9{count // 4:010d}"), ["--conn", f"h1Zq0mJtY3k9{count // 4:010d}"]),
        "user, blocked": (
            Wanted(account=f"person{person:05d}@example.com", codes=frozenset({"GK1002W"})),
            ["--user", f"person{person:05d}@example.com", "--code", "GK1002W"],
        ),
        "nobody": (Wanted(account="nobody@example.com"), ["--user", "nobody@example.com"]),
    }


def measure(directory: Path, count: int, *, scan: bool) -> dict[str, object]:
    started = time.perf_counter()
    index = LogIndex(directory)
    list(Search(directory, Wanted(account="nobody"), print, index).all())
    build = time.perf_counter() - started
    index.close()
    result: dict[str, object] = {
        "build_s": round(build, 1),
        "index_mib": round((directory / NAME).stat().st_size / 2**20, 1),
    }
    environment = os.environ | {"GATEKEEPER_AUDIT__DIRECTORY": str(directory)}
    for name, (wanted, arguments) in looks(count).items():
        took, commands, found = [], [], 0
        for _ in range(5):
            started = time.perf_counter()
            index = LogIndex(directory)
            found = len(list(Search(directory, wanted, print, index).all()))
            index.close()
            took.append(time.perf_counter() - started)
        for _ in range(3):
            started = time.perf_counter()
            shown = subprocess.run(
                [sys.executable, "-m", "gatekeeper", "audit", "query", "--json", *arguments],
                env=environment,
                check=True,
                capture_output=True,
            )
            commands.append(time.perf_counter() - started)
            assert shown.stdout.count(b"\n") == found
        result[name] = {
            "records": found,
            "search_ms": round(statistics.median(took) * 1000, 1),
            "command_ms": round(statistics.median(commands) * 1000),
        }
        if scan:
            started = time.perf_counter()
            assert len(list(Search(directory, wanted, print).all())) == found
            result[name]["scan_ms"] = round((time.perf_counter() - started) * 1000)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--plain", action="store_true", help="leave the segments as they were written")
    parser.add_argument("--scan", action="store_true", help="each look without the index too")
    parser.add_argument("--directory", type=Path, help="where to write (default: the temporary directory)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        octets = write(directory, arguments.records)
        packed = {} if arguments.plain else pack(directory)
        results = measure(directory, arguments.records, scan=arguments.scan)
    results = {"records": arguments.records, "log_mib": round(octets / 2**20), **packed, **results}
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for key, value in results.items():
        shown = (
            "  ".join(f"{number:>9,} {unit}" for unit, number in value.items())
            if isinstance(value, dict)
            else f"{value:,}"
        )
        print(f"{key:<14} {shown}")


if __name__ == "__main__":
    main()
