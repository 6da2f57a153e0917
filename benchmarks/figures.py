"""The nine figures: how each is measured on a running peer, and what Gatekeeper has to reach.

A measurement gets a fresh instance of the peer, warms it up, and returns one value and the details behind it. CPU and
memory are those of all the peer's processes (meter.py); the load's and the upstream's are never in a figure.
"""

import gc
import json
import math
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import load, meter
from benchmarks.peers import PASSWORD, USER, Running, Site

ROOT = Path(__file__).parent.parent
GIB = 1024**3
MIB = 1024**2
STREAM_COUNT = 8
BUSY_SESSIONS = 64
OPENING_AT_ONCE = 64
"""How many log-ins are under way while thousands of idle sessions are opened."""
CONNECTING_AT_ONCE = 8
"""How many phones connect, log in and close side by side while the cost of that is measured."""
TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    idle_sessions: int = 4000
    bulk_octets: int = GIB
    connects: int = 2000
    noops_one: int = 20_000
    noops_busy: int = 60_000
    stream_s: float = 10.0
    log_in_idle: int = 2000
    log_ins: int = 500
    log_ins_s: float = 5.0
    at_once: int = 1000


FULL = Sizes()
QUICK = Sizes(
    idle_sessions=500,
    bulk_octets=128 * MIB,
    connects=300,
    noops_one=3000,
    noops_busy=10_000,
    stream_s=3.0,
    log_in_idle=300,
    log_ins=100,
    log_ins_s=0.5,
    at_once=200,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One value, in the figure's unit, and what stands behind it."""

    value: float
    details: Mapping[str, object] = field(default_factory=dict)
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `factor` times the peer's figure; without a peer, at most `factor` in the figure's own unit."""

    factor: float
    peer: str = ""

    def __str__(self) -> str:
        return f"≤ {self.factor:.2f} x {self.peer}" if self.peer else f"≤ {self.factor:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    key: str
    title: str
    unit: str
    measure: Callable[[Running, Site, Sizes], Measured]
    reach: Sequence[Limit]
    aim: Limit
    error_free: bool = False
    """Whether one failed session misses the figure."""


# -- measurements ------------------------------------------------------------------------------------------------------


def idle_memory(running: Running, _site: Site, sizes: Sizes) -> Measured:
    """Memory with the sessions open, less memory without, per session."""
    context = _warm(running)
    base = meter.pss_kib(running.roots)
    sessions = _open(running, context, sizes.idle_sessions)
    try:
        meter.settle(running.roots)
        full = meter.pss_kib(running.roots)
    finally:
        _close_all(sessions)
    return Measured(
        (full - base) / len(sessions), {"base_kib": base, "with_sessions_kib": full, "sessions": len(sessions)}
    )


def bulk_down(running: Running, _site: Site, sizes: Sizes) -> Measured:
    """CPU for one session's FETCH of a very large literal."""
    return _bulk(running, sizes.bulk_octets, load.bulk_down)


def bulk_up(running: Running, _site: Site, sizes: Sizes) -> Measured:
    """CPU for one session's upload of a very large literal."""
    return _bulk(running, sizes.bulk_octets, load.bulk_up)


def _bulk(running: Running, octets: int, move: Callable[[ssl.SSLSocket, int, float], None]) -> Measured:
    context = _warm(running)
    sock = load.log_in(running.target, context)
    try:
        move(sock, 8 * MIB, TIMEOUT_S)
        before, start = meter.cpu_ns(running.roots), time.perf_counter()
        move(sock, octets, TIMEOUT_S)
        wall = time.perf_counter() - start
        cpu = (meter.cpu_ns(running.roots) - before) / 1e9
    finally:
        load.close(sock)
    return Measured(cpu / (octets / GIB), {"mib_per_s": octets / MIB / wall, "cpu_share": cpu / wall})


def connect(running: Running, _site: Site, sizes: Sizes) -> Measured:
    """CPU for TLS connect, full handshake, log-in and close, each."""
    context = _warm(running)
    before = meter.cpu_ns(running.roots)
    opened = load.open_many(
        running.target, context, sizes.connects, at_once=CONNECTING_AT_ONCE, timeout_s=TIMEOUT_S, keep=False
    )
    _refuse_errors(opened)
    meter.settle(running.roots)
    cpu = meter.cpu_ns(running.roots) - before
    return Measured(
        cpu / 1e6 / sizes.connects, {"wall_s": opened.wall_s, "log_ins_per_s": sizes.connects / opened.wall_s}
    )


def noop_one(running: Running, _site: Site, sizes: Sizes) -> Measured:
    """CPU per NOOP of one session that asks one after the other."""
    context = _warm(running)
    sock = load.log_in(running.target, context)
    try:
        load.noops(sock, 200, TIMEOUT_S)
        before = meter.cpu_ns(running.roots)
        taken = load.noops(sock, sizes.noops_one, TIMEOUT_S)
        cpu = meter.cpu_ns(running.roots) - before
    finally:
        load.close(sock)
    return Measured(
        cpu / 1e3 / sizes.noops_one, {"p50_us": _percentile(taken, 50) * 1e6, "p99_us": _percentile(taken, 99) * 1e6}
    )


def noop_busy(running: Running, _site: Site, sizes: Sizes) -> Measured:
    """CPU per NOOP of 64 sessions that all ask as fast as they are answered."""
    context = _warm(running)
    sessions = _open(running, context, BUSY_SESSIONS)
    try:
        load.noops_busy(sessions, 1000, TIMEOUT_S)
        before, start = meter.cpu_ns(running.roots), time.perf_counter()
        load.noops_busy(sessions, sizes.noops_busy, TIMEOUT_S)
        wall = time.perf_counter() - start
        cpu = meter.cpu_ns(running.roots) - before
    finally:
        _close_all(sessions)
    return Measured(cpu / 1e3 / sizes.noops_busy, {"per_s": sizes.noops_busy / wall})


def noop_beside_streams(running: Running, site: Site, sizes: Sizes) -> Measured:
    """p99 of a NOOP on one session while eight others fetch as fast as they can."""
    context = _warm(running)
    target = running.target
    arguments = [target.port, target.certificate, target.user, target.password, STREAM_COUNT, sizes.stream_s + 1.0]
    direct = load.log_in_plain(site.upstream_port, USER, PASSWORD)
    sock = load.log_in(target, context)
    command = [sys.executable, "-m", "benchmarks.streams", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, cwd=ROOT) as streams:
        try:
            assert streams.stdout is not None
            if streams.stdout.readline() != b"ready\n":
                raise load.LoadError("the streams did not start")
            time.sleep(0.5)
            through, straight = load.noops_beside([sock, direct], sizes.stream_s)
            output, _ = streams.communicate(timeout=60)
            result = json.loads(output or b"null")
            if not result:
                raise load.LoadError("the streams broke off")
        finally:
            streams.kill()
            load.close(sock)
            direct.close()
    details = {
        "p50_ms": _percentile(through, 50) * 1e3,
        "samples": len(through),
        "streams_mib_per_s": result["octets"] / MIB / result["seconds"],
        "floor_p99_ms": _percentile(straight, 99) * 1e3,
    }
    return Measured(_percentile(through, 99) * 1e3, details)


def log_in_beside_idle(running: Running, _site: Site, sizes: Sizes) -> Measured:
    """p99 of connect to tagged OK, one phone after the other, beside many idle sessions.

    So many log-ins, and for so long: of 500 that take a millisecond each five would say what the p99 is.
    """
    context = _warm(running)
    sessions = _open(running, context, sizes.log_in_idle)
    taken = []
    try:
        meter.settle(running.roots)
        gc.collect()
        gc.disable()  # the client's garbage collector must not show in a peer's p99
        until = time.perf_counter() + sizes.log_ins_s
        while len(taken) < sizes.log_ins or time.perf_counter() < until:
            start = time.perf_counter()
            sock = load.log_in(running.target, context)
            taken.append(time.perf_counter() - start)
            load.close(sock)
    finally:
        gc.enable()
        _close_all(sessions)
    details = {"p50_ms": _percentile(taken, 50) * 1e3, "max_ms": max(taken) * 1e3, "log_ins": len(taken)}
    return Measured(_percentile(taken, 99) * 1e3, details)


def all_at_once(running: Running, _site: Site, sizes: Sizes) -> Measured:
    """Wall time from the first connect until every session is logged in."""
    context = _warm(running)
    own_before, before = time.process_time(), meter.cpu_ns(running.roots)
    opened = load.open_many(running.target, context, sizes.at_once, at_once=sizes.at_once, timeout_s=60.0)
    details = {
        "logged_in": len(opened.sessions),
        "errors": sorted(set(opened.errors))[:5],
        "peer_cpu_s": (meter.cpu_ns(running.roots) - before) / 1e9,
        "phones_cpu_s": time.process_time() - own_before,
    }
    _close_all(opened.sessions)
    return Measured(opened.wall_s, details, errors=len(opened.errors))


FIGURES: tuple[Figure, ...] = (
    Figure(
        "idle",
        "memory per idle session",
        "KiB",
        idle_memory,
        (Limit(0.80, "nginx"), Limit(0.30, "Dovecot")),
        Limit(0.65, "nginx"),
    ),
    Figure(
        "down",
        "CPU per GiB, down",
        "s",
        bulk_down,
        (Limit(0.75, "nginx"), Limit(1.10, "nginx 64k")),
        Limit(0.62, "nginx"),
    ),
    Figure(
        "up", "CPU per GiB, up", "s", bulk_up, (Limit(0.90, "nginx"), Limit(1.10, "nginx 64k")), Limit(0.65, "nginx")
    ),
    Figure("connect", "CPU per connect + log-in + close", "ms", connect, (Limit(1.40, "nginx"),), Limit(0.95, "nginx")),
    Figure("noop", "CPU per NOOP, one session", "µs", noop_one, (Limit(1.50, "nginx"),), Limit(1.00, "nginx")),
    Figure("busy", "CPU per NOOP, 64 busy sessions", "µs", noop_busy, (Limit(1.25, "nginx"),), Limit(1.00, "nginx")),
    Figure(
        "streams",
        "NOOP p99 beside 8 full streams",
        "ms",
        noop_beside_streams,
        (Limit(10.0), Limit(0.40, "nginx")),
        Limit(5.0),
    ),
    Figure(
        "login",
        "log-in p99 beside idle sessions",
        "ms",
        log_in_beside_idle,
        (Limit(1.50, "Dovecot"),),
        Limit(1.00, "Dovecot"),
    ),
    Figure(
        "burst",
        "all at once until logged in",
        "s",
        all_at_once,
        (Limit(1.30, "nginx"),),
        Limit(0.90, "nginx"),
        error_free=True,
    ),
)


# -- shared ------------------------------------------------------------------------------------------------------------


def _warm(running: Running) -> ssl.SSLContext:
    """A few sessions, so that nothing is done for the first time while it is measured."""
    context = running.target.context()
    for _ in range(20):
        sock = load.log_in(running.target, context)
        load.noops(sock, 10, TIMEOUT_S)
        load.close(sock)
    meter.settle(running.roots)
    return context


def _open(running: Running, context: ssl.SSLContext, count: int) -> list[ssl.SSLSocket]:
    opened = load.open_many(running.target, context, count, at_once=OPENING_AT_ONCE, timeout_s=TIMEOUT_S)
    if opened.errors:
        _close_all(opened.sessions)
    _refuse_errors(opened)
    return opened.sessions


def _refuse_errors(opened: load.Opened) -> None:
    if opened.errors:
        raise load.LoadError(f"{len(opened.errors)} log-ins failed: {', '.join(sorted(set(opened.errors))[:3])}")


def _close_all(sessions: Sequence[ssl.SSLSocket]) -> None:
    for sock in sessions:
        load.close(sock)


def _percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
