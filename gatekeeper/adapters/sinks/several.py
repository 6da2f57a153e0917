"""The logs of several workers under one audit directory: each its own, with its own chain, origin and writer.

    lock                      held by the parent of the workers as long as the gate runs
    worker-1/ worker-2/ …     a whole log each, as `directory` says
    segments/ head.json       the log of a gate that had one worker, if there was one
    before-1/ before-2/ …     in any of these: logs that were not gone on with, as `succession` says

With one worker the audit directory itself is the log. Whoever changes the number of workers leaves logs behind that
nobody continues; they stay to be read and verified.
"""

import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from operator import itemgetter
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError, lock, segment_paths
from gatekeeper.adapters.sinks.reader import Position, last_lines, news
from gatekeeper.adapters.sinks.succession import earlier, is_earlier
from gatekeeper.audit.stored import read

_WORKER = re.compile(r"worker-([1-9]\d{0,2})", re.ASCII)


def worker_directory(directory: Path, number: int) -> Path:
    """Where the log of worker `number` lies, counted from 1."""
    return directory / f"worker-{number}"


def worker_origin(origin: str, number: int) -> str:
    """What the log of worker `number` is called."""
    return f"{origin}/worker-{number}"


def log_directories(directory: Path) -> list[Path]:
    """Every log under an audit directory: its own first, then the workers'; the directory itself when there is none.

    Before each come those that it was begun after.
    """
    return [path for log in current_directories(directory) for path in (*earlier(log), log)]


def current_directories(directory: Path) -> list[Path]:
    """The same without those that are not gone on with."""
    found: list[tuple[int, Path]] = []
    if directory.is_dir():
        for path in directory.iterdir():
            match = _WORKER.fullmatch(path.name)
            if match is not None and path.is_dir():
                found.append((int(match[1]), path))
    workers = [path for _, path in sorted(found)]
    is_log = bool(segment_paths(directory)) or (directory / "head.json").exists()
    return [directory, *workers] if is_log or not workers or earlier(directory) else workers


def audit_root(log: Path) -> Path:
    """The audit directory that a log lies in, whichever of those in it this is."""
    if is_earlier(log):
        log = log.parent
    return log.parent if _WORKER.fullmatch(log.name) else log


def merged(logs: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    """The lines of several logs in the order of their times; within a log they stay in their order."""
    for _, line in heapq.merge(*map(_timed, logs), key=itemgetter(0)):
        yield line


def last_of_all(directory: Path, count: int) -> tuple[list[bytes], dict[Path, Position]]:
    """The last `count` complete lines of all logs, and the position after them in each."""
    found: list[list[bytes]] = []
    positions: dict[Path, Position] = {}
    for log in log_directories(directory):
        last, positions[log] = last_lines(log, count)
        found.append(last)
    lines = list(merged(found))
    return lines[max(len(lines) - count, 0) :], positions


def follow_all(directory: Path, positions: dict[Path, Position], wait: Callable[[], None]) -> Iterator[bytes]:
    """The complete lines after those positions, without end, also of logs that are begun meanwhile.

    Each time it looks, what is new comes in the order of time. `wait` is called before it looks again.
    """
    while True:
        for log in log_directories(directory):
            positions.setdefault(log, Position())
        yield from merged([_news(log, positions) for log in tuple(positions)])
        wait()


def _news(log: Path, positions: dict[Path, Position]) -> Iterator[bytes]:
    positions[log] = yield from news(log, positions[log])


def _timed(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """With the time of each; never earlier than the one before, and a line that is no record has that one's."""
    latest = 0
    for line in lines:
        with suppress(ValueError):
            latest = max(latest, read(line).time_ms)
        yield latest, line


def hold(directory: Path) -> int:
    """Be the one gate that writes under `directory`, made when absent; as long as the returned descriptor is open.

    Raises:
        AuditLogError: another process is (`AuditLogLocked`), or the directory cannot be used.
    """
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        return lock(directory)
    except OSError as error:
        raise AuditLogError(f"the audit log in `{directory}` cannot be opened: {error.strerror}") from error
