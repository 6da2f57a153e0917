"""`audit export --format tlog`: files that clients of tiled logs read with no help of ours."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey

from gatekeeper.adapters.sinks.several import worker_directory
from gatekeeper.cli.main import cli
from testkit.audit_log import ORIGIN, log_of, write_segments
from testkit.merkle import KEY, sign_log

LOG = log_of(700)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_segments(tmp_path / "log", LOG[:300], LOG[300:])
    sign_log(tmp_path / "log")
    return tmp_path / "log"


def export(directory: Path, *arguments: str) -> Result:
    more = ["export", "--format", "tlog", "--out", "out", *arguments]
    return CliRunner().invoke(cli, ["audit", "--directory", str(directory), *more])


def test_a_foreign_client_fetches_and_checks_every_entry(log: Path) -> None:
    """The package tlog-scales: signature, tree, and each record in it, by its program and its reader."""
    result = export(log)
    assert result.exit_code == 0, result.output
    assert f"700 records of {ORIGIN}" in result.stdout
    reader = TilesReader(LocalBackend(Path("out")))
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(Vkey.from_string(str(KEY.verifier)))
    assert reader.calculate_root_hash() == checkpoint.root_hash
    assert [reader.get_entry(index) for index in range(700)] == [line[:-1] for line in LOG]
    for index in (0, 255, 256, 699):
        command = [sys.executable, "-m", "tlog_scales.cli", "get-leaf", "-c", str(Path.cwd() / "out"), str(index)]
        assert subprocess.run(command, check=True, capture_output=True).stdout == LOG[index][:-1]


def test_each_worker_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of its directory."""
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        write_segments(worker_directory(tmp_path / "logs", number), LOG[: 300 * number])
        sign_log(worker_directory(tmp_path / "logs", number))
    assert export(tmp_path / "logs").exit_code == 0
    sizes = [TilesReader(LocalBackend(Path("out", f"worker-{number}"))).get_checkpoint().size for number in (1, 2)]
    assert sizes == [300, 600]


def test_what_was_not_signed_so_gets_no_checkpoint(log: Path) -> None:
    """A changed record; without a head there is nothing to give out."""
    segment = min((log / "segments").iterdir())
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b"TikTok", b"Signal"))
    result = export(log)
    assert result.exit_code == 1
    assert "not the log that was signed" in result.stderr
    assert not Path("out/checkpoint").exists()
    assert export(log).exit_code == 2  # there is something already
    segment.unlink()
    assert export(log, "--out", "elsewhere").exit_code == 1
    (log / "checkpoint").unlink()
    assert export(log, "--out", "nowhere").exit_code == 3


def test_it_takes_no_filters(log: Path) -> None:
    """Part of a signed log is not signed."""
    assert export(log, "--user", "alice@example.com").exit_code == 2
    assert not Path("out").exists()
