"""What a peer's processes cost: CPU nanoseconds and proportional memory, summed over its whole process tree.

CPU is read from each process's CPU clock (exact, all its threads, ended ones too) plus what a process has inherited from
children that ended (`cutime` and `cstime`, in clock ticks), so nothing is lost when a process goes. Memory is PSS: pages
shared between a peer's processes count once.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def tree(roots: Iterable[int]) -> list[int]:
    """The live processes among `roots` and all that descend from them."""
    children: dict[int, list[int]] = {}
    alive = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            alive.add(int(entry.name))
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [root for root in roots if root in alive]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return sorted(set(found))


def cpu_ns(roots: Iterable[int]) -> int:
    """CPU time used so far by the tree, user and system."""
    total = 0
    for pid in tree(roots):
        fields = _stat(pid)
        if fields is None:
            continue
        total += (int(fields[13]) + int(fields[14])) * _TICK_NS
        try:
            total += time.clock_gettime_ns(_cpu_clock(pid))
        except OSError:
            continue
    return total


def pss_kib(roots: Iterable[int]) -> int:
    """Proportional set size of the tree in KiB."""
    total = 0
    for pid in tree(roots):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total


def settle(roots: Iterable[int], *, quiet_s: float = 0.2, limit_s: float = 5.0) -> None:
    """Wait until the tree has nothing left to do (closing sessions, writing its log), `limit_s` at most."""
    deadline = time.monotonic() + limit_s
    before = cpu_ns(roots)
    while time.monotonic() < deadline:
        time.sleep(quiet_s)
        now = cpu_ns(roots)
        if now - before < quiet_s * 1e9 / 50:  # below 2 % of a core: its timers, not our load
            return
        before = now


def _cpu_clock(pid: int) -> int:
    """The clock id of another process's CPU time, as clock_getcpuclockid(3) makes it on Linux."""
    return (~pid << 3) | 2


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (index 0 = state, 1 = parent), None when it is gone.

    The name is in parentheses and may hold blanks and parentheses itself: hence the split at the last one.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
