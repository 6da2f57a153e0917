"""A gate whose log has pseudonyms: nobody is named in it, and whoever has the key finds people all the same."""

import json
import re
import ssl
from collections.abc import Callable

from testkit.bed import ALICE, ALICE_PHONE, BOB, BOB_PHONE
from testkit.dovecot import Dovecot
from testkit.gate import GateProcess, code, coded, detail, upstream
from testkit.inventory import device
from testkit.ports import free_port
from testkit.sessions import imap_login_reply

MakeGate = Callable[..., GateProcess]


def test_nobody_is_named_and_everybody_is_found(make_gate: MakeGate, dovecot: Dovecot, context: ssl.SSLContext) -> None:
    """Sessions let through, refused and cut, a wrong password, imports, exports: then whose they were, until erased."""
    ports = {"imap": upstream(dovecot.imap_port), "smtp": upstream(free_port())}
    gate = make_gate({"upstream": ports, "audit": {"privacy": "pseudonyms"}})
    for user in (ALICE, BOB):
        imap_login_reply(gate.ports.imaps, context, user)
    gate.import_inventory(device(ALICE_PHONE, ALICE.login))
    (gate.directory / "bad.jsonl").write_text(device(ALICE_PHONE, ALICE.login, platform="stone"))
    assert gate.cli("inventory", "import", str(gate.directory / "bad.jsonl")).returncode != 0
    assert gate.cli("audit", "export", "--user", ALICE.login, "--out", str(gate.directory / "out")).returncode == 0
    gate.wait_for_record(lambda record: code(record) == "GK5001I")
    names = (ALICE.login, BOB.login, ALICE_PHONE, BOB_PHONE, ALICE.login.partition("@")[0])
    files = [
        *gate.audit_directory.rglob("*.jsonl"),
        gate.directory / "state" / "identities.sqlite3",
        gate.directory / "out",
    ]
    for path in [one for file in files for one in ([file] if file.is_file() else file.iterdir())]:
        text = path.read_bytes()
        found = [name for name in names if re.search(rb"\b" + re.escape(name.encode()) + rb"\b", text)]
        assert path.name == "MANIFEST" or not found, (path, found)
    assert {"GK1001I", "GK1002W", "GK4012I", "GK4013W", "GK5001I"} <= {code(one) for one in gate.audit_records()}
    asked = gate.cli("audit", "query", "--user", ALICE.login, "--verdict", "allow", "--json")
    (record,) = map(json.loads, asked.stdout.splitlines())
    person = record["user"]["uid"]
    told = gate.cli("audit", "resolve", person, "--reason", "Case 7")
    assert (told.returncode, told.stdout) == (0, f"{ALICE.login}\n")
    erased = gate.cli("audit", "erase", ALICE.login, "--reason", "left the company")
    assert erased.returncode == 0, erased.stderr
    gone = gate.cli("audit", "resolve", person, "--reason", "to see")
    assert (gone.returncode, gone.stdout) == (3, "")
    assert "was erased" in gone.stderr
    replayed = json.loads(gate.cli("audit", "replay", "--json").stdout)
    assert (replayed["different"], replayed["performed"], replayed["not_performed"]) == (0, 1, {"nameless": 1})
    records = gate.audit_records()
    asked_for = [
        (detail(one)["pseudonym"], detail(one)["outcome"], detail(one)["reason"]) for one in coded(records, "GK5002I")
    ]
    assert asked_for == [(person, "named", "Case 7"), (person, "erased", "to see")]
    assert [detail(one)["reason"] for one in coded(records, "GK5003I")] == ["left the company"]
    assert gate.cli("audit", "verify").returncode == 0
