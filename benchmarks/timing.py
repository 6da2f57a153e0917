"""Whether the time of an answer tells anything to somebody without the right password.

    python -m benchmarks.timing [--attempts N] [--json]

Log-ins with a wrong password, in random order, each from an address of its own: of a user who does not exist, of one
with a clean phone, and of one whose phone is blocked and whose right password was refused, and remembered, a moment ago.
The throttle is off, for its delays would hide what there is. For each pair of kinds: the chance that an answer of the
one takes longer than one of the other. 0.5 is no difference; with 200 attempts each, chance alone stays within 0.41 to
0.59 in 998 of 1,000 runs. Octets are compared as well. The exit code is 1 when anything differs.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import peers
from benchmarks.bench import _split_cpus
from benchmarks.load import LoadError, Target, close, log_in

CLEAN, NOBODY = "clean@example.com", "nobody@example.com"
KINDS = {"unknown user": NOBODY, "wrong password": CLEAN, "blocked device": peers.USER}
WITHIN = (0.41, 0.59)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    peer_cpus, load_cpus = _split_cpus(pin=True)
    directory = Path(tempfile.mkdtemp(prefix="timing-"))
    try:
        directory.chmod(0o755)
        if load_cpus:
            os.sched_setaffinity(0, load_cpus)
        port = peers.free_port()
        with peers.upstream(port, directory, load_cpus), _environment():
            site = peers.make_site(directory, port, peer_cpus)
            with peers.running(peers.Gatekeeper(), site) as gate:
                _block_the_user(directory / "gatekeeper")
                taken, answers = _measure(gate.target, options.attempts)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return _report(taken, answers, as_json=options.json)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timing", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--attempts", type=int, default=200, help="of each kind")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    os.environ["GATEKEEPER_THROTTLE__FIRST_DELAY"] = "0s"
    try:
        yield
    finally:
        del os.environ["GATEKEEPER_THROTTLE__FIRST_DELAY"]


def _block_the_user(directory: Path) -> None:
    """The one user with a password gets a phone with a denied app, another account a clean phone."""
    blocked, clean = peers.clean_phone(), peers.clean_phone()
    time.sleep(1.1)  # a report must be newer than the one on record
    stamp = peers.clean_phone()["collected_at"]
    blocked |= {"apps": [{"id": "com.denied.app1"}], "collected_at": stamp}
    clean |= {"device_id": "clean-phone", "user": CLEAN, "collected_at": stamp}
    inventory = directory / "blocked.jsonl"
    inventory.write_text("".join(json.dumps(phone) + "\n" for phone in (blocked, clean)))
    program = str(Path(sys.executable).parent / "gatekeeper")
    command = [program, "--config", str(directory / "gatekeeper.toml"), "inventory", "import", str(inventory)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _measure(target: Target, attempts: int) -> tuple[dict[str, list[float]], set[str]]:
    context = target.context()
    _be_refused(target)
    order = [kind for kind in KINDS for _ in range(attempts)]
    random.shuffle(order)
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    answers = set()
    for number, kind in enumerate(order):
        if number % 20 == 0:
            _be_refused(target)  # a wrong password forgets it
        guess = Target(target.port, target.certificate, KINDS[kind], "guess")
        start = time.perf_counter()
        try:
            close(log_in(guess, context))
            raise RuntimeError("a guess was right")
        except LoadError as refused:
            taken[kind].append((time.perf_counter() - start) * 1000)
            answers.add(str(refused))
    return taken, answers


def _be_refused(target: Target) -> None:
    """By policy, with the right password."""
    deadline = time.monotonic() + 10
    while True:
        try:
            close(log_in(target, target.context()))
        except LoadError as refused:
            if "UNAVAILABLE" in str(refused):
                return
            raise
        if time.monotonic() > deadline:
            raise RuntimeError("the blocked phone gets in")
        time.sleep(0.1)


def chance_of_longer(one: list[float], other: list[float]) -> float:
    """The share of pairs in which `one` took longer (Mann and Whitney's U, by the size of both); ties count half."""
    longer = sum((a > b) + (a == b) / 2 for a in one for b in other)
    return longer / (len(one) * len(other))


def _report(taken: dict[str, list[float]], answers: set[str], *, as_json: bool) -> int:
    chances = {f"{a} > {b}": chance_of_longer(taken[a], taken[b]) for a, b in itertools.combinations(KINDS, 2)}
    holds = len(answers) == 1 and all(WITHIN[0] < chance < WITHIN[1] for chance in chances.values())
    if as_json:
        medians = {kind: statistics.median(values) for kind, values in taken.items()}
        print(json.dumps({"median_ms": medians, "chances": chances, "answers": len(answers), "holds": holds}))
        return 0 if holds else 1
    for kind, values in taken.items():
        middle = statistics.quantiles(values, n=4)
        print(f"{kind:16} median {middle[1]:6.2f} ms   quartiles {middle[0]:6.2f} {middle[2]:6.2f}   n {len(values)}")
    for name, chance in chances.items():
        print(f"{name:34} {chance:.3f}")
    print(f"{len(answers)} answer{'s' if len(answers) > 1 else ''}: {'; '.join(sorted(answers))}")
    print("no difference" if holds else "DIFFERENT")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
