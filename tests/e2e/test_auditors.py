"""What auditors get from a gate that runs: searches, exports, a report, each of them on record."""

import hashlib
import json
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.bed import ALICE, BOB
from testkit.dovecot import Dovecot
from testkit.gate import GateProcess, code, coded, detail, upstream
from testkit.ocsf import faults
from testkit.pages import check
from testkit.ports import free_port
from testkit.sessions import imap_login_reply
from testkit.waiting import eventually

MakeGate = Callable[..., GateProcess]


@pytest.fixture(params=[1, 2], ids=["one-process", "two-workers"])
def served(
    request: pytest.FixtureRequest, make_gate: MakeGate, dovecot: Dovecot, context: ssl.SSLContext
) -> GateProcess:
    """A gate in front of Dovecot that let somebody in and refused somebody."""
    ports = {"imap": upstream(dovecot.imap_port), "smtp": upstream(free_port())}
    gate = make_gate({"server": {"workers": request.param}, "upstream": ports})
    for user in (ALICE, BOB):
        imap_login_reply(gate.ports.imaps, context, user)
    gate.wait_for_record(lambda record: code(record) in ("GK1102I", "GK1104I"))
    return gate


def test_an_export_and_a_report_of_a_running_gate_are_recorded_by_it(served: GateProcess, tmp_path: Path) -> None:
    """The gate is the log's only writer: the commands tell it, and the chain holds."""
    done = served.cli("audit", "export", "--format", "ocsf", "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (0, "")
    exported = (tmp_path / "out" / "records.jsonl").read_bytes()
    assert [faults(line) for line in exported.splitlines()] == [[]] * exported.count(b"\n")
    assert exported.count(b"GK1001I") == 1
    done = served.cli("audit", "report", "--from", "1h", "--out", str(tmp_path / "page.html"))
    assert (done.returncode, done.stderr) == (0, "")
    page = check((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "2 log-ins by 2 people: 1 let through, 1 blocked by policy" in page.text
    assert served.cli("audit", "check-export", str(tmp_path / "out")).returncode == 0
    served.wait_for_record(lambda record: code(record) == "GK5001I" and detail(record)["what"] == "report")
    told = {detail(record)["what"]: detail(record) for record in coded(served.audit_records(), "GK5001I")}
    assert told["export"]["sha256"] == hashlib.sha256(exported).hexdigest()
    assert told["report"]["sha256"] == hashlib.sha256((tmp_path / "page.html").read_bytes()).hexdigest()
    assert served.cli("audit", "verify").returncode == 0


def test_people_are_found_while_the_gate_writes(served: GateProcess) -> None:
    """By account, by what became of them, and in all workers' logs; that somebody looked is on record."""
    for more in ([], ["--no-index"]):
        found = served.cli("audit", "query", "--user", BOB.login, "--verdict", "block", "--json", *more)
        assert [json.loads(line)["user"]["name"] for line in found.stdout.splitlines()] == [BOB.login]
        found = served.cli("audit", "tail", "--user", ALICE.login, "--verdict", "allow", "--json", *more)
        assert [json.loads(line)["user"]["name"] for line in found.stdout.splitlines()] == [ALICE.login]
    found = served.cli("audit", "query", "--user", BOB.login)
    assert (found.returncode, found.stderr) == (0, "")
    told = [detail(record) for record in coded(served.audit_records(), "GK5001I")]
    assert [(one["what"], one["records_n"]) for one in told] == [("query", 1), ("tail", 1)] * 2 + [
        ("query", told[-1]["records_n"])
    ]
    assert told[0]["asked"] == f"user={BOB.login} verdict=block"
    assert all(one["by"] for one in told)


def test_the_signing_key_is_changed_while_the_gate_runs(served: GateProcess) -> None:
    """By all workers, in every log; both keys verify until the older one is retired."""
    first = served.cli("audit", "keys").stdout.strip()
    done = served.cli("audit", "keys", "rotate")
    assert (done.returncode, done.stderr) == (0, "Both keys sign from now on.\n")
    second = done.stdout.strip()

    def are_signed_by(number: int) -> bool:
        heads = list(served.audit_directory.rglob("checkpoint"))
        return all(head.read_text().count("— ") == number for head in heads)

    eventually(lambda: are_signed_by(2), within=10, what="two signatures in every log")
    for key in (first, second):
        assert served.cli("audit", "verify", "--vkey", key).returncode == 0
    assert served.cli("audit", "keys", "retire").returncode == 0
    eventually(lambda: are_signed_by(1), within=10, what="one signature in every log")
    assert served.cli("audit", "verify", "--vkey", first).returncode == 3
    assert served.cli("audit", "verify", "--vkey", second).returncode == 0
    logs = len(list(served.audit_directory.rglob("checkpoint")))
    changes = served.wait_for_records(2 * logs, lambda record: code(record) == "GK9012I")
    assert len(changes) == 2 * logs


def test_a_log_that_is_deleted_is_missed(served: GateProcess, tmp_path: Path) -> None:
    """By the registry, whichever it is; without it the rest of the logs is sound."""
    registry = ["--registry", str(tmp_path / "logs.json")]
    vkey = served.cli("audit", "keys").stdout.strip()
    assert served.cli("audit", "registry", "add", "--vkey", vkey, *registry).returncode == 0
    done = served.cli("audit", "verify", "--all", "--update", *registry)
    assert done.returncode == 0, done.stdout + done.stderr
    served.stop()
    last = max(path.parent for path in served.audit_directory.rglob("checkpoint"))
    for name in ("segments", "tile"):
        shutil.rmtree(last / name)
    for name in ("checkpoint", "head.json"):
        (last / name).unlink()
    done = served.cli("audit", "verify", "--all", *registry)
    assert done.returncode == 1
    assert "FOUND      gone: there is no log `tests.example/audit/1" in done.stdout
