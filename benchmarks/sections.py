"""What is measured of Gatekeeper alone, in sections: decision, campaign, audit log.

A section is a name and a function that yields figures, each with what has to be reached; `SECTIONS` lists them. A new
one is one more entry there: `python -m benchmarks --only NAME` runs it, table and JSON report have it.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
CAMPAIGN = (1_000_000, 100_000, 10_000)
"""Devices of the inventory, devices with a week of history and log, open sessions."""
CAMPAIGN_QUICK = (50_000, 5_000, 1_000)


@dataclass(frozen=True, slots=True)
class Work:
    """What a section gets."""

    directory: Path
    """Empty, of its own, removed afterwards."""
    is_quick: bool
    """Small sizes: rough figures within half a minute."""
    say: Callable[[str], None]
    """Takes a line about what is going on."""


@dataclass(frozen=True, slots=True)
class Found:
    """One figure."""

    key: str
    title: str
    unit: str
    value: float
    reach: float
    """What it must not exceed; with `is_least`, what it must come to."""
    is_least: bool = False
    details: Mapping[str, object] = field(default_factory=dict)
    """What stands behind it, for the JSON report."""
    sound: bool = True
    """False: something went wrong besides, and the figure is missed whatever its value."""

    @property
    def is_reached(self) -> bool:
        """Whether it is good enough."""
        return self.sound and (self.value >= self.reach if self.is_least else self.value <= self.reach)

    @property
    def reach_words(self) -> str:
        """For the table."""
        return f"{'≥' if self.is_least else '≤'} {self.reach:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Section:
    """Figures that belong together."""

    name: str
    title: str
    measure: Callable[[Work], Iterator[Found]]


def module(name: str, *arguments: str) -> dict[str, object]:
    """What a benchmark of this package, run by itself in a process of its own with `--json`, has found."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--json", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _decide(work: Work) -> Iterator[Found]:
    work.say("decide: 200 rules, 300 apps; 10,000 ids in 500 rules; an allow-list")
    found = module("decide", *(["--quick"] if work.is_quick else []))
    for case, figures in _table(found, "us_per_decide").items():
        what = f"decide, 200 rules, {found['apps']} apps: {case}"
        yield Found(f"decide.{case}", what, "µs CPU", figures["median"], 20.0, details=figures)
    case = _table(found, "allow_list")
    yield Found(
        "decide.allow-list", "decide, 280 apps allowed, and demands", "µs CPU", case["median"], 33.0, details=case
    )
    large = found["large"]
    assert isinstance(large, dict)
    for case, figures in large["us_wall"].items():
        what = f"p99, 10,000 ids in 500 rules: {case}"
        yield Found(f"decide.p99.{case}", what, "µs", figures["p99"], 50.0, details=figures)


def _campaign(work: Work) -> Iterator[Found]:
    many, week, sessions = CAMPAIGN_QUICK if work.is_quick else CAMPAIGN
    yield from _inventory(work, many, sessions)
    yield from _week(work, week)


def _inventory(work: Work, devices: int, sessions: int) -> Iterator[Found]:
    place = str(work.directory / "inventory")
    work.say(f"a store of {devices:,} devices is made")
    module("inventory", place, "--devices", str(devices))
    work.say(f"policy plan on {devices:,} devices")
    plan = _table(module("plan", place, "--only", "plan"), "plan")
    yield Found("plan.wall", f"policy plan, {devices:,} devices", "s", plan["wall_s"], 60.0, details=plan)
    yield Found("plan.memory", f"policy plan, {devices:,} devices", "MiB", plan["max_rss_mib"], 1024.0)
    work.say(f"a rule for {devices // 50:,} of {devices:,} devices comes into force, {sessions:,} sessions are open")
    publish = _table(module("plan", place, "--only", "publish", "--sessions", str(sessions)), "publish")
    what = f"publish: the last of {publish['cut']} of {sessions:,} sessions cut"
    yield Found("publish.cut", what, "s", max(publish["decided_s"], publish["last_cut_s"]), 10.0, details=publish)


def _week(work: Work, devices: int) -> Iterator[Found]:
    place = str(work.directory / "week")
    work.say(f"a store and a log of a week with {devices:,} devices are made")
    module("inventory", place, "--devices", str(devices), "--days", "7")
    work.say(f"audit replay --since 7d on {devices:,} devices")
    replay = _table(module("plan", place, "--only", "replay"), "replay")
    what = f"audit replay, {devices:,} devices, 7 days"
    yield Found("replay.wall", what, "s", replay["wall_s"], 60.0, details=replay)
    yield Found("replay.memory", what, "MiB", replay["max_rss_mib"], 1024.0)


def _audit(work: Work) -> Iterator[Found]:
    work.say("records a second; 64 log-ins at once, with a log and without")
    found = module("audit", "--directory", str(work.directory), *(["--quick"] if work.is_quick else []))
    behind = {name: found[name] for name in ("disk", "log_64", "gate_64") if name in found}
    per_second = _table(found, "log_64")["per_second"]
    yield Found("log.records", "audit records, 64 waiters", "1/s", per_second, 20_000, is_least=True, details=behind)
    if "gate_64" in found:
        added = _table(found, "gate_64")["added_ms"]
        what = "added by the log to the last of 64 log-ins at once"
        yield Found("log.added", what, "ms", added, 5.0, details=behind)
    records = 20_000 if work.is_quick else 200_000
    work.say(f"looking for people and devices in {records:,} records")
    found = module("audit_index", "--records", str(records), "--directory", str(work.directory))
    for look in ("user", "device", "connection"):
        figures = _table(found, look)
        what = f"audit query by {look}, {records:,} records"
        yield Found(f"query.{look}", what, "ms", figures["command_ms"], 2000.0, details=figures)


def _table(found: Mapping[str, object], key: str) -> dict[str, float]:
    table = found[key]
    assert isinstance(table, dict)
    return table


SECTIONS: tuple[Section, ...] = (
    Section("decide", "the decision", _decide),
    Section("campaign", "policy as a campaign", _campaign),
    Section("audit", "the audit log", _audit),
)
