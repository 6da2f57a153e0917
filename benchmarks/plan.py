"""How long plans, replays and publications take on a large store: `python -m benchmarks.plan DIRECTORY`.

DIRECTORY is made by `python -m benchmarks.inventory`. Plan and replay are the commands, as processes; publishing is a gate
in this process, with open sessions of people whose devices are not in memory, on the same store. `--json` for machines.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.directory import DeviceDirectory
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.audit.event import Event
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.decision import Decision, Reason, Verdict
from gatekeeper.domain.posture import Assurance, Binding, PostureState
from gatekeeper.domain.request import Connection, MailProtocol, Request
from gatekeeper.gate.admit import Gate
from gatekeeper.gate.identify import BindingSettings
from gatekeeper.gate.sessions import Admission
from gatekeeper.gate.settings import GateSettings
from gatekeeper.server.clock import SystemClock

TICK_S = 0.25


class Nowhere:
    """An audit log that keeps nothing: writing it is another benchmark."""

    writable = True

    def append(self, _event: Event, recorded: Callable[[bool], None] | None = None) -> None:
        if recorded is not None:
            recorded(True)  # noqa: FBT003  as the port has it


def command(directory: Path, *arguments: str) -> dict[str, object]:
    """Run a `gatekeeper` command; what it took."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = subprocess.Popen(
            [sys.executable, "-m", "gatekeeper", *arguments], stdout=output, stderr=errors, cwd=directory
        )
        _, status, used = os.wait4(started.pid, 0)
        wall = time.monotonic() - began
        started.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        said = output.read().strip().splitlines()
        if started.returncode not in (0, 1, 3):
            raise SystemExit(errors.read())
    return {
        "wall_s": round(wall, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "max_rss_mib": round(used.ru_maxrss / 1024),
        "head": said[:4],
        "said": said[4:],
    }


def plan(directory: Path) -> dict[str, object]:
    directory = directory.absolute()
    return command(
        directory, "policy", "plan", str(directory / "candidate.toml"), "--against", str(directory / "in-force.toml"),
        "--store", f"sqlite:///{directory / 'store.sqlite3'}", "--names", "3",
    )  # fmt: skip


def replay(directory: Path) -> dict[str, object]:
    directory = directory.absolute()
    return command(
        directory, "audit", "--directory", str(directory / "audit"), "replay", "--policy", str(directory / "candidate.toml"),
        "--since", "7d", "--store", f"sqlite:///{directory / 'store.sqlite3'}", "--limit", "3",
    )  # fmt: skip


def policy(path: Path) -> Policy:
    return parse_policy(path.read_bytes(), source=path.name)


async def publish(directory: Path, sessions: int) -> dict[str, object]:
    """A rule comes into force: until every open session is decided, and the last that falls is cut."""
    candidate = parse_policy(
        (directory / "candidate.toml").read_text().replace('enforce = "2026-12', 'enforce = "2026-01').replace('warn = "2026-01-01", ', "").encode(),
        source="published.toml",
    )  # fmt: skip
    async with open_store(f"sqlite:///{directory / 'store.sqlite3'}") as engine, asyncio.TaskGroup() as tasks:
        devices = DeviceDirectory(engine)
        follow = tasks.create_task(devices.run())
        await devices.refresh()
        clock = SystemClock()
        gate = Gate(
            settings=GateSettings(binding=BindingSettings()),
            policy=policy(directory / "in-force.toml"),
            devices=devices,
            audit=Nowhere(),
            clock=clock,
        )
        gate.run_in(tasks)
        cuts: list[float] = []
        accounts = await _accounts(engine, sessions)
        admissions = [_open(gate, account, number, cuts) for number, account in enumerate(accounts)]
        stall = _Stall()
        watch = tasks.create_task(stall.run())
        await asyncio.sleep(0.1)
        cpu, began = time.process_time(), time.monotonic()
        gate.redecision.replace_policy(candidate)
        all_decided = 0.0
        while True:
            if not all_decided and not any(each.in_question for each in admissions):
                all_decided = time.monotonic() - began
            if all_decided and len(cuts) == sum(each.revoked for each in admissions):
                break
            await asyncio.sleep(TICK_S)
            gate.redecision.tick()
        watch.cancel()
        follow.cancel()
        return {
            "sessions": len(admissions),
            "decided_s": round(all_decided, 2),
            "cut": len(cuts),
            "last_cut_s": round(max(cuts) - began, 2) if cuts else 0,
            "cpu_s": round(time.process_time() - cpu, 2),
            "longest_stall_ms": round(stall.longest * 1000),
        }


async def _accounts(engine: AsyncEngine, count: int) -> list[str]:
    async with engine.connect() as connection:
        total = (await connection.execute(text("SELECT max(number) FROM posture"))).scalar_one()
    step = max(1, total // count)
    numbers = [place * step + place * 37 % step for place in range(count)]
    # One person in four has two devices; every fifth number is the second one.
    return [f"user{n - 1 if n % 5 == 4 else n:07}@example.com" for n in numbers]


def _open(gate: Gate, account: str, number: int, cuts: list[float]) -> Admission:
    decision = Decision(
        verdict=Verdict.ALLOW,
        reasons=(Reason.CLEAN,),
        posture=PostureState.CLEAN,
        binding=Binding(assurance=Assurance.USER, method="user"),
        policy_sha256="",
        valid_until=None,
    )
    admission = Admission(
        connection=Connection(f"c{number}", MailProtocol.IMAP, "imaps", "198.51.100.7", 40000, 993),
        request=Request(account=account, protocol=MailProtocol.IMAP, listener="imaps"),
        certificate=None,
        mechanism="PLAIN",
        decision=decision,
    )

    def cut() -> None:
        cuts.append(time.monotonic())
        gate.ended(admission, {"ended": "cut"})

    admission.cut = cut
    gate.sessions.add(admission)
    return admission


class _Stall:
    """The longest time for which the event loop did nothing else."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            self.longest = max(self.longest, time.monotonic() - began - 0.005)


def main() -> None:
    """Measure what the directory has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sessions", type=int, default=10_000, help="open when a rule is published")
    parser.add_argument("--only", choices=("plan", "replay", "publish"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
    )
    wanted = (
        [options.only]
        if options.only
        else ["plan", "publish", *(["replay"] if (options.directory / "audit").is_dir() else [])]
    )
    load = os.getloadavg()[0]
    found: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": round(load, 1),
        "cpus": os.cpu_count(),
    }
    if "plan" in wanted:
        found["plan"] = plan(options.directory)
    if "publish" in wanted:
        found["publish"] = asyncio.run(publish(options.directory, options.sessions))
    if "replay" in wanted:
        found["replay"] = replay(options.directory)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"load {load:.1f} on {os.cpu_count()} CPUs")
    for name in wanted:
        print(name)
        figures = found[name]
        assert isinstance(figures, dict)
        for key, value in figures.items():
            lines = value if isinstance(value, list) else [value]
            lines = lines[-1:] if key == "said" else lines
            print(f"  {key:<18} " + "\n                     ".join(map(str, lines)))


if __name__ == "__main__":
    main()
