"""`audit keys`: changed and retired; and what those find who pinned one key, the other or both."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.signing_key import before, load_key
from gatekeeper.adapters.sinks.tiles import read_checkpoint_file
from gatekeeper.audit.checkpoint import read_checkpoint
from gatekeeper.cli.main import cli
from gatekeeper.signing.note import VerifierKey
from testkit.audit_log import ORIGIN, StandingClock, event
from testkit.configuration import Configuration
from testkit.merkle import OTHER_KEY

SCRIPT = Path(__file__).parents[3] / "deploy" / "verify_audit.py"


@pytest.fixture
def gate(tmp_path: Path) -> Configuration:
    """A gate that does not run, and has signed its log."""
    configuration = Configuration(tmp_path)
    configuration.write({"audit": {"origin": ORIGIN}})
    asyncio.run(write(configuration))
    return configuration


def audit_directory(gate: Configuration) -> Path:
    return gate.directory / "var" / "audit"


def opened(gate: Configuration) -> FileAuditLog:
    directory = audit_directory(gate)
    return FileAuditLog.open(
        directory,
        origin=ORIGIN,
        clock=StandingClock(),
        signing_key=directory / "signing.key",
        remember_in=gate.directory / "var" / "audit-heads",
    )


async def write(gate: Configuration) -> None:
    """What a gate does from its start to its end."""
    log = opened(gate)
    log.append(event())
    assert await log.close()


def run(gate: Configuration, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["--config", str(gate.path), "audit", *map(str, arguments)])


def key(gate: Configuration) -> VerifierKey:
    found = load_key(audit_directory(gate) / "signing.key", ORIGIN)
    assert found is not None
    return found.verifier


def signers(gate: Configuration) -> set[str]:
    note = read_checkpoint_file(audit_directory(gate))
    assert note is not None
    return {one.key_id.hex() for one in read_checkpoint(note)[1].signatures}


def changes(gate: Configuration) -> list[dict[str, str]]:
    found = [
        line
        for path in sorted((audit_directory(gate) / "segments").iterdir())
        for line in path.read_text().splitlines()
    ]
    return [json.loads(line)["unmapped"]["gatekeeper"] for line in found if "GK9012I" in line]


def ends(gate: Configuration, *pinned: VerifierKey, since: Path | None = None) -> tuple[int, int]:
    """How `audit verify` and the script end."""
    more = [] if since is None else ["--since-checkpoint", since]
    ours = run(gate, "verify", *(part for one in pinned for part in ("--vkey", one)), *more).exit_code
    kept = [] if since is None else ["--since", str(since)]
    command = [sys.executable, "-I", str(SCRIPT), str(audit_directory(gate)), "--vkey", *map(str, pinned), *kept]
    return ours, subprocess.run(command, capture_output=True, check=False).returncode


def test_a_key_is_changed_and_retired(gate: Configuration, tmp_path: Path) -> None:
    """In between both sign; afterwards whoever has not pinned the new one is told, and both verify what was kept."""
    first, kept = key(gate), tmp_path / "kept"
    shutil.copy(audit_directory(gate) / "checkpoint", kept)
    assert run(gate, "keys").stdout == f"{first}\n"

    rotated = run(gate, "keys", "rotate")
    assert rotated.exit_code == 0, rotated.output
    second = key(gate)
    assert rotated.stdout == f"{second}\n"
    assert "from the next start of the gate on" in rotated.stderr
    assert run(gate, "keys").stdout == f"{second}\n{first}\n"
    assert run(gate, "keys", "retire").exit_code == 1, "the log is not signed by it yet"
    assert ends(gate, first) == (0, 0)

    asyncio.run(write(gate))
    assert signers(gate) == {first.key_id.hex(), second.key_id.hex()}
    (told,) = changes(gate)
    assert (told["key"], told["older_key"], told["before"]) == (str(second), str(first), first.key_id.hex())
    assert ends(gate, first) == ends(gate, second) == ends(gate, second, first) == (0, 0)
    assert ends(gate, second, first, since=kept) == (0, 0)
    assert run(gate, "keys", "rotate").exit_code == 1

    retired = run(gate, "keys", "retire")
    assert retired.exit_code == 0, retired.output
    assert not before(audit_directory(gate) / "signing.key").exists()
    asyncio.run(write(gate))
    assert signers(gate) == {second.key_id.hex()}
    assert [one.get("older_key") for one in changes(gate)] == [str(first), None]
    assert ends(gate, first) == (3, 3)
    assert ends(gate, second) == (0, 0)
    assert ends(gate, second, first, since=kept) == (0, 0)
    assert run(gate, "keys", "retire").exit_code == 1


def test_a_change_that_nobody_made_known_is_none(gate: Configuration) -> None:
    """Whoever puts a key of his own in the place of the gate's signs with what nobody pinned."""
    first, directory = key(gate), audit_directory(gate)
    run(gate, "keys", "rotate")
    asyncio.run(write(gate))
    second = key(gate)
    note = read_checkpoint(read_checkpoint_file(directory) or b"")[0].signed(OTHER_KEY)
    (directory / "checkpoint").write_bytes(note)
    assert ends(gate, first, second) == (3, 3)


async def test_a_log_that_is_open_takes_up_keys(tmp_path: Path) -> None:
    """From its next head on, and says so."""
    gate = Configuration(tmp_path)
    gate.write({"audit": {"origin": ORIGIN}})
    log = opened(gate)
    log.take_up_keys()
    first = key(gate)
    await asyncio.to_thread(run, gate, "keys", "rotate")
    log.take_up_keys()
    second = key(gate)
    assert await log.close()
    assert signers(gate) == {first.key_id.hex(), second.key_id.hex()}
    assert len(changes(gate)) == 1
    assert await asyncio.to_thread(ends, gate, first) == (0, 0)


def test_keys_that_cannot_be_changed(tmp_path: Path) -> None:
    """There is none yet, or it is broken; one line says so."""
    gate = Configuration(tmp_path)
    gate.write({"audit": {"origin": ORIGIN}})
    assert run(gate, "keys", "rotate").exit_code == 1
    assert run(gate, "keys", "retire").exit_code == 78
    asyncio.run(write(gate))
    assert run(gate, "keys", "retire").exit_code == 1
    (audit_directory(gate) / "signing.key.before").write_text("x")
    (audit_directory(gate) / "signing.key.before").chmod(0o600)
    assert run(gate, "keys", "retire").exit_code == 78
