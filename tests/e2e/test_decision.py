"""Why somebody's mail goes through or not, asked of the running gate and of the command line."""

import json
from collections.abc import Callable

from testkit.bed import ALICE, BOB, BOB_PHONE
from testkit.gate import NOT_YET, GateProcess, policy, upstream
from testkit.ports import free_port
from testkit.wire import Wire

MakeGate = Callable[..., GateProcess]
GERMAN = '[rule.message.de]\nshort = "{app} ist auf diesem Telefon."\nfix = "{app} entfernen."\n'


def _nowhere() -> dict[str, object]:
    """No question asks a mail server."""
    return {"upstream": {"imap": upstream(free_port()), "smtp": upstream(free_port())}}


def test_both_depths_by_the_admin_port_and_by_the_command_line(make_gate: MakeGate) -> None:
    """The same document, for the person in their language and time, for the operator with every predicate."""
    gate = make_gate(_nowhere(), policy_text=policy(NOT_YET) + GERMAN)
    where = f"/v1/decision?user={BOB.login}"
    person = gate.get(f"{where}&depth=person&tz=Europe/Berlin", {"Accept-Language": "fr;q=0.2, de-AT"}).json()
    assert person["person"] == {
        "language": "de",
        "what": "TikTok ist auf diesem Telefon.",
        "fix": "TikTok entfernen.",
        "by": "2999-01-01T01:00:00+01:00",
        "sentences": [
            "TikTok ist auf diesem Telefon.",
            "TikTok entfernen.",
            "Ab dem 01.01.2999, 01:00 Uhr (CET) ist Ihre E-Mail gesperrt, wenn das bis dahin nicht erledigt ist.",
        ],
    }
    assert (person["verdict"], person["device"]) == ("warn", BOB_PHONE)
    assert "operator" not in person

    at = "2998-12-31T23:00:00%2B00:00"
    both = gate.get(f"{where}&lang=de&tz=Europe/Berlin&all_rules&at={at}").json()
    asked = ("--language", "de", "--zone", "Europe/Berlin", "--all-rules", "--at", "2998-12-31T23:00:00Z")
    told = gate.cli("device", "why", BOB.login, "--json", *asked)
    assert json.loads(told.stdout) == both
    (device,) = both["operator"]["devices"]
    assert device["evidence"]["is_stale"] is True
    (rule,) = device["rules"]
    assert (rule["broken"], rule["phase"], rule["does"]) == ("true", "warn", "warn")
    assert rule["changes_at"] == "2999-01-01T00:00:00Z"
    assert {"name": "scope.device_class", "answer": "true"} in rule["predicates"]

    clean = gate.get(f"/v1/decision?user={ALICE.login}&depth=person").json()
    assert clean["person"]["sentences"] == ["Your mail goes through."]


def test_questions_that_make_no_sense_change_nothing(make_gate: MakeGate) -> None:
    """Each is refused with one line, and the gate goes on; nothing is logged as a fault."""
    gate = make_gate(_nowhere())
    for query in ("", "?user=", f"?user={ALICE.login}&depth=all", f"?user={ALICE.login}&tz=/etc/passwd", "?%00=%ff"):
        answer = gate.get(f"/v1/decision{query}")
        assert answer.status == 400, query
        assert set(answer.json()) == {"error", "detail"}
    assert gate.post("/v1/decision", b"", "text/plain").status == 405
    assert gate.get(f"/v1/decision?user={ALICE.login}&lang={'d' * 20_000}").status == 400
    for line in (b"GET /v1/decision HTTP/9.9", b"GET /v1/decision?user=\xff\x00 HTTP/1.1"):
        with Wire(gate.ports.admin) as wire:
            wire.send(line + b"\r\nHost: a\r\n\r\n")
            assert b" 400 " in wire.line()
    assert gate.get("/livez").status == 200
    assert "admin.fault" not in gate.log()
