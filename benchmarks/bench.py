"""Run the figures on all peers, interleaved, and judge: progress on stderr, the table on stdout, all raw values as JSON.

    python -m benchmarks [--quick] [--rounds N] [--only FIGURE] [--peers NAME] [--json]

A round measures every figure on every peer, one right after the other, so that what disturbs the machine disturbs all
alike; the rounds' median counts, and what is judged are ratios. A peer that is missing is named with the reason. The
exit code is 0 whatever the verdicts are; 1 when nothing could be measured, 130 after Ctrl-C.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import ssl
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import peers
from benchmarks.figures import FIGURES, FULL, QUICK, Figure, Limit, Measured, Sizes
from benchmarks.load import LoadError
from benchmarks.peers import Peer, Site
from benchmarks.processes import PeerMissing

RESULTS = Path(__file__).parent / "results"
SUBJECT = "gatekeeper"
BUSY_LOAD_AVERAGE = 0.5
RATIO_TO = ("nginx", "nginx 64k", "Dovecot")


@dataclass(slots=True)
class Run:
    """What was measured so far."""

    figures: Sequence[Figure]
    peers: list[Peer]
    values: dict[tuple[str, str], list[Measured]] = field(default_factory=dict)
    """By figure and peer."""
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    """Figure, peer, reason."""
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    load_average: float = field(default_factory=lambda: os.getloadavg()[0])
    """Before anything was measured: what others do on this machine."""

    def median(self, figure: Figure, peer: str) -> float | None:
        measured = self.values.get((figure.key, peer))
        return statistics.median(one.value for one in measured) if measured else None

    def errors(self, figure: Figure, peer: str) -> int:
        return sum(one.errors for one in self.values.get((figure.key, peer), ()))


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    sizes = _fit(QUICK if options.quick else FULL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    run = Run(
        figures=[figure for figure in FIGURES if not options.only or figure.key in options.only],
        peers=[peer for peer in peers.all_peers() if not options.peers or peer.name in options.peers],
    )
    rounds = options.rounds or (1 if options.quick else 3)
    started = datetime.now(UTC)
    peer_cpus, load_cpus = _split_cpus(pin=not options.no_pin)
    interrupted = False
    directory = Path(tempfile.mkdtemp(prefix="mailbench-"))
    try:
        directory.chmod(0o755)  # nginx's and Dovecot's unprivileged workers live below it
        if load_cpus:
            os.sched_setaffinity(0, load_cpus)
        port = peers.free_port()
        with peers.upstream(port, directory, load_cpus):
            _measure(run, peers.make_site(directory, port, peer_cpus), sizes, rounds)
    except KeyboardInterrupt:
        interrupted = True
        _say("interrupted: what follows is incomplete")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    report = _report(run, sizes, rounds, started, pinned=bool(peer_cpus))
    if run.values:
        _keep(report, RESULTS / f"{started:%Y%m%dT%H%M%SZ}.json")
    print(json.dumps(report, ensure_ascii=False) if options.json else _table(run, sizes, rounds))
    if interrupted:
        return 130
    return 0 if run.values else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [peer.name for peer in peers.all_peers()]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and one round: a minute or two, rough figures"
    )
    parser.add_argument("--rounds", type=int, choices=range(1, 21), metavar="N", help="default 3; 1 with --quick")
    parser.add_argument("--only", action="append", choices=[figure.key for figure in FIGURES], help="may be repeated")
    parser.add_argument("--peers", action="append", choices=names, help="may be repeated")
    parser.add_argument("--json", action="store_true", help="print the JSON report instead of the table")
    parser.add_argument("--no-pin", action="store_true", help="let peers and load share all processors")
    return parser.parse_args(arguments)


# -- measuring ---------------------------------------------------------------------------------------------------------


def _measure(run: Run, site: Site, sizes: Sizes, rounds: int) -> None:
    for peer in tuple(run.peers):
        try:
            run.versions[peer.name] = peer.version()
            with peers.running(peer, site):
                _say(f"{peer.name} starts and lets a phone in: {run.versions[peer.name]}")
        except PeerMissing as reason:
            run.missing[peer.name] = str(reason)
            run.peers.remove(peer)
            _say(f"{peer.name} is missing: {reason}")
    total = rounds * len(run.figures) * len(run.peers)
    done = 0
    for _ in range(rounds):
        for figure in run.figures:
            for peer in run.peers:
                done += 1
                _measure_one(run, site, sizes, figure, peer, f"[{done:3}/{total}] {peer.name}: {figure.title}")


def _measure_one(run: Run, site: Site, sizes: Sizes, figure: Figure, peer: Peer, label: str) -> None:
    print(f"{label} …", end=" ", file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        with peers.running(peer, site) as running:
            measured = figure.measure(running, site, sizes)
    except (PeerMissing, LoadError, OSError) as problem:
        _say(f"failed: {problem}")
        run.failures.append((figure.key, peer.name, str(problem)))
    else:
        run.values.setdefault((figure.key, peer.name), []).append(measured)
        errors = f", {measured.errors} errors" if measured.errors else ""
        _say(f"{_number(measured.value)} {figure.unit}{errors}  ({time.monotonic() - start:.0f} s)")


def _fit(sizes: Sizes) -> Sizes:
    """Raise this process's descriptor limit, and shrink the number of sessions to what a two-descriptor proxy can hold."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = max(100, (hard - 200) // 2)
    if sizes.idle_sessions <= most:
        return sizes
    _say(f"only {hard} descriptors allowed: at most {most} sessions")
    values = asdict(sizes)
    for key in ("idle_sessions", "log_in_idle", "at_once"):
        values[key] = min(values[key], most)
    return Sizes(**values)


def _split_cpus(*, pin: bool) -> tuple[frozenset[int], frozenset[int]]:
    """One processor for the peer, the others for load and upstream; both empty when nothing is to be pinned."""
    cpus = sorted(os.sched_getaffinity(0))
    if not pin or len(cpus) < 2:
        return frozenset(), frozenset()
    return frozenset(cpus[:1]), frozenset(cpus[1:])


def _interrupt(_signal: int, _frame: types.FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # ending the peers takes seconds at most and must not be cut short
    raise KeyboardInterrupt


# -- judging -----------------------------------------------------------------------------------------------------------


def _ratio(run: Run, figure: Figure, peer: str) -> float | None:
    own, other = run.median(figure, SUBJECT), run.median(figure, peer)
    return own / other if own is not None and other else None


def _meets(run: Run, figure: Figure, limit: Limit) -> bool | None:
    """None: a side of the comparison was not measured."""
    value = _ratio(run, figure, limit.peer) if limit.peer else run.median(figure, SUBJECT)
    return None if value is None else value <= limit.factor


def _verdict(run: Run, figure: Figure) -> str:
    if run.median(figure, SUBJECT) is None:
        return "not measured"
    reached = [_meets(run, figure, limit) for limit in figure.reach]
    if False in reached or (figure.error_free and run.errors(figure, SUBJECT)):
        return "missed"
    if None in reached:
        return "peer missing"
    return "aim met" if _meets(run, figure, figure.aim) else "reach met"


# -- reporting ---------------------------------------------------------------------------------------------------------


def _table(run: Run, sizes: Sizes, rounds: int) -> str:
    names = [peer.name for peer in peers.all_peers()]
    rows = [["figure", *names, *(f"/{name}" for name in RATIO_TO), "reach", "aim", "verdict"]]
    for figure in run.figures:
        values = [_cell(run, figure, name) for name in names]
        ratios = ["-" if (ratio := _ratio(run, figure, name)) is None else f"{ratio:.2f}" for name in RATIO_TO]
        reach = ", ".join(_limit(limit, figure) for limit in figure.reach) + (", no error" if figure.error_free else "")
        rows.append(
            [
                f"{figure.title}, {figure.unit}",
                *values,
                *ratios,
                reach,
                _limit(figure.aim, figure),
                _verdict(run, figure),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "",
        f"Medians of {rounds} round(s); {sizes.idle_sessions} idle sessions, {sizes.bulk_octets >> 20} MiB bulk. Lower is better.",
        f"Python {platform.python_version()} ({os.path.realpath(sys.executable)}), {ssl.OPENSSL_VERSION}.",
        "",
    ]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(5, "  ".join("-" * width for width in widths))
    lines += [""]
    if run.load_average > BUSY_LOAD_AVERAGE:
        lines += [
            f"note: others kept this machine busy (load average {run.load_average:.1f} at the start): expect noise"
        ]
    lines += [*(f"missing: {name}: {reason}" for name, reason in run.missing.items())]
    lines += [f"failed: {name}, {figure}: {reason}" for figure, name, reason in run.failures]
    lines += [
        f"note: {name}, {figure.title}: {one.details['samples']} NOOPs answered in a round, no percentile worth the name"
        for figure in run.figures
        for name in names
        for one in run.values.get((figure.key, name), ())
        if "samples" in one.details and int(str(one.details["samples"])) < 100
    ]
    lines += [
        f"errors: {name}, {figure.title}: {run.errors(figure, name)} sessions were not logged in"
        for figure in run.figures
        for name in names
        if run.errors(figure, name)
    ]
    return "\n".join(lines)


def _limit(limit: Limit, figure: Figure) -> str:
    return f"{limit}" if limit.peer else f"{limit} {figure.unit}"


def _cell(run: Run, figure: Figure, peer: str) -> str:
    if peer in run.missing:
        return "missing"
    median = run.median(figure, peer)
    return "-" if median is None else _number(median)


def _number(value: float) -> str:
    """Three significant digits."""
    return (
        f"{value:.0f}"
        if value >= 100
        else f"{value:.1f}"
        if value >= 10
        else f"{value:.2f}"
        if value >= 1
        else f"{value:.3f}"
    )


def _report(run: Run, sizes: Sizes, rounds: int, started: datetime, *, pinned: bool) -> Mapping[str, object]:
    return {
        "utc": started.isoformat(timespec="seconds"),
        "rounds": rounds,
        "sizes": asdict(sizes),
        "pinned": pinned,
        "machine": _machine(),
        "load_average_before": run.load_average,
        "versions": run.versions,
        "missing": run.missing,
        "failures": [{"figure": figure, "peer": peer, "reason": reason} for figure, peer, reason in run.failures],
        "figures": [_figure_report(run, figure) for figure in run.figures],
    }


def _keep(report: Mapping[str, object], path: Path) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as problem:
        _say(f"raw values could not be written: {problem}")
    else:
        _say(f"raw values: {path}")


def _figure_report(run: Run, figure: Figure) -> Mapping[str, object]:
    measured = {name: found for (key, name), found in run.values.items() if key == figure.key}
    return {
        "figure": figure.key,
        "title": figure.title,
        "unit": figure.unit,
        "peers": {
            name: {"median": statistics.median(one.value for one in found), "rounds": [asdict(one) for one in found]}
            for name, found in measured.items()
        },
        "ratios": {name: ratio for name in RATIO_TO if (ratio := _ratio(run, figure, name)) is not None},
        "reach": [_limit(limit, figure) for limit in figure.reach],
        "aim": _limit(figure.aim, figure),
        "verdict": _verdict(run, figure),
    }


def _machine() -> Mapping[str, object]:
    model = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": model,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
