"""`audit verify` by keys and older heads, and `audit keys`."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.directory import note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.several import worker_directory
from gatekeeper.cli.audit import audit
from gatekeeper.cli.main import cli
from testkit.audit_log import ORIGIN, head_of, log_of, write_segments
from testkit.configuration import Configuration
from testkit.merkle import KEY, OTHER_KEY, sign_log

LOG = log_of(300)


def make(directory: Path, count: int = 300) -> Path:
    write_segments(directory, LOG[:count])
    note_head(directory, head_of(LOG[:count]), ORIGIN, FileOperations())
    sign_log(directory)
    return directory


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return make(tmp_path / "log")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments])


def test_the_pinned_key_verifies(log: Path, tmp_path: Path) -> None:
    """Named itself, or in a file."""
    (log / "signing.key").unlink()
    result = run("verify", log, "--vkey", KEY.verifier)
    assert result.exit_code == 0, result.output
    assert f"key {KEY.verifier.key_id.hex()} (pinned)" in result.stdout
    (tmp_path / "vkey").write_text(f"{OTHER_KEY.verifier}\n\n{KEY.verifier}\n")
    assert run("verify", log, "--vkey", tmp_path / "vkey").exit_code == 0


def test_the_gates_own_key_is_no_pinned_one(log: Path) -> None:
    """And is said to be none; as a document too."""
    result = run("verify", log)
    assert result.exit_code == 0
    assert "not pinned" in result.stdout
    signed = json.loads(run("verify", log, "--json").stdout)["signed"]
    assert (signed["size"], signed["key"], signed["is_key_pinned"]) == (300, str(KEY.verifier), False)


def test_an_unknown_key_ends_with_3(log: Path) -> None:
    """Another one was pinned, or none is known."""
    result = run("verify", log, "--vkey", OTHER_KEY.verifier)
    assert result.exit_code == 3
    assert "not by" in result.stdout
    (log / "signing.key").unlink()
    assert run("verify", log).exit_code == 3
    (log / "checkpoint").unlink()
    assert run("verify", log, "--vkey", KEY.verifier).exit_code == 3


@pytest.mark.parametrize("value", ["x", "no/such/file", "a+b+c", "x" * 300])
def test_what_is_no_key_ends_with_2(log: Path, value: str) -> None:
    """And no file with keys."""
    assert run("verify", log, "--vkey", value).exit_code == 2


def test_a_kept_head(log: Path, tmp_path: Path) -> None:
    """The log begins with it, or was cut or written anew."""
    older = make(tmp_path / "older", 200)
    shutil.copy(older / "checkpoint", tmp_path / "kept")
    result = run("verify", log, "--since-checkpoint", tmp_path / "kept", "--vkey", KEY.verifier)
    assert result.exit_code == 0, result.output
    assert "since      size 200" in result.stdout
    shutil.copy(log / "checkpoint", tmp_path / "kept")
    result = run("verify", older, "--since-checkpoint", tmp_path / "kept")
    assert result.exit_code == 1
    assert "truncated: the log has 200 records although 300 were signed" in result.stdout
    write_segments(log, [line.replace(b"TikTok", b"Signal") for line in LOG])
    sign_log(log)
    result = run("verify", log, "--since-checkpoint", tmp_path / "kept")
    assert result.exit_code == 1
    assert "rewritten: the first 300 records" in result.stdout


def test_a_log_that_is_gone(log: Path, tmp_path: Path) -> None:
    """Of one of several workers, known by a head that was kept."""
    both = tmp_path / "both"
    make(worker_directory(both, 1))
    (tmp_path / "kept").write_bytes((log / "checkpoint").read_bytes())
    assert run("verify", both, "--since-checkpoint", tmp_path / "kept").exit_code == 0
    from gatekeeper.audit.checkpoint import Checkpoint

    (tmp_path / "kept").write_bytes(Checkpoint(f"{ORIGIN}/worker-2", 5, bytes(32)).signed(KEY))
    result = run("verify", both, "--since-checkpoint", tmp_path / "kept")
    assert result.exit_code == 1
    assert f"gone: there is no log `{ORIGIN}/worker-2`, of which 5 records were signed" in result.stdout
    document = json.loads(run("verify", both, "--since-checkpoint", tmp_path / "kept", "--json").stdout)
    assert (document["result"], document["gone"]) == ("TAMPERED", [f"{ORIGIN}/worker-2"])


def test_a_kept_head_that_is_none(log: Path, tmp_path: Path) -> None:
    """Wrong usage: not a head, changed, or signed by somebody else."""
    kept = tmp_path / "kept"
    kept.write_bytes(b"x")
    assert run("verify", log, "--since-checkpoint", kept).exit_code == 2
    content = (log / "checkpoint").read_bytes()
    kept.write_bytes(content.replace(b"\n300\n", b"\n299\n"))
    assert run("verify", log, "--since-checkpoint", kept).exit_code == 2
    sign_log(log, OTHER_KEY)
    kept.write_bytes(content)
    assert run("verify", log, "--since-checkpoint", kept).exit_code == 2


def test_the_keys_are_shown(tmp_path: Path) -> None:
    """One for each log, and for openssl; an error while there is none."""
    configuration = Configuration(tmp_path)
    directory = tmp_path / "audit"
    configuration.write({"audit": {"directory": str(directory), "origin": ORIGIN}, "server": {"workers": 2}})

    def keys(*more: str) -> Result:
        return CliRunner().invoke(cli, ["--config", str(configuration.path), "audit", "keys", *more])

    assert keys().exit_code == 78
    make(directory)
    assert keys().stdout == f"{KEY.verifier}\n"
    shown = keys("--each").stdout.splitlines()
    assert [line.split("+")[0] for line in shown] == [f"{ORIGIN}/worker-1", f"{ORIGIN}/worker-2"]
    public = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"],
        input=keys("--pem").stdout.encode(),
        check=True,
        capture_output=True,
    )
    assert public.stdout[-32:] == KEY.verifier.public
