"""What came out: verdicts, the tables for people, the report for machines."""

import contextlib
import os
import platform
import ssl
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks import peers
from benchmarks.figures import Figure, Limit, Measured, Sizes
from benchmarks.peers import Peer
from benchmarks.sections import Found

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
    alone: dict[str, list[Found]] = field(default_factory=dict)
    """Figures of Gatekeeper alone, by section."""
    not_measured: dict[str, str] = field(default_factory=dict)
    """Sections that came to no end, and why."""
    load_average: float = field(default_factory=lambda: os.getloadavg()[0])
    """Before anything was measured: what others do on this machine."""

    def median(self, figure: Figure, peer: str) -> float | None:
        measured = self.values.get((figure.key, peer))
        return statistics.median(one.value for one in measured) if measured else None

    def errors(self, figure: Figure, peer: str) -> int:
        return sum(one.errors for one in self.values.get((figure.key, peer), ()))


# -- judging -----------------------------------------------------------------------------------------------------------


def _ratio(run: Run, figure: Figure, peer: str) -> float | None:
    """Of each round by itself, and the median of these: what slows a machine for a minute slows both sides of one."""
    own, others = (run.values.get((figure.key, name), []) for name in (SUBJECT, peer))
    if len(own) != len(others):  # a round failed
        return _ratio_of_medians(run, figure, peer)
    ratios = [one.value / other.value for one, other in zip(own, others, strict=True) if other.value]
    return statistics.median(ratios) if ratios else None


def _ratio_of_medians(run: Run, figure: Figure, peer: str) -> float | None:
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


def table(run: Run, sizes: Sizes, rounds: int) -> str:
    """What was measured, for people."""
    lines = ["", f"Python {platform.python_version()} ({os.path.realpath(sys.executable)}), {ssl.OPENSSL_VERSION}."]
    if run.load_average > BUSY_LOAD_AVERAGE:
        lines += [
            f"note: others kept this machine busy (load average {run.load_average:.1f} at the start): expect noise"
        ]
    if run.figures:
        lines += ["", *_side_by_side(run, sizes, rounds)]
    if run.alone:
        lines += ["", *_alone(run)]
    lines += [f"not measured: {name}: {reason}" for name, reason in run.not_measured.items()]
    return "\n".join(lines)


def _side_by_side(run: Run, sizes: Sizes, rounds: int) -> list[str]:
    names = [peer.name for peer in peers.all_peers()]
    rows = [["figure", *names, *(f"/{name}" for name in RATIO_TO), "reach", "aim", "verdict"]]
    for figure in run.figures:
        values = [_cell(run, figure, name) for name in names]
        ratios = ["-" if (ratio := _ratio(run, figure, name)) is None else f"{ratio:.2f}" for name in RATIO_TO]
        reach = ", ".join(_limit(limit, figure) for limit in figure.reach) + (", no error" if figure.error_free else "")
        aim = _limit(figure.aim, figure)
        rows.append([f"{figure.title}, {figure.unit}", *values, *ratios, reach, aim, _verdict(run, figure)])
    return [
        f"Medians of {rounds} round(s), of the ratios too; {sizes.idle_sessions} idle sessions, {sizes.bulk_octets >> 20} MiB bulk. Lower is better.",
        "",
        *_columns(rows),
        "",
        *(f"missing: {name}: {reason}" for name, reason in run.missing.items()),
        *(f"failed: {name}, {figure}: {reason}" for figure, name, reason in run.failures),
        *(
            f"note: {name}, {figure.title}: {one.details['samples']} NOOPs answered in a round, no percentile worth the name"
            for figure in run.figures
            for name in names
            for one in run.values.get((figure.key, name), ())
            if "samples" in one.details and int(str(one.details["samples"])) < 100
        ),
        *(
            f"errors: {name}, {figure.title}: {run.errors(figure, name)} sessions were not logged in"
            for figure in run.figures
            for name in names
            if run.errors(figure, name)
        ),
    ]


def _alone(run: Run) -> list[str]:
    rows = [["Gatekeeper alone", "value", "reach", "verdict"]]
    for found in run.alone.values():
        for one in found:
            verdict = "reach met" if one.is_reached else "missed"
            rows.append([f"{one.title}, {one.unit}", number(one.value), one.reach_words, verdict])
    return _columns(rows)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """As a table with its first row above a line."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _limit(limit: Limit, figure: Figure) -> str:
    return f"{limit}" if limit.peer else f"{limit} {figure.unit}"


def _cell(run: Run, figure: Figure, peer: str) -> str:
    if peer in run.missing:
        return "missing"
    median = run.median(figure, peer)
    return "-" if median is None else number(median)


def number(value: float) -> str:
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


def report(run: Run, sizes: Sizes, rounds: int, started: datetime, *, pinned: bool) -> Mapping[str, object]:
    """All of it, for machines."""
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
        "sections": {
            name: [{**asdict(one), "reached": one.is_reached} for one in found] for name, found in run.alone.items()
        },
        "sections_not_measured": run.not_measured,
    }


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
        "ratios_of_medians": {
            name: ratio for name in RATIO_TO if (ratio := _ratio_of_medians(run, figure, name)) is not None
        },
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
