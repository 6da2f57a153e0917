"""Run the figures on all peers, interleaved, and judge: progress on stderr, the table on stdout, all raw values as JSON.

    python -m benchmarks [--quick] [--rounds N] [--only WHAT] [--peers NAME] [--json]

First the mail figures, side by side with the peers; then what is measured of Gatekeeper alone (`sections.py`). A round
measures every mail figure on every peer, one right after the other, so that what disturbs the machine disturbs all
alike; the rounds' median counts, and what is judged are ratios. A peer that is missing is named with the reason. The
exit code is 0 whatever the verdicts are; 1 when nothing could be measured, 130 after Ctrl-C.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import peers
from benchmarks.figures import FIGURES, FULL, QUICK, Figure, Sizes
from benchmarks.load import LoadError
from benchmarks.peers import Peer, Site
from benchmarks.processes import PeerMissing
from benchmarks.report import SUBJECT, Run, number, report, table
from benchmarks.sections import SECTIONS, Section, Work

RESULTS = Path(__file__).parent / "results"
MAIL = "mail"
"""All that is measured side by side."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    sizes = _fit(QUICK if options.quick else FULL)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _interrupt)
    only = set(options.only or [MAIL, *(section.name for section in SECTIONS)])
    run = Run(
        figures=[figure for figure in FIGURES if MAIL in only or figure.key in only],
        peers=[peer for peer in peers.all_peers() if not options.peers or peer.name in options.peers],
    )
    rounds = options.rounds or (1 if options.quick else 3)
    started = datetime.now(UTC)
    peer_cpus, load_cpus = _split_cpus(pin=not options.no_pin)
    interrupted = False
    directory = Path(tempfile.mkdtemp(prefix="mailbench-"))
    try:
        directory.chmod(0o755)  # nginx's and Dovecot's unprivileged workers live below it
        if run.figures:
            _measure_mail(run, directory, sizes, rounds, (peer_cpus, load_cpus))
        for section in SECTIONS:
            if section.name in only:
                _measure_section(run, section, directory / section.name, is_quick=options.quick)
    except KeyboardInterrupt:
        interrupted = True
        _say("interrupted: what follows is incomplete")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    found = report(run, sizes, rounds, started, pinned=bool(peer_cpus))
    if run.values or run.alone:
        _keep(found, RESULTS / f"{started:%Y%m%dT%H%M%SZ}.json")
    print(json.dumps(found, ensure_ascii=False) if options.json else table(run, sizes, rounds))
    if interrupted:
        return 130
    return 0 if run.values or run.alone else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [peer.name for peer in peers.all_peers()]
    choices = [MAIL, *(figure.key for figure in FIGURES), *(section.name for section in SECTIONS)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and one round: a minute or two, rough figures"
    )
    parser.add_argument("--rounds", type=int, choices=range(1, 21), metavar="N", help="default 3; 1 with --quick")
    parser.add_argument(
        "--only", action="append", choices=choices, metavar="WHAT", help=f"may be repeated: {', '.join(choices)}"
    )
    parser.add_argument("--peers", action="append", choices=names, help="may be repeated")
    parser.add_argument("--json", action="store_true", help="print the JSON report instead of the table")
    parser.add_argument("--no-pin", action="store_true", help="let peers and load share all processors")
    return parser.parse_args(arguments)


# -- measuring ---------------------------------------------------------------------------------------------------------


def _measure_mail(
    run: Run, directory: Path, sizes: Sizes, rounds: int, cpus: tuple[frozenset[int], frozenset[int]]
) -> None:
    peer_cpus, load_cpus = cpus
    everywhere = os.sched_getaffinity(0)
    try:
        if load_cpus:
            os.sched_setaffinity(0, load_cpus)
        port = peers.free_port()
        with peers.upstream(port, directory, load_cpus):
            _measure(run, peers.make_site(directory, port, peer_cpus), sizes, rounds)
    finally:
        os.sched_setaffinity(0, everywhere)


def _measure_section(run: Run, section: Section, directory: Path, *, is_quick: bool) -> None:
    """All figures of a section; what it had found until it failed counts."""
    start = time.monotonic()
    _say(f"[{section.name}] {section.title}")
    directory.mkdir()
    try:
        for one in section.measure(Work(directory, is_quick, lambda text: _say(f"[{section.name}] {text} …"))):
            run.alone.setdefault(section.name, []).append(one)
            _say(f"[{section.name}] {one.title}: {number(one.value)} {one.unit}  ({time.monotonic() - start:.0f} s)")
    except Exception as problem:
        run.not_measured[section.name] = f"{type(problem).__name__}: {problem}"
        _say(f"[{section.name}] failed: {problem}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


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
    for turn in range(rounds):
        for figure in run.figures:
            for peer in in_order(run.peers, figure, turn):
                done += 1
                _measure_one(run, site, sizes, figure, peer, f"[{done:3}/{total}] {peer.name}: {figure.title}")


def in_order(compared: Sequence[Peer], figure: Figure, turn: int) -> list[Peer]:
    """Who is measured when: Gatekeeper, next to it whom it has to reach, then the others; every second round backwards.

    The speed of a shared machine changes within a minute, and nginx's log-ins alone take longer: between the two sides
    of a ratio there is to be nobody else.
    """
    reached = [limit.peer for limit in figure.reach]
    order = sorted(compared, key=lambda peer: (peer.name != SUBJECT, peer.name not in reached))
    return order[::-1] if turn % 2 else order


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
        _say(f"{number(measured.value)} {figure.unit}{errors}  ({time.monotonic() - start:.0f} s)")


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
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # ending the peers takes seconds at most and must not be cut short
    raise KeyboardInterrupt


def _keep(report: Mapping[str, object], path: Path) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as problem:
        _say(f"raw values could not be written: {problem}")
    else:
        _say(f"raw values: {path}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
