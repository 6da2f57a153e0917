"""`audit verify`, `query` and `tail` on the logs of several workers."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.directory import note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.several import worker_directory
from gatekeeper.cli.audit import audit
from testkit.audit_log import NOW, ORIGIN, chained, event, head_of, write_segments
from testkit.merkle import sign_log


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two workers' logs, whose records alternate."""
    for number in (1, 2):
        times = [NOW + timedelta(seconds=2 * turn + number) for turn in range(3)]
        log = chained([event(f"w{number}-{turn}", time=time) for turn, time in enumerate(times)])
        write_segments(worker_directory(tmp_path, number), log)
        note_head(worker_directory(tmp_path, number), head_of(log), ORIGIN, FileOperations())
        sign_log(worker_directory(tmp_path, number))
    return tmp_path


def run(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(audit, ["--directory", str(directory), *arguments])


def conns(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["unmapped"]["gatekeeper"]["conn"] for line in result.stdout.splitlines()]


def test_each_log_is_verified(directory: Path) -> None:
    """With a result of its own."""
    result = run(directory, "verify")
    assert result.exit_code == 0
    assert result.stdout.count("RESULT     SOUND") == 2
    document = json.loads(run(directory, "verify", "--json").stdout)
    assert document["result"] == "SOUND"
    assert [Path(one["directory"]).name for one in document["logs"]] == ["worker-1", "worker-2"]


def test_the_worst_result_counts(directory: Path) -> None:
    """Tampering before what is incomplete before what is sound."""
    (worker_directory(directory, 1) / "head.json").unlink()
    result = run(directory, "verify")
    assert result.exit_code == 3
    assert "RESULT     INCOMPLETE" in result.stdout
    (segment,) = (worker_directory(directory, 2) / "segments").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"w2-1", b"w2-9"))
    result = run(directory, "verify")
    assert result.exit_code == 1
    assert "RESULT     TAMPERED" in result.stdout
    assert json.loads(run(directory, "verify", "--json").stdout)["result"] == "TAMPERED"


def test_they_are_read_as_one(directory: Path) -> None:
    """In the order of time."""
    assert conns(run(directory, "query", "--json")) == ["w1-0", "w2-0", "w1-1", "w2-1", "w1-2", "w2-2"]
    assert conns(run(directory, "query", "--json", "--conn", "w2-1")) == ["w2-1"]
    assert conns(run(directory, "tail", "-n", "3", "--json")) == ["w2-1", "w1-2", "w2-2"]
