"""The audit log of a running gate: complete, in time, chained, and without it nobody gets in."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from testkit.bed import ALICE, BOB, CAROL
from testkit.dovecot import Dovecot, User
from testkit.gate import TERMINAL, GateProcess, Record, code, coded, detail, records_in, terminal_count, upstream
from testkit.inventory import device
from testkit.ocsf import faults
from testkit.ports import LOOPBACK, free_port
from testkit.postfix import Postfix
from testkit.recorder import Recorded, Recorder, Script
from testkit.sessions import (
    imap_greeted,
    imap_login_reply,
    imap_session,
    login_command,
    plain,
    smtp_greeted,
    smtp_login_reply,
    smtp_session,
)
from testkit.waiting import eventually
from testkit.wire import Wire

MakeGate = Callable[..., GateProcess]


@pytest.fixture
def served(make_gate: MakeGate, dovecot: Dovecot, postfix: Postfix) -> GateProcess:
    """Run a gate of the test's own in front of Dovecot and Postfix."""
    return make_gate({"upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)}})


@pytest.mark.parametrize("protocol", ["imap", "smtp"])
def test_an_allow_is_on_disk_before_the_first_byte_flows(
    make_gate: MakeGate,
    record: Callable[[Script], Recorder],
    context: ssl.SSLContext,
    protocol: Literal["imap", "smtp"],
) -> None:
    """When the mail server gets the first byte after the log-in, the record of the admission is in the file."""
    seen: list[list[Record]] = []
    audit: list[Path] = []

    def look(_: Recorded) -> None:
        seen.append(records_in(audit[0]))

    recorder = record(Script(protocol=protocol, passwords={ALICE.login: ALICE.password}, before_data=look))
    gate = make_gate({"upstream": {"imap": upstream(recorder.port), "smtp": upstream(recorder.port)}})
    audit.append(gate.audit_directory)
    if protocol == "imap":
        with imap_greeted(gate.ports.imaps, context) as wire:
            wire.send(b"a " + login_command(ALICE) + b"\r\nb NOOP\r\n")
            assert wire.tagged(b"b")[-1].startswith(b"b OK")
    else:
        with smtp_greeted(gate.ports.submissions, context) as wire:
            wire.send(b"AUTH PLAIN " + plain(ALICE) + b"\r\nNOOP\r\n")
            wire.smtp_reply()
            assert wire.smtp_reply()[0].startswith(b"250")

    assert [len(coded(records, "GK1001I")) for records in seen] == [1]


def test_every_connection_has_one_end(served: GateProcess, context: ssl.SSLContext) -> None:
    """Connections of every kind: each accepted one ends in exactly one terminal record."""
    ports = served.ports
    for port in (ports.imaps, ports.imap, ports.submissions, ports.submission):
        socket.create_connection((LOOPBACK, port)).close()  # a port scan
    with Wire(ports.imaps) as garbage:  # a client that does not know of TLS
        garbage.send(b"GET / HTTP/1.0\r\n\r\n")
        garbage.rest(within=10)
    for user in (ALICE, BOB, CAROL, User(ALICE.login, "wrong")):
        imap_login_reply(ports.imaps, context, user)
        smtp_login_reply(ports.submissions, context, user)
    imap_session(ports.imaps, context, ALICE).close()
    smtp_session(ports.submissions, context, ALICE).close()
    with Wire(ports.imap) as wire:
        wire.line()
        wire.imap(b"a LOGOUT")
    accepted = 4 + 1 + 8 + 2 + 1

    eventually(lambda: terminal_count(served.audit_records()) == accepted, within=10, what=lambda: _ends(served))
    served.stop()
    records = served.audit_records()
    assert terminal_count(records) == accepted
    ends = Counter(detail(one)["conn"] for one in records if code(one) in TERMINAL)
    assert set(ends.values()) == {1}
    begun = {detail(one)["conn"] for one in records if code(one).startswith("GK10") and "conn" in detail(one)}
    assert begun <= set(ends)


def _ends(gate: GateProcess) -> str:
    records = gate.audit_records()
    return f"{terminal_count(records)} ends: {Counter(map(code, records))}"


def test_records_are_numbered_and_typed(served: GateProcess, context: ssl.SSLContext) -> None:
    """Sequence numbers have no gap, times do not run backwards, and each is an event of OCSF by its schema."""
    for user in (ALICE, BOB, User(ALICE.login, "wrong")):
        imap_login_reply(served.ports.imaps, context, user)
    served.stop()
    records = served.audit_records()

    sequence = [record["metadata"]["sequence"] for record in records]
    assert sequence == list(range(sequence[0], sequence[0] + len(records)))
    times = [record["time"] for record in records]
    assert times == sorted(times)
    for one in records:
        assert faults(json.dumps(one).encode()) == []
    assert code(records[0]) == "GK9001I"
    assert code(records[-1]) == "GK9003I"


def test_no_secret_is_written_anywhere(served: GateProcess, context: ssl.SSLContext) -> None:
    """Passwords, right and wrong, are neither in the audit log nor in the operational log."""
    wrong = User(ALICE.login, "a-wrong-password")
    for user in (ALICE, BOB, wrong):
        imap_login_reply(served.ports.imaps, context, user)
        smtp_login_reply(served.ports.submissions, context, user)
    with Wire(served.ports.imap) as wire:
        wire.line()
        wire.imap(b"a " + login_command(wrong))
    served.stop()

    written = served.log() + json.dumps(served.audit_records())
    for secret in (ALICE.password, BOB.password, wrong.password, plain(ALICE).decode(), plain(wrong).decode()):
        assert secret not in written


def test_verify_says_sound_and_finds_tampering(served: GateProcess, context: ssl.SSLContext, tmp_path: Path) -> None:
    """`audit verify` ends with 0 on the log as it was written, and with 1 and the place on changed copies."""
    for user in (ALICE, BOB, CAROL):
        imap_login_reply(served.ports.imaps, context, user)
    assert served.cli("audit", "verify").returncode == 0, "while the gate runs"
    served.stop()
    assert served.cli("audit", "verify").returncode == 0

    for name, tamper in TAMPERING.items():
        copy = tmp_path / name
        shutil.copytree(served.audit_directory, copy)
        (segment,) = (copy / "segments").glob("*.jsonl")
        lines = segment.read_bytes().splitlines(keepends=True)
        segment.write_bytes(b"".join(tamper(lines)))
        done = served.cli("audit", "verify", str(copy))
        assert done.returncode == 1, f"{name}: {done.stdout}{done.stderr}"
        assert segment.name in done.stdout + done.stderr, name

    cut = tmp_path / "cut"
    shutil.copytree(served.audit_directory, cut)
    (segment,) = (cut / "segments").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes()[:-20])
    done = served.cli("audit", "verify", str(cut))
    assert done.returncode in (1, 3), f"a truncated record: {done.stdout}{done.stderr}"
    assert segment.name in done.stdout + done.stderr


def _forged(line: bytes) -> bytes:
    at = line.index(b'"time":') + len(b'"time":')
    return line[:at] + (b"2" if line[at : at + 1] != b"2" else b"1") + line[at + 1 :]


TAMPERING: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "changed": lambda lines: [*lines[:2], _forged(lines[2]), *lines[3:]],
    "dropped": lambda lines: [*lines[:2], *lines[3:]],
    "reordered": lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "inserted": lambda lines: [*lines[:2], lines[2], *lines[2:]],
    "beginning dropped": lambda lines: lines[1:],
}


def test_a_torn_last_line_is_recovered_and_recorded(served: GateProcess, context: ssl.SSLContext) -> None:
    """Half a line at the end, as a crash leaves it, is cut at the next start, which is recorded; the log stays sound."""
    imap_login_reply(served.ports.imaps, context, ALICE)
    served.kill()
    (segment,) = (served.audit_directory / "segments").glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(b'{"metadata":{"sequence":')
    served.start()

    served.wait_for_record(lambda one: code(one) == "GK9004W")
    imap_login_reply(served.ports.imaps, context, ALICE)
    served.stop()
    done = served.cli("audit", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_outsider_verifies_the_log(served: GateProcess, context: ssl.SSLContext, tmp_path: Path) -> None:
    """With the script, openssl and the public key, against a head from before the gate was killed; a record is proven."""
    kept = tmp_path / "kept"
    imap_login_reply(served.ports.imaps, context, ALICE)
    eventually((served.audit_directory / "checkpoint").exists, within=10, what="a signed head")
    shutil.copy(served.audit_directory / "checkpoint", kept)
    vkey = served.cli("audit", "keys").stdout.strip()
    served.kill()
    served.start()
    imap_login_reply(served.ports.imaps, context, BOB)
    served.stop()

    records = served.audit_records()
    command = [sys.executable, "-I", str(_SCRIPT), str(served.audit_directory), "--vkey", vkey, "--since", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SOUND: {len(records)} records of tests.example/audit/1 are signed, 0 more" in done.stdout
    done = served.cli("audit", "verify", "--vkey", vkey, "--since-checkpoint", str(kept))
    assert done.returncode == 0, done.stdout + done.stderr
    proof, record = tmp_path / "proof", tmp_path / "record"
    blocked = next(one for one in records if code(one) == "GK1002W")
    number = str(blocked["metadata"]["sequence"])
    assert served.cli("audit", "prove", "inclusion", number, "-o", str(proof), "--record", str(record)).returncode == 0
    assert json.loads(record.read_bytes()) == blocked
    assert served.cli("audit", "prove", "check", str(proof), str(record), "--vkey", vkey).returncode == 0


_SCRIPT = Path(__file__).parents[2] / "deploy" / "verify_audit.py"


def test_a_log_restored_from_a_backup_is_followed_by_a_new_one(
    served: GateProcess, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """Restored as a whole, so that nothing in it tells: it is set aside as it is, and the new one says what is gone."""
    served.stop()
    backup, kept = tmp_path / "backup", tmp_path / "kept"
    shutil.copytree(served.audit_directory, backup)
    served.start()
    imap_login_reply(served.ports.imaps, context, ALICE)
    served.stop()
    shutil.copy(served.audit_directory / "checkpoint", kept)
    signed = int(kept.read_text().splitlines()[1])
    shutil.rmtree(served.audit_directory)
    shutil.copytree(backup, served.audit_directory)

    served.start()
    assert imap_login_reply(served.ports.imaps, context, ALICE).startswith(b"OK")
    served.stop()

    aside = served.audit_directory / "before-1"
    assert records_in(aside) == records_in(backup)
    (told,) = [detail(record) for record in coded(served.audit_records(), "GK9007W")]
    assert (told["log"], told["predecessor"]) == ("tests.example/audit/1/2", "tests.example/audit/1")
    assert (told["predecessor_size"], told["found_n"]) == (signed, len(records_in(backup)))
    vkey = served.cli("audit", "keys").stdout.strip()
    done = served.cli("audit", "verify", "--vkey", vkey)
    assert done.returncode == 0, done.stdout + done.stderr
    done = served.cli("audit", "verify", "--vkey", vkey, "--since-checkpoint", str(kept))
    assert done.returncode == 1
    assert f"although {signed} were signed" in done.stdout
    command = [sys.executable, "-I", str(_SCRIPT), str(served.audit_directory), "--vkey", vkey]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    found = served.cli("audit", "query", "--code", "GK9001I", "--json").stdout.splitlines()
    assert len(found) == len(coded(records_in(aside), "GK9001I")) + 1


def test_query_and_tail(served: GateProcess, context: ssl.SSLContext) -> None:
    """`audit tail` and `audit query` give records as JSON lines; a filter takes only what fits."""
    for user in (ALICE, BOB):
        imap_login_reply(served.ports.imaps, context, user)
    served.wait_for_record(lambda one: code(one) == "GK1002W")

    tail = served.cli("audit", "tail", "--json")
    assert tail.returncode == 0, tail.stderr
    assert {"GK1001I", "GK1002W"} <= {code(json.loads(line)) for line in tail.stdout.splitlines()}
    query = served.cli("audit", "query", "--code", "GK1002W", "--json")
    assert query.returncode == 0, query.stderr
    assert {code(json.loads(line)) for line in query.stdout.splitlines()} == {"GK1002W"}


# No audit, no new session


@pytest.fixture
def tiny_disk() -> Iterator[Path]:
    """Mount a file system of one megabyte."""
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    directory = Path("/run" if os.access("/run", os.W_OK) else "/tmp") / f"gk-tiny-{free_port()}"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "gk-tiny", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        directory.rmdir()
        pytest.skip(f"mounting a small file system is not allowed here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
    directory.rmdir()


def _fill(file: Path) -> None:
    """Take every free byte of the file system that `file` is on."""
    with file.open("wb", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                continue  # full for this size


def test_without_audit_nobody_new_gets_in(
    make_gate: MakeGate, dovecot: Dovecot, postfix: Postfix, tiny_disk: Path, context: ssl.SSLContext
) -> None:
    """A full audit disk: temporary failures, `/readyz` red, open sessions stay; room again: mail again."""
    gate = make_gate(
        {
            "upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)},
            "audit": {"directory": str(tiny_disk / "audit"), "signing_key": str(tiny_disk / "signing.key")},
        }
    )
    before = imap_session(gate.ports.imaps, context, ALICE)
    filler = tiny_disk / "filler"
    _fill(filler)

    def refused() -> bool:
        return imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"NO [UNAVAILABLE]")

    # What was allocated before the disk was full may hold a few records still.
    eventually(refused, within=10, what="the refusal of new sessions")
    assert smtp_login_reply(gate.ports.submissions, context, ALICE).startswith(b"454 4.7.0")
    assert b"TikTok" not in imap_login_reply(gate.ports.imaps, context, BOB)
    assert gate.get("/readyz").status == 503
    assert gate.get("/livez").status == 200
    assert before.imap(b"x NOOP")[-1].startswith(b"x OK")
    before.close()

    filler.unlink()
    eventually(gate.is_ready, within=10, what="readiness after there is room again")
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    gate.stop()
    done = gate.cli("audit", "verify", str(tiny_disk / "audit"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_are_recorded(served: GateProcess) -> None:
    """An import that is taken and one that is refused each leave a record."""
    served.import_inventory(device("ph-new", CAROL.login))
    served.wait_for_record(lambda one: code(one) == "GK4012I")
    bad = served.directory / "bad.jsonl"
    bad.write_text(device("ph-newer", CAROL.login) + "\n{}\n")
    refused = served.cli("inventory", "import", str(bad))

    assert refused.returncode != 0
    assert "2" in refused.stderr
    served.wait_for_record(lambda one: code(one) == "GK4013W")
    assert "ph-newer" not in served.cli("device", "list").stdout
