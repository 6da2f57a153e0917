"""A gate that sends its audit records away: a real rsyslog that is killed, and sessions that wait for a remote."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from testkit import rsyslog
from testkit.audit_log import log_of, write_segments
from testkit.bed import ALICE
from testkit.gate import GateProcess, code, coded, detail, records_in, upstream
from testkit.ports import LOOPBACK
from testkit.receivers import HttpReceiver, mutual
from testkit.recorder import Recorded, Recorder, Script
from testkit.rsyslog import Forwarder, Receiver
from testkit.sessions import imap_greeted, login_command
from testkit.tls import Authority, KeyPair
from testkit.waiting import eventually

MakeGate = Callable[..., GateProcess]
DEPLOY = Path(__file__).parents[2] / "deploy"
ORIGIN = "tests.example/audit/1"


def own(authority: Authority, pair: KeyPair) -> dict[str, object]:
    """How the gate proves itself to a receiver, and the receiver to it."""
    return {
        "ca": str(authority.ca_file),
        "client_certificate": str(pair.certificate),
        "client_key": str(pair.private_key),
    }


def lines_in(audit_directory: Path) -> list[bytes]:
    """Every line of the local log, without its newline."""
    return b"".join(path.read_bytes() for path in sorted(audit_directory.glob("segments/*.jsonl"))).split(b"\n")[:-1]


def knock(port: int, count: int) -> None:
    """Connections that end by themselves, each of which is a record."""
    for _ in range(count):
        socket.create_connection((LOOPBACK, port), timeout=10).close()


@pytest.fixture
def receiver(servers_ca: Authority) -> Iterator[Receiver]:
    """Return an rsyslog that takes records from gates that show the gate's certificate; not started yet."""
    if rsyslog.PROGRAM is None or not rsyslog.has_driver("ossl"):
        pytest.skip("rsyslog with rsyslog-openssl is not installed")
    made = Receiver(servers_ca, "gate.example.com")
    yield made
    made.stop()


def test_every_record_arrives_though_rsyslog_is_killed(
    make_gate: MakeGate, receiver: Receiver, servers_ca: Authority, tmp_path: Path
) -> None:
    """TLS with certificates on both sides; what is there afterwards verifies as the log, with nothing of ours."""
    assert receiver.check() == ""
    pair = servers_ca.server_certificate("gate-to-rsyslog", "gate.example.com")
    peer = {"name": "siem", "kind": "syslog", "address": f"localhost:{receiver.port}", **own(servers_ca, pair)}
    receiver.start()
    gate = make_gate(
        {
            "upstream": {"imap": upstream(9), "smtp": upstream(9)},
            "audit": {"fold": "0s", "remote": [peer], "checkpoint": [{**peer, "name": "heads"}]},
        }
    )
    knock(gate.ports.imap, 150)
    eventually(lambda: len(receiver.lines(ORIGIN)) > 50, within=20, what=receiver.log)
    receiver.kill()
    knock(gate.ports.imap, 150)
    eventually(lambda: len(coded(gate.audit_records(), "GK1104I")) == 300, within=20)
    assert gate.get("/readyz?verbose").body.find(b"audit") >= 0
    receiver.start()
    eventually(lambda: set(lines_in(gate.audit_directory)) <= set(receiver.lines(ORIGIN)), within=30, what=receiver.log)
    assert gate.stop() == 0

    local = lines_in(gate.audit_directory)
    heads = receiver.received_of(ORIGIN) / "checkpoints.jsonl"
    eventually(lambda: set(local) <= set(receiver.lines(ORIGIN)), within=10, what=receiver.log)
    eventually(lambda: heads.exists() and f'"records": {len(local)},' in heads.read_text(), within=10)
    collected = tmp_path / "collected"
    made = subprocess.run(
        [
            *(sys.executable, str(DEPLOY / "received_audit.py")),
            *(str(receiver.received_of(ORIGIN) / "records.jsonl"), "--out", str(collected)),
            *("--heads", str(heads)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.startswith(f"MADE: {len(local)} records of {ORIGIN}, with a head (")
    assert lines_in(collected) == local
    vkey = gate.cli("audit", "keys").stdout.strip()
    verified = subprocess.run(
        [sys.executable, str(DEPLOY / "verify_audit.py"), str(collected), "--vkey", vkey],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.startswith(f"SOUND: {len(local)} records")
    assert [code(record) for record in records_in(collected)][-1] == "GK9003I"


def test_an_rsyslog_beside_the_gate_can_forward_the_files(
    receiver: Receiver, servers_ca: Authority, tmp_path: Path
) -> None:
    """Every line of every segment, octet by octet, and what is written while it runs."""
    lines = log_of(200)
    write_segments(tmp_path, lines[:120], lines[120:150])
    forwarder = Forwarder(servers_ca, "gate.example.com", receiver, tmp_path, ORIGIN)
    try:
        assert forwarder.check() == ""
        receiver.start()
        forwarder.start()
        eventually(lambda: len(receiver.lines(ORIGIN)) >= 150, within=20, what=lambda: forwarder.log() + receiver.log())
        (tmp_path / "segments" / f"{150:020}-20200710T170000Z.jsonl").write_bytes(b"".join(lines[150:]))
        eventually(lambda: len(receiver.lines(ORIGIN)) >= 200, within=20, what=forwarder.log)
        assert [line + b"\n" for line in sorted(receiver.lines(ORIGIN), key=_number)] == lines
    finally:
        forwarder.stop()


def _number(line: bytes) -> int:
    return int(json.loads(line)["metadata"]["sequence"])


def test_a_session_waits_for_the_remotes_word_and_gets_a_temporary_refusal_without_it(
    make_gate: MakeGate,
    record: Callable[[Script], Recorder],
    context: ssl.SSLContext,
    servers_ca: Authority,
) -> None:
    """The mail server sees no octet of a session before the remote has its record; recovery needs nobody."""
    pair = servers_ca.server_certificate("gate-to-collector", "gate.example.com")
    collector = HttpReceiver(mutual(servers_ca.server_certificate("collector"), servers_ca))
    seen: list[list[bytes]] = []

    def look(_: Recorded) -> None:
        seen.append(list(collector.lines))

    recorder = record(Script(protocol="imap", passwords={ALICE.login: ALICE.password}, before_data=look))
    remote = {"name": "collector", "kind": "http", "url": collector.url, **own(servers_ca, pair)}
    try:
        gate = make_gate(
            {
                "upstream": {"imap": upstream(recorder.port), "smtp": upstream(9)},
                "audit": {"required": "remote", "remote_timeout": "3s", "remote": [remote]},
            }
        )
        eventually(gate.is_ready, within=10)
        with imap_greeted(gate.ports.imaps, context) as wire:
            wire.send(b"a " + login_command(ALICE) + b"\r\nb NOOP\r\n")
            assert wire.tagged(b"b")[-1].startswith(b"b OK")
        assert len([line for line in seen[0] if b"GK1001I" in line]) == 1

        collector.answers.status = 503
        with imap_greeted(gate.ports.imaps, context) as wire:
            wire.send(b"a " + login_command(ALICE) + b"\r\n")
            assert b"[UNAVAILABLE]" in wire.tagged(b"a")[-1]
        assert len(seen) == 1
        eventually(lambda: gate.get("/readyz").status == 503, within=15)
        assert b"collector: it answered 503" in gate.get("/readyz?verbose").body
        metrics = gate.get("/metrics").body
        assert b'gatekeeper_audit_remote_up{remote="collector"} 0.0' in metrics
        assert b"gatekeeper_audit_writable 0.0" in metrics
        assert "collector: it answered 503" in gate.cli("status").stdout

        collector.answers.status = 200
        eventually(gate.is_ready, within=20)
        with imap_greeted(gate.ports.imaps, context) as wire:
            wire.send(b"a " + login_command(ALICE) + b"\r\nb NOOP\r\n")
            assert wire.tagged(b"b")[-1].startswith(b"b OK")
        gate.stop()
        assert collector.lines == lines_in(gate.audit_directory)
    finally:
        collector.stop()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a mebibyte, mounted while the test runs."""
    if os.getuid() != 0:
        pytest.skip("mounting a file system takes root")
    directory = tmp_path / "tiny"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "gk-tiny", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_with_a_full_disk_a_remote_is_enough_where_any_may_have_the_record(
    make_gate: MakeGate, record: Callable[[Script], Recorder], context: ssl.SSLContext, tiny_disk: Path
) -> None:
    """Mail goes on, its records stand in a log that the remote has, and the local log names it when there is room."""
    collector = HttpReceiver()
    recorder = record(Script(protocol="imap", passwords={ALICE.login: ALICE.password}))
    filler = tiny_disk / "filler"
    try:
        gate = make_gate(
            {
                "upstream": {"imap": upstream(recorder.port), "smtp": upstream(9)},
                "audit": {
                    "directory": str(tiny_disk / "audit"),
                    "required": "any",
                    "remote": [{"name": "collector", "kind": "http", "url": collector.url}],
                },
            }
        )
        collector.wait_for(1)
        _fill(filler)
        # What was allocated before the disk was full may hold a few records still.
        eventually(lambda: _let_in(gate, context) and b"only remotes" in gate.get("/readyz?verbose").body, within=20)
        assert _let_in(gate, context)
        assert gate.is_ready()
        direct = [line for line in collector.lines if f"{ORIGIN}/direct/".encode() in line]
        assert any(b"GK1001I" in line for line in direct)
        filler.unlink()
        eventually(lambda: b"only remotes" not in gate.get("/readyz?verbose").body, within=10)
        assert _let_in(gate, context)
        gate.stop()
        (said,) = coded(records_in(tiny_disk / "audit"), "GK9032W")
        assert detail(said)["direct"] == json.loads(direct[0])["unmapped"]["gatekeeper"]["log"]
        verified = gate.cli("audit", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
    finally:
        collector.stop()


def _fill(file: Path) -> None:
    """Take every free octet of the file system."""
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"x" * 1024)


def _let_in(gate: GateProcess, context: ssl.SSLContext) -> bool:
    """Log in; False: a temporary refusal."""
    with imap_greeted(gate.ports.imaps, context) as wire:
        wire.send(b"a " + login_command(ALICE) + b"\r\n")
        return wire.tagged(b"a")[-1].startswith(b"a OK")


def test_each_worker_sends_its_own_log_and_its_own_heads(
    make_gate: MakeGate, servers_ca: Authority, tmp_path: Path
) -> None:
    """The remote gets all logs, each whole; an auditor's directory has the head of each."""
    collector = HttpReceiver()
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    try:
        gate = make_gate(
            {
                "server": {"workers": 2},
                "upstream": {"imap": upstream(9), "smtp": upstream(9)},
                "audit": {
                    "fold": "0s",
                    "remote": [{"name": "collector", "kind": "http", "url": collector.url}],
                    "checkpoint": [{"name": "auditors", "kind": "file", "path": str(shelf)}],
                },
            }
        )
        knock(gate.ports.imap, 40)
        eventually(lambda: len(coded(gate.audit_records(), "GK1104I")) == 40, within=20)
        up = b'gatekeeper_audit_remote_up{remote="collector"} 1.0'  # once every worker has heard of it
        eventually(lambda: up in gate.get("/metrics").body, within=15)
        gate.stop()
        for number in (1, 2):
            log = f"{ORIGIN}/worker-{number}"
            local = lines_in(gate.audit_directory / f"worker-{number}")
            assert [line for line in collector.lines if log.encode() in line] == local
            kept = shelf / f"{log.replace('/', '=2f')}.checkpoint"
            verified = gate.cli("audit", "verify", "--since-checkpoint", str(kept))
            assert verified.returncode == 0, verified.stdout + verified.stderr
    finally:
        collector.stop()
        shutil.rmtree(shelf)
