"""A good client beside hostile ones: what its log-in takes, and what they cost the gate in memory.

    python -m benchmarks.hostile [--rounds N] [--seconds S] [--json]

Three attacks at once, each connection from an address of its own, as a botnet would come (from few addresses the limits
per address end it sooner): 500 connections that log in an octet a second, 1,000 TLS handshakes that are begun and never
finished, and guesses at the good client's own account that do not wait for their answers. What the gate closes is opened
again. Attackers are a process of their own; on a machine with two processors they share one with the good client and
the mail server, and the gate has the other.

The exit code is 1 when a bound is broken: the median log-in at twice its quiet time, or 50 MiB more memory.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import os
import resource
import shutil
import ssl
import statistics
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import meter, peers
from benchmarks.bench import _split_cpus
from benchmarks.load import Target, close, log_in
from benchmarks.processes import processes

SLOW, HALF_OPEN, GUESSERS = 500, 1000, 50
GUESS_PATIENCE_S = 0.5
SLOWER_AT_MOST = 2.0
MORE_MIB_AT_MOST = 50.0
PAUSE_S = 0.02
"""Between two log-ins of the good client."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round said; times in milliseconds."""

    quiet_ms: float
    quiet_p95_ms: float
    hostile_ms: float
    hostile_p95_ms: float
    log_ins: int
    quiet_mib: float
    hostile_mib: float
    waiting: int
    """Connections that were not logged in, as the gate counted them meanwhile."""
    failed: int
    """Guesses that the mail server refused."""
    held: int


# -- the attackers, in a process of their own --------------------------------------------------------------------------


async def _attack(port: int, certificate: str) -> None:
    context = Target(port, certificate, "", "").context()
    async with asyncio.TaskGroup() as tasks:
        for number in range(SLOW):
            tasks.create_task(_again_and_again(_slow, port, context, 1, number))
        for number in range(HALF_OPEN):
            tasks.create_task(_again_and_again(_half_open, port, None, 2, number))
        for number in range(GUESSERS):
            tasks.create_task(_again_and_again(_guess, port, context, 3, number))


async def _again_and_again(attack, port: int, context: ssl.SSLContext | None, kind: int, number: int) -> None:
    address = f"127.{8 + kind}.{number // 250}.{number % 250 + 1}"
    await asyncio.sleep(number / 500)
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                port,
                ssl=context,
                server_hostname="localhost" if context else None,
                local_addr=(address, 0),
                ssl_handshake_timeout=60 if context else None,
            )
            try:
                await attack(reader, writer)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.05)


async def _slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    for octet in b"a LOGIN somebody@example.com " + b"x" * 4000:
        writer.write(bytes([octet]))
        await writer.drain()
        await asyncio.sleep(1)


async def _half_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Half of them begin a ClientHello, the others send a whole one and do not answer what comes back."""
    hello = _client_hello()
    is_whole = writer.get_extra_info("sockname")[1] % 2 == 0
    writer.write(hello if is_whole else hello[:6])
    while await reader.read(65536):
        pass


@functools.cache
def _client_hello() -> bytes:
    """As OpenSSL says it."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


async def _guess(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(f'a LOGIN "{peers.USER}" "guess"\r\n'.encode())
    async with asyncio.timeout(GUESS_PATIENCE_S):
        await reader.readline()


# -- the measurement ---------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.attack:
        asyncio.run(_attack(int(options.attack[0]), options.attack[1]))
        return 0
    peer_cpus, load_cpus = _split_cpus(pin=not options.no_pin)
    directory = Path(tempfile.mkdtemp(prefix="hostile-"))
    rounds = []
    try:
        directory.chmod(0o755)
        if load_cpus:
            os.sched_setaffinity(0, load_cpus)
        port = peers.free_port()
        with peers.upstream(port, directory, load_cpus):
            site = peers.make_site(directory, port, peer_cpus)
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
                rounds.append(_round(site, load_cpus, options.seconds))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return _report(rounds, as_json=options.json)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hostile", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each half of a round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-pin", action="store_true", help="let the gate and the load share all processors")
    parser.add_argument("--attack", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _round(site: peers.Site, load_cpus: frozenset[int], seconds: float) -> Round:
    with peers.running(peers.Gatekeeper(), site) as gate:
        admin = _admin_port(site.directory / "gatekeeper" / "gatekeeper.toml")
        context = gate.target.context()
        _log_ins(gate.target, context, 2.0)  # warms up
        quiet = _log_ins(gate.target, context, seconds)
        quiet_mib = meter.pss_kib(gate.roots) / 1024
        command = [sys.executable, "-m", "benchmarks.hostile", "--attack", str(gate.target.port), str(site.certificate)]
        with _in_repository(), processes([command], site.directory / "attack.log", load_cpus):
            time.sleep(5)  # until all are there
            hostile, most_mib, waiting = [], 0.0, 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                hostile += _log_ins(gate.target, context, 1.0)
                most_mib = max(most_mib, meter.pss_kib(gate.roots) / 1024)
                waiting = max(waiting, int(_metric(admin, "gatekeeper_connections_waiting")))
            failed = int(_metric(admin, "gatekeeper_logins_failed_total"))
            held = int(_metric(admin, "gatekeeper_logins_throttled_total"))
    return Round(
        *(statistics.median(quiet), _p95(quiet), statistics.median(hostile), _p95(hostile)),
        len(hostile),
        *(quiet_mib, most_mib, waiting, failed, held),
    )


@contextlib.contextmanager
def _in_repository():
    """The attackers are a module of this package, and processes are started in the run's own directory."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _log_ins(target: Target, context: ssl.SSLContext, seconds: float) -> list[float]:
    """Log in again and again; milliseconds from connect to the tagged OK."""
    taken = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        session = log_in(target, context)
        taken.append((time.perf_counter() - start) * 1000)
        close(session)
        time.sleep(PAUSE_S)
    return taken


def _admin_port(config: Path) -> int:
    line = next(line for line in reversed(config.read_text().splitlines()) if line.startswith("bind = "))
    return int(line.rpartition(":")[2].strip('"'))


def _metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def _report(rounds: list[Round], *, as_json: bool) -> int:
    middle = {key: statistics.median(asdict(one)[key] for one in rounds) for key in asdict(rounds[0])}
    slower = middle["hostile_ms"] / middle["quiet_ms"]
    more_mib = middle["hostile_mib"] - middle["quiet_mib"]
    holds = slower < SLOWER_AT_MOST and more_mib < MORE_MIB_AT_MOST
    if as_json:
        print(
            json.dumps(
                {"rounds": [asdict(one) for one in rounds], "slower": slower, "more_mib": more_mib, "holds": holds}
            )
        )
        return 0 if holds else 1
    rows = [
        ("", "quiet", "hostile", "bound"),
        ("log-in, median, ms", f"{middle['quiet_ms']:.2f}", f"{middle['hostile_ms']:.2f}", f"x {slower:.2f} of 2"),
        ("log-in, p95, ms", f"{middle['quiet_p95_ms']:.2f}", f"{middle['hostile_p95_ms']:.2f}", ""),
        ("memory (PSS), MiB", f"{middle['quiet_mib']:.1f}", f"{middle['hostile_mib']:.1f}", f"+ {more_mib:.1f} of 50"),
        ("connections waiting", "0", f"{middle['waiting']:.0f}", ""),
        ("guesses refused / held", "", f"{middle['failed']:.0f} / {middle['held']:.0f}", ""),
    ]
    for row in rows:
        print(f"{row[0]:24}{row[1]:>10}{row[2]:>16}   {row[3]}")
    print("holds" if holds else "BROKEN")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
