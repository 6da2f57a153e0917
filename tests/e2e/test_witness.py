"""A witness by HTTP and a gate that asks it by itself; the witness's own answers over the wire, asked with curl."""

import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gatekeeper.adapters.sinks.shipping.channel import Refused
from gatekeeper.adapters.sinks.shipping.places import Witness
from gatekeeper.adapters.sinks.shipping.settings import HttpPeer
from gatekeeper.adapters.sinks.tiles import hashes_at, read_checkpoint_file
from gatekeeper.audit.checkpoint import read_checkpoint
from gatekeeper.audit.cosignature import CosignerKey, cosigned_by
from gatekeeper.audit.proof import consistency
from testkit.audit_log import ORIGIN, log_of, write_segments
from testkit.bed import ALICE
from testkit.dovecot import Dovecot
from testkit.gate import GateProcess, coded, detail, upstream
from testkit.merkle import KEY, sign_log
from testkit.ports import LOOPBACK, free_port
from testkit.sessions import imap_login_reply
from testkit.tls import Authority
from testkit.waiting import eventually

MakeGate = Callable[..., GateProcess]
NAME = "audit.example.com/witness"


class WitnessProcess:
    """`audit witness --listen`, as an audit team runs it."""

    def __init__(self, directory: Path, vkey: Path, *more: str) -> None:
        self.state = directory / "witness"
        self.port = free_port()
        self._log = directory / "witness.stderr"
        command = [sys.executable, "-m", "gatekeeper", "audit", "witness", "--name", NAME, "--state", str(self.state)]
        shown = subprocess.run([*command, "--show-key"], capture_output=True, text=True, check=True)
        self.key = shown.stdout.strip()
        with self._log.open("ab") as stderr:
            listen = ["--listen", f"{LOOPBACK}:{self.port}", "--vkey", str(vkey), *more]
            self._process = subprocess.Popen([*command, *listen], stderr=stderr)
        eventually(lambda: "listens on" in self.log(), within=60, what=self.log)

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(20)


@pytest.fixture
def witnesses() -> Iterator[list[WitnessProcess]]:
    """Those that a test started, ended afterwards."""
    started: list[WitnessProcess] = []
    yield started
    for one in started:
        one.stop()


def ask(witness: WitnessProcess, body: bytes, *more: str, scheme: str = "http") -> tuple[str, str, str]:
    """Status, content type and body of the answer to one request."""
    url = f"{scheme}://localhost:{witness.port}/add-checkpoint"
    told = "\n%{http_code} %{content_type}"
    command = ["curl", "--silent", "--show-error", "--write-out", told, "--data-binary", "@-", *more, url]
    done = subprocess.run(command, input=body, capture_output=True, check=False)
    answer, _, last = done.stdout.decode().rpartition("\n")
    status, _, kind = last.partition(" ")
    return status, kind, answer


def test_a_gate_has_its_log_cosigned_by_itself(
    make_gate: MakeGate, dovecot: Dovecot, context: ssl.SSLContext, tmp_path: Path, witnesses: list[WitnessProcess]
) -> None:
    """What was cosigned is found by `verify --witness`; after a fork the witness refuses, loudly, and mail goes on."""
    port = free_port()
    place = {"name": "team", "kind": "witness", "url": f"http://{LOOPBACK}:{port}/add-checkpoint"}
    gate = make_gate(
        {
            "upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(free_port())},
            "audit": {"checkpoint": [place]},
        }
    )
    vkey = tmp_path / "gate.vkey"
    vkey.write_text(gate.cli("audit", "keys").stdout)
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK"), "the witness is not there yet"
    gate.stop()
    (gate.audit_directory / "signing.key").rename(tmp_path / "signing.key")
    witness = WitnessProcess(tmp_path, vkey)
    witnesses.append(witness)
    place |= {"url": f"http://{LOOPBACK}:{witness.port}/add-checkpoint", "vkey": witness.key}
    audit = {"signing_key": str(tmp_path / "signing.key"), "checkpoint": [place]}
    gate.configuration["audit"] = {**gate.configuration["audit"], **audit}  # type: ignore[dict-item]
    gate.write_configuration(gate.configuration)
    gate.start()
    cosigned = gate.audit_directory / "cosigned" / "team"
    eventually(cosigned.exists, within=30, what=gate.log)
    done = gate.cli("audit", "verify", "--vkey", str(vkey), "--witness", witness.key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NAME} saw it at 2" in done.stdout
    gate.stop()  # which would have the next head cosigned meanwhile
    shutil.move(cosigned, tmp_path / "kept")
    assert gate.cli("audit", "verify", "--vkey", str(vkey), "--witness", witness.key).returncode == 3

    shutil.rmtree(gate.audit_directory)  # the key is used for another log of the same name
    shutil.rmtree(gate.directory / "state" / "audit-heads")
    gate.start()
    gate.wait_for_record(lambda record: record["metadata"]["event_code"] == "GK9013W", within=30)
    told = [detail(record) for record in coded(gate.audit_records(), "GK9013W")]
    assert told[0]["witness"] == "team"
    assert 'refuses{copy="team"} 1.0' in gate.get("/metrics").body.decode()
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    done = gate.cli(
        "audit", "verify", "--vkey", str(vkey), "--since-checkpoint", str(tmp_path / "kept"), "--witness", witness.key
    )
    assert done.returncode == 1
    gate.stop()
    assert witness.stop() == 0


def test_the_witness_answers_as_its_specification_says(
    make_gate: MakeGate, tmp_path: Path, witnesses: list[WitnessProcess], dovecot: Dovecot
) -> None:
    """200, 400, 403, 404, 405, 409 with its type, 413, 422, over TLS, to a client that is not ours."""
    gate = make_gate({"upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(free_port())}})
    gate.stop()
    vkey = tmp_path / "gate.vkey"
    vkey.write_text(gate.cli("audit", "keys").stdout)
    authority = Authority(tmp_path, "witness-ca")
    made = authority.server_certificate("localhost")
    tls = ["--certificate", str(made.certificate), "--private-key", str(made.private_key)]
    witness = WitnessProcess(tmp_path, vkey, *tls)
    witnesses.append(witness)

    def post(body: bytes, *more: str) -> tuple[str, str, str]:
        return ask(witness, body, "--cacert", str(authority.ca_file), *more, scheme="https")

    request = gate.cli("audit", "prove", "consistency").stdout.encode()
    note = request.partition(b"\n\n")[2]
    size = int(note.split(b"\n")[1])
    status, _, answer = post(request)
    assert (status, answer.startswith(f"— {NAME} ")) == ("200", True)
    assert post(request) == ("409", "text/x.tlog.size", f"{size}\n")
    assert post(f"old {size}\n\n".encode() + note)[0] == "200"
    assert post(b"")[0] == post(b"old x\n\n" + note)[0] == post(f"old {size + 1}\n\n".encode() + note)[0] == "400"
    assert post(request.replace(b"tests.example", b"other.example"))[0] == "404"
    assert post(request.replace(f"\n{size}\n".encode(), f"\n{size + 1}\n".encode()))[0] == "403"
    gate.start()
    gate.stop()
    grown = gate.cli("audit", "prove", "consistency").stdout.encode().partition(b"\n\n")[2]
    assert post(f"old {size}\n\n".encode() + grown)[0] == "422"
    assert post(b"x" * 70_000)[0] == "413"
    assert post(b"", "--request", "GET")[0] == "405"
    assert "refused (422)" in witness.log()
    assert "Traceback" not in witness.log()


def test_a_foreign_witness_cosigns_the_log(tmp_path: Path) -> None:
    """The package aics-witness: as the log grows, also when we have forgotten how far; a fork and a cut it refuses."""
    pytest.importorskip("aics_witness", reason="aics-witness needs Python 3.12")
    port = free_port()
    program = [sys.executable, "-m", "aics_witness"]
    options = ["--config", str(tmp_path / "w.json")]
    made = [*program, "init", *options, "--name", "w.example/1", "--listen", f"{LOOPBACK}:{port}"]
    told = subprocess.run(made, capture_output=True, text=True, check=True).stdout
    key = CosignerKey.parse(next(word for word in told.split() if word.startswith("w.example/1+")))
    trust = [*program, "add-log", *options, "--origin", ORIGIN, "--vkey", str(KEY.verifier)]
    subprocess.run(trust, capture_output=True, check=True)
    log, lines = tmp_path / "log", log_of(600)
    peer = HttpPeer(url=f"http://{LOOPBACK}:{port}/add-checkpoint", tls=None)

    def keep(size: int, lines: list[bytes] = lines) -> None:
        write_segments(log, lines[:size])
        sign_log(log)
        note = read_checkpoint_file(log) or b""
        with closing(Witness(peer, log, "foreign", key)) as witness:
            witness.keep(note, read_checkpoint(note)[0])

    with subprocess.Popen([*program, "serve", *options], stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: is_open(port), within=20, what="the witness listens")
            for size in (10, 300, 300):
                keep(size)
            (log / "cosigned" / "foreign").unlink()
            keep(600)
            _, note = read_checkpoint((log / "cosigned" / "foreign").read_bytes())
            assert [one.witness for one in cosigned_by(note, [key])] == [key]
            with pytest.raises(Refused):
                keep(200)
            with pytest.raises(Refused):
                keep(600, [line.replace(b"TikTok", b"Signal") for line in lines])
        finally:
            process.terminate()


def test_a_foreign_client_is_cosigned(tmp_path: Path, witnesses: list[WitnessProcess]) -> None:
    """The same package's client, at our witness: it checks what it gets, and says what it makes of a fork and a cut."""
    feeder = pytest.importorskip("aics_witness.feeder", reason="aics-witness needs Python 3.12")
    log, lines = tmp_path / "log", log_of(600)
    vkey = tmp_path / "gate.vkey"
    vkey.write_text(f"{KEY.verifier}\n")
    witness = WitnessProcess(tmp_path, vkey)
    witnesses.append(witness)

    def head(size: int, lines: list[bytes] = lines) -> bytes:
        write_segments(log, lines[:size])
        sign_log(log)
        return read_checkpoint_file(log) or b""

    def proof(old: int, new: int) -> list[bytes]:
        return consistency(old, new, hashes_at(log, new))

    with feeder.WitnessClient(f"http://{LOOPBACK}:{witness.port}", witness.key) as client:
        for size in (10, 300, 300, 600):
            line = client.submit(head(size), proof)
            assert line.startswith(f"— {NAME} ")
        with pytest.raises(feeder.WitnessAhead):
            client.submit(head(200), proof)
    with (
        feeder.WitnessClient(f"http://{LOOPBACK}:{witness.port}", witness.key) as stranger,
        pytest.raises(feeder.FeederError),
    ):
        stranger.submit(head(600, [line.replace(b"TikTok", b"Signal") for line in lines]), proof)


def is_open(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port)).close()
    except OSError:
        return False
    return True
