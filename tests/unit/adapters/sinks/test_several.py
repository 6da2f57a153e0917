"""The logs of several workers: found, read in the order of time, followed, and held by one gate."""

import os
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.directory import AuditLogLocked
from gatekeeper.adapters.sinks.several import (
    follow_all,
    hold,
    last_of_all,
    log_directories,
    merged,
    worker_directory,
    worker_origin,
)
from testkit.audit_log import NOW, chained, event, write_segments

ONE = chained([event("a0"), event("a2", time=NOW + timedelta(seconds=2)), event("a4", time=NOW + timedelta(seconds=4))])
TWO = chained([event("b1", time=NOW + timedelta(seconds=1)), event("b3", time=NOW + timedelta(seconds=3))])


def conns(lines: list[bytes]) -> str:
    """The connections' ids, in order."""
    return " ".join(line.partition(b'"conn":"')[2].partition(b'"')[0].decode() for line in lines)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two workers' logs."""
    write_segments(worker_directory(tmp_path, 1), ONE)
    write_segments(worker_directory(tmp_path, 2), TWO)
    return tmp_path


def test_names_are_those_of_the_workers(tmp_path: Path) -> None:
    """Stable: they stand in records, and in an operator's backup."""
    assert worker_directory(tmp_path, 12) == tmp_path / "worker-12"
    assert worker_origin("gate.example/audit/1", 2) == "gate.example/audit/1/worker-2"


def test_every_log_is_found_in_order(tmp_path: Path) -> None:
    """That of the time with one worker first, then the workers' by number; nothing else is taken for one."""
    assert log_directories(tmp_path) == [tmp_path]
    for name in ("worker-10", "worker-2", "worker-02", "worker-0", "worker-x", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "worker-3").touch()
    workers = [tmp_path / "worker-2", tmp_path / "worker-10"]
    assert log_directories(tmp_path) == workers
    write_segments(tmp_path, ONE)
    assert log_directories(tmp_path) == [tmp_path, *workers]
    assert log_directories(tmp_path / "absent") == [tmp_path / "absent"]


def test_lines_come_in_the_order_of_time() -> None:
    """A clock that was set back, and a line that is no record, do not change the order within a log."""
    assert conns(list(merged([ONE, TWO]))) == "a0 b1 a2 b3 a4"
    late = chained([event("c9", time=NOW + timedelta(seconds=9)), event("c0"), event("c1")])
    late.insert(1, b"{no record\n")
    assert list(merged([late, ONE]))[3:] == late
    assert list(merged([])) == []


def test_the_last_lines_are_the_latest_of_all_logs(directory: Path) -> None:
    """However they are spread."""
    lines, positions = last_of_all(directory, 3)
    assert conns(lines) == "a2 b3 a4"
    assert set(positions) == {worker_directory(directory, 1), worker_directory(directory, 2)}
    assert last_of_all(directory, 0)[0] == []


def test_all_logs_are_followed_also_new_ones(directory: Path) -> None:
    """What comes while nobody looks is told in the order of time."""
    _, positions = last_of_all(directory, 0)
    more = chained([event("a6", time=NOW + timedelta(seconds=6))])
    new = chained([event("d5", time=NOW + timedelta(seconds=5))])

    def grow() -> None:
        write_segments(worker_directory(directory, 1), [*ONE, *more])
        write_segments(worker_directory(directory, 3), new)

    assert conns(list(islice(follow_all(directory, positions, grow), 2))) == "d5 a6"


def test_one_gate_holds_the_directory(tmp_path: Path) -> None:
    """As long as it runs; the descriptor goes to its children, but not to a program they start."""
    held = hold(tmp_path / "audit")
    assert not os.get_inheritable(held)
    with pytest.raises(AuditLogLocked, match="writes the audit log"):
        hold(tmp_path / "audit")
    os.close(held)
    os.close(hold(tmp_path / "audit"))
