"""A gate whose log has pseudonyms: nobody is named in it, and whoever has the key finds people all the same."""

import json
import re
import ssl
from collections.abc import Callable
from pathlib import Path

from testkit.agents import TIKTOK_APP, Agents
from testkit.bed import ALICE, ALICE_PHONE, BOB, BOB_PHONE, CAROL
from testkit.dovecot import Dovecot, User
from testkit.gate import GateProcess, code, coded, detail, upstream
from testkit.inventory import device
from testkit.ports import free_port
from testkit.sessions import imap_greeted, imap_login_reply, login_command

MakeGate = Callable[..., GateProcess]


def test_nobody_is_named_and_everybody_is_found(
    make_gate: MakeGate, dovecot: Dovecot, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """Sessions let through, refused, cut; evidence, a refused import, a search: then whose it was, until erased."""
    agents = Agents(tmp_path)
    ports = {"imap": upstream(dovecot.imap_port), "smtp": upstream(free_port())}
    changes = {"upstream": ports, "audit": {"privacy": "pseudonyms"}, "evidence": agents.configuration()}
    gate = make_gate(changes)
    for user in (BOB, User(CAROL.login, "wrong")):
        imap_login_reply(gate.ports.imaps, context, user)
    wire = imap_greeted(gate.ports.imaps, context)
    wire.imap(b'a ID ("name" "Mail of %s on %s")' % (ALICE.login.encode(), ALICE_PHONE.encode()))
    wire.imap(b"in " + login_command(ALICE))
    gate.wait_for_record(lambda record: code(record) == "GK1001I")
    assert agents.report(gate, ALICE_PHONE, TIKTOK_APP).status == 200
    token = agents.token(gate, ALICE_PHONE)
    assert [agents.post(gate, token).status for _ in range(2)] == [200, 409]
    gate.wait_for_record(lambda record: code(record) == "GK1101W")
    wire.close()
    (gate.directory / "bad.jsonl").write_text(device(ALICE_PHONE, ALICE.login, platform="stone"))
    assert gate.cli("inventory", "import", str(gate.directory / "bad.jsonl")).returncode != 0
    asked = gate.cli("audit", "query", "--user", ALICE.login, "--verdict", "allow", "--json")
    gate.wait_for_record(lambda record: code(record) == "GK5001I")
    names = (ALICE.login, BOB.login, CAROL.login, ALICE_PHONE, BOB_PHONE, ALICE.login.partition("@")[0], "carol")
    for path in (*gate.audit_directory.rglob("*.jsonl"), gate.directory / "state" / "identities.sqlite3"):
        text = path.read_bytes()
        assert not [name for name in names if re.search(rb"\b" + re.escape(name.encode()) + rb"\b", text)]
    seen = {code(one) for one in gate.audit_records()}
    assert {"GK1001I", "GK1002W", "GK1011W", "GK1101W", "GK1104I", "GK3002I"} <= seen
    assert {"GK4001I", "GK4002I", "GK4010I", "GK4011W", "GK4013W", "GK5001I"} <= seen
    (record,) = map(json.loads, asked.stdout.splitlines())
    person = record["user"]["uid"]
    assert detail(record)["client_id"].startswith("c2")
    taken = gate.cli("audit", "export", "--user", ALICE.login, "--out", str(tmp_path / "taken"))
    assert taken.returncode == 0, taken.stderr
    manifest = (tmp_path / "taken" / "MANIFEST").read_text()
    assert f"asked: user={person}\n" in manifest
    assert not [name for name in names if name in manifest + (tmp_path / "taken" / "records.jsonl").read_text()]
    told = gate.cli("audit", "resolve", person, "--reason", "Case 7")
    assert (told.returncode, told.stdout) == (0, f"{ALICE.login}\n")
    erased = gate.cli("audit", "erase", ALICE.login, "--reason", "left the company")
    assert erased.returncode == 0, erased.stderr
    replayed = json.loads(gate.cli("audit", "replay", "--json").stdout)
    assert (replayed["different"], replayed["performed"], replayed["not_performed"]) == (0, 1, {"nameless": 2})
    records = gate.audit_records()
    asked_for = [
        (detail(one)["pseudonym"], detail(one)["outcome"], detail(one)["reason"]) for one in coded(records, "GK5002I")
    ]
    assert asked_for == [(person, "named", "Case 7")]
    assert [detail(one)["reason"] for one in coded(records, "GK5003I")] == ["left the company"]
