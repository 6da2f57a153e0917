"""A running gate's old records are pruned, each log saying so itself, while sessions go on."""

import hashlib
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gatekeeper.adapters.sinks.directory import first_sequence, note_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.publisher import Publisher
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.record import FIRST_PREV, encode
from gatekeeper.signing.note import SigningKey
from testkit.audit_log import ORIGIN, event, head_of, write_segments
from testkit.bed import ALICE
from testkit.dovecot import Dovecot
from testkit.gate import GateProcess, code, detail, upstream
from testkit.merkle import KEY
from testkit.ports import free_port
from testkit.sessions import imap_login_reply

SCRIPT = Path(__file__).parents[2] / "deploy" / "verify_audit.py"


def old_log(directory: Path, origin: str) -> None:
    """600 records of 2020 in two segments, signed by the key of the gate."""
    lines: list[bytes] = []
    for number in range(600):
        opened = {"code": EventCode.LOG_OPENED, "connection": None, "decision": None, "account": None, "message": ""}
        one = event(f"c{number}") if number else event(**opened)  # type: ignore[arg-type]  # by keyword
        prev = hashlib.sha256(lines[-1][:-1]).hexdigest() if lines else FIRST_PREV
        lines.append(encode(one, sequence=number, prev=prev, origin=origin, address_prefix=(24, 48)) + b"\n")
    write_segments(directory, lines[:300], lines[300:])
    note_head(directory, head_of(lines), origin, FileOperations())
    key = SigningKey(origin, KEY.private)
    publisher = Publisher(directory, key, records=600, files=FileOperations(), monotonic=monotonic)
    publisher.finish(600, within_s=60)


def test_every_log_of_a_running_gate_is_pruned_and_sound(
    make_gate_anywhere: Callable[..., GateProcess], dovecot: Dovecot, context: ssl.SSLContext
) -> None:
    """The gate records it in each log before anything goes; it goes on, and starts again, from pruned logs."""
    ports = {"imap": upstream(dovecot.imap_port), "smtp": upstream(free_port())}
    gate = make_gate_anywhere({"server": {"workers": 2}, "upstream": ports, "audit": {"origin": ORIGIN}})
    logs = [gate.audit_directory / "worker-1", gate.audit_directory / "worker-2"]
    for log in logs:
        old_log(log, f"{ORIGIN}/{log.name}")
    pem = KEY.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (gate.audit_directory / "signing.key").write_bytes(pem)
    (gate.audit_directory / "signing.key").chmod(0o600)
    gate.start()
    held = gate.cli("audit", "hold", "add", "--reason", "what is to come", "--from", "1h")
    assert (held.returncode, held.stderr) == (0, "")
    done = gate.cli("audit", "prune", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(map(first_sequence, logs)) == [300, 300]  # the signed head needs the other segment
    imap_login_reply(gate.ports.imaps, context, ALICE)
    assert gate.stop() == 0
    gate.start()
    assert gate.stop() == 0
    verified = gate.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.count("the log begins with record 300") == 2
    records = gate.audit_records()
    told = sorted((detail(each)["log"], detail(each)["first_kept"]) for each in records if code(each) == "GK9011I")
    assert told == [(f"{ORIGIN}/{log.name}", 300) for log in logs]
    assert [detail(each)["hold"] for each in records if code(each) == "GK5010I"] == [held.stdout.strip()]
    for log in logs:
        command = [sys.executable, "-I", SCRIPT, log, "--vkey", str(KEY.verifier)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
