"""`audit prove`: proofs that others can check, and none that is not so."""

import base64
import shutil
from pathlib import Path

import metamorphic_log
import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.several import worker_directory
from gatekeeper.audit.proof import InclusionProof
from gatekeeper.audit.tree import leaf_hash
from gatekeeper.cli.audit import audit
from testkit.audit_log import log_of, write_segments
from testkit.merkle import KEY, OTHER_KEY, sign_log

LOG = log_of(700)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    directory = tmp_path / "log"
    write_segments(directory, LOG[:300], LOG[300:])
    sign_log(directory)
    return directory


def run(log: Path, *arguments: object) -> Result:
    return CliRunner().invoke(audit, ["--directory", str(log), "prove", *map(str, arguments)])


@pytest.mark.parametrize("sequence", [0, 255, 256, 299, 300, 699])
def test_a_record_is_proven(log: Path, tmp_path: Path, sequence: int) -> None:
    """To us and to the package metamorphic-log, without the log."""
    proof_file, record_file = tmp_path / "proof", tmp_path / "record"
    result = run(log, "inclusion", sequence, "-o", proof_file, "--record", record_file)
    assert result.exit_code == 0, result.output
    assert record_file.read_bytes() == LOG[sequence][:-1]
    assert run(log, "inclusion", sequence).stdout_bytes == proof_file.read_bytes()
    shutil.rmtree(log)
    log.mkdir()

    proof = InclusionProof.parse(proof_file.read_bytes())
    metamorphic_log.checkpoint_verify_inclusion(
        proof.checkpoint.decode(), [str(KEY.verifier)], sequence, leaf_hash(LOG[sequence][:-1]), list(proof.path)
    )
    result = run(log, "check", proof_file, record_file, "--vkey", KEY.verifier)
    assert result.exit_code == 0
    assert f"record {sequence} of" in result.stdout
    assert run(log, "check", proof_file, record_file, "--vkey", OTHER_KEY.verifier).exit_code == 3
    assert run(log, "check", proof_file, record_file).exit_code == 3
    record_file.write_bytes(LOG[sequence])
    assert run(log, "check", proof_file, record_file, "--vkey", KEY.verifier).exit_code == 0
    record_file.write_bytes(LOG[sequence - 1])
    assert run(log, "check", proof_file, record_file, "--vkey", KEY.verifier).exit_code == 1
    record_file.write_bytes(LOG[sequence])
    proof_file.write_bytes(proof_file.read_bytes().replace(b"\n\xe2\x80\x94 tests", b"\n\xe2\x80\x94 other"))
    assert run(log, "check", proof_file, record_file, "--vkey", KEY.verifier).exit_code == 3
    proof_file.write_bytes(b"x")
    assert run(log, "check", proof_file, record_file, "--vkey", KEY.verifier).exit_code == 2


def test_growth_is_proven(log: Path, tmp_path: Path) -> None:
    """From a head that was kept, in the form that a witness takes."""
    older = tmp_path / "older"
    write_segments(older, LOG[:500])
    sign_log(older)
    result = run(log, "consistency", older / "checkpoint", "-o", tmp_path / "proof")
    assert result.exit_code == 0, result.output
    head, _, note = (tmp_path / "proof").read_bytes().partition(b"\n\n")
    first, *hashes = head.decode().split("\n")
    assert first == "old 500"
    assert note == (log / "checkpoint").read_bytes()
    metamorphic_log.checkpoint_verify_consistency(
        (older / "checkpoint").read_text(),
        note.decode(),
        [str(KEY.verifier)],
        [base64.b64decode(line) for line in hashes],
    )
    result = run(older, "consistency", log / "checkpoint")
    assert result.exit_code == 1
    assert "fewer than 700" in result.stderr
    write_segments(older, [line.replace(b"TikTok", b"Signal") for line in LOG[:500]])
    sign_log(older)
    result = run(log, "consistency", older / "checkpoint")
    assert result.exit_code == 1
    assert "does not begin with the 500 records" in result.stderr


def test_what_is_not_so_is_not_proven(log: Path) -> None:
    """A changed record, one that was not signed yet, a lost tile, no head, several logs."""
    assert run(log, "inclusion", 700).exit_code == 3
    segment = next(path for path in sorted((log / "segments").iterdir()))
    segment.write_bytes(segment.read_bytes().replace(b"TikTok", b"Signal"))
    assert run(log, "inclusion", 5).exit_code == 1
    assert run(log, "inclusion", 400).exit_code == 0
    (log / "tile/0/000").unlink()
    assert run(log, "inclusion", 5).exit_code == 1
    (log / "checkpoint").write_bytes(b"x")
    assert run(log, "inclusion", 5).exit_code == 1
    (log / "checkpoint").unlink()
    assert run(log, "inclusion", 5).exit_code == 3
    for number in (1, 2):
        write_segments(worker_directory(log, number), LOG[:2])
    assert run(log, "inclusion", 5).exit_code == 2
