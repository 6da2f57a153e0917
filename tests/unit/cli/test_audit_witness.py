"""`audit witness`: an audit team's second opinion, kept away from the gate."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.directory import note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.checkpoint import read_checkpoint
from gatekeeper.audit.cosignature import CosignerKey, cosigned_by
from gatekeeper.cli.audit import audit
from testkit.audit_log import ORIGIN, head_of, log_of, write_segments
from testkit.merkle import KEY, OTHER_KEY, sign_log

LOG = log_of(600)
NAME = "audit.example.com/witness"


def signed(directory: Path, lines: list[bytes]) -> Path:
    write_segments(directory, lines)
    note_head(directory, head_of(lines), ORIGIN, FileOperations())
    sign_log(directory)
    return directory


def run(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "witness"


def ask(state: Path, request: bytes, vkey: object = KEY.verifier) -> Result:
    return run("witness", "--name", NAME, "--state", state, "--vkey", vkey, stdin=request)


def proof(log: Path, *older: Path) -> bytes:
    result = run("--directory", log, "prove", "consistency", *older)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def test_a_log_is_cosigned_as_it_grows(tmp_path: Path, state: Path) -> None:
    """Request by request, each from the head that was cosigned before; the cosigned head is kept for `audit verify`."""
    log, kept = tmp_path / "log", tmp_path / "kept"
    key = CosignerKey.parse(run("witness", "--name", NAME, "--state", state, "--show-key").stdout)
    older: list[Path] = []
    for size in (10, 300, 300, 600):
        request = proof(signed(log, LOG[:size]), *older)
        answer = ask(state, request)
        assert answer.exit_code == 0, answer.output
        kept.write_bytes(request.partition(b"\n\n")[2] + answer.stdout_bytes)
        checkpoint, note = read_checkpoint(kept.read_bytes())
        assert checkpoint.size == size
        (cosigned,) = cosigned_by(note, [key])
        assert cosigned.time > 1_500_000_000
        older = [kept]
    verify = ["verify", log, "--vkey", KEY.verifier, "--since-checkpoint", kept, "--witness"]
    verified = run(*verify, key)
    assert verified.exit_code == 0, verified.output
    assert f"{NAME} saw it at 2" in verified.stdout
    assert json.loads(run(*verify, key, "--json").stdout)["witnessed"][0]["name"] == NAME
    other = CosignerKey(NAME, OTHER_KEY.verifier.public)
    verified = run(*verify, other)
    assert verified.exit_code == 3
    assert "not cosigned by every known witness" in verified.stdout
    assert run(*verify, "x").exit_code == 2
    kept.write_bytes(kept.read_bytes().replace(answer.stdout_bytes[-12:], b"AAAAAAAAAA=\n"[-12:]))
    assert run(*verify, key).exit_code == 2
    assert run("witness", "--name", NAME, "--state", state, "--show-key").stdout.strip() == str(key)
    assert (state / "witness.key").stat().st_mode & 0o777 == 0o600


def test_a_fork_is_refused_and_kept(tmp_path: Path, state: Path) -> None:
    """As is a log that was cut; afterwards the true log is cosigned as before."""
    assert ask(state, proof(signed(tmp_path / "log", LOG[:300]))).exit_code == 0
    forked = signed(tmp_path / "fork", [line.replace(b"TikTok", b"Signal") for line in LOG])
    request = b"old 300\n\n" + (forked / "checkpoint").read_bytes()
    result = ask(state, request)
    assert result.exit_code == 1
    assert "forked" in result.stderr
    assert result.stdout == ""
    (refused,) = state.glob("*.refused")
    assert refused.read_bytes() == (forked / "checkpoint").read_bytes()
    shorter = signed(tmp_path / "shorter", LOG[:200])
    assert ask(state, b"old 300\n\n" + (shorter / "checkpoint").read_bytes()).exit_code == 1
    longer = signed(tmp_path / "log2", LOG)
    assert ask(state, proof(longer, tmp_path / "log" / "checkpoint")).exit_code == 0


def test_a_request_from_elsewhere_learns_where_to_go_on(tmp_path: Path, state: Path) -> None:
    """The size of the last head, with exit code 3."""
    log = signed(tmp_path / "log", LOG[:300])
    assert ask(state, proof(log)).exit_code == 0
    result = ask(state, proof(log))
    assert (result.exit_code, result.stdout) == (3, "300\n")


def test_an_unknown_key_is_not_cosigned(tmp_path: Path, state: Path) -> None:
    """Nor what is no request; nothing is kept of it."""
    request = proof(signed(tmp_path / "log", LOG[:300]))
    assert ask(state, request, OTHER_KEY.verifier).exit_code == 3
    assert ask(state, request.replace(b"\n300\n", b"\n299\n")).exit_code == 1
    assert ask(state, b"x").exit_code == 2
    assert run("witness", "--name", NAME, "--state", state, stdin=request).exit_code == 2
    assert not list(state.glob("*.checkpoint"))


def test_a_witness_that_lost_its_memory_signs_nothing(tmp_path: Path, state: Path) -> None:
    """A damaged last head is no first time."""
    request = proof(signed(tmp_path / "log", LOG[:300]))
    assert ask(state, request).exit_code == 0
    (last,) = state.glob("*.checkpoint")
    last.write_bytes(b"")
    assert ask(state, request).exit_code == 78
    assert run("witness", "--name", "a name", "--state", state, "--show-key").exit_code == 78


def test_a_head_that_the_gate_had_cosigned_is_found(tmp_path: Path, state: Path) -> None:
    """Beside the log, when none was kept elsewhere; it must be of the log, signed, cosigned, and what the log has."""
    log = signed(tmp_path / "log", LOG[:300])
    key = CosignerKey.parse(run("witness", "--name", NAME, "--state", state, "--show-key").stdout)
    request = proof(log)
    cosigned = request.partition(b"\n\n")[2] + ask(state, request).stdout_bytes
    verify = ["verify", log, "--vkey", KEY.verifier, "--witness", key]
    result = run(*verify)
    assert result.exit_code == 3
    assert f"the log {ORIGIN} is not cosigned by every known witness" in result.stdout
    place = log / "cosigned" / "team"
    place.parent.mkdir()
    place.write_bytes(cosigned)
    result = run(*verify)
    assert result.exit_code == 0, result.output
    assert f"{place}: {NAME} saw it at 2" in result.stdout
    other = CosignerKey("other.example/1", OTHER_KEY.verifier.public)
    assert run(*verify, "--witness", other).exit_code == 3
    for content in (b"x", cosigned.replace(b"\n300\n", b"\n299\n"), cosigned.replace(b"/audit/1", b"/audit/2")):
        place.write_bytes(content)
        assert run(*verify).exit_code == 3
    place.write_bytes(cosigned)
    signed(tmp_path / "log", [line.replace(b"TikTok", b"Signal") for line in LOG[:300]])
    result = run(*verify)
    assert result.exit_code == 1
    assert "the first 300 records are not those that were signed" in result.stdout


@pytest.mark.parametrize("address", ["", "8443", "x:y", "x:70000", ":80"])
def test_what_is_no_address_is_wrong_usage(state: Path, address: str) -> None:
    """One line says what is."""
    result = run("witness", "--name", NAME, "--state", state, "--vkey", KEY.verifier, "--listen", address)
    assert result.exit_code == 2
    assert "is no address" in result.stderr


def test_a_certificate_that_cannot_be_used(tmp_path: Path, state: Path) -> None:
    """Or a key without one."""
    (tmp_path / "pem").write_text("x")
    listen = ["witness", "--name", NAME, "--state", state, "--vkey", KEY.verifier, "--listen", "127.0.0.1:0"]
    assert run(*listen, "--certificate", tmp_path / "pem").exit_code == 78
    assert run(*listen, "--private-key", tmp_path / "pem").exit_code == 2
