"""What a policy would do and would have done, asked of the store and the log of a real gate with real log-ins."""

import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from testkit.bed import ALICE, ALICE_PHONE, BOB, BOB_PHONE, CAROL
from testkit.dovecot import Dovecot
from testkit.gate import NOT_YET, GateProcess, policy, upstream
from testkit.inventory import TIKTOK, device
from testkit.postfix import Postfix
from testkit.sessions import imap_login_reply, imap_session, smtp_login_reply
from testkit.waiting import eventually

MakeGate = Callable[..., GateProcess]


@pytest.fixture(params=["encrypted"])
def used(
    request: pytest.FixtureRequest, make_gate: MakeGate, dovecot: Dovecot, postfix: Postfix, context: ssl.SSLContext
) -> GateProcess:
    """Run a gate in which a rule warns, and let three people log in, before and after their phones report anew."""
    ports = {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)}
    gate = make_gate({"upstream": ports, "audit": {"archive": request.param}}, policy_text=policy(NOT_YET))
    for imports in (1, 2):
        for user in (ALICE, BOB, CAROL):
            imap_login_reply(gate.ports.imaps, context, user)
            smtp_login_reply(gate.ports.submissions, context, user)
        gate.import_inventory(device(ALICE_PHONE, ALICE.login, TIKTOK), device(BOB_PHONE, BOB.login))
        gate.wait_for_records(imports, lambda record: record["metadata"]["event_code"] == "GK4012I")
    return gate


def test_every_logged_verdict_comes_out_again(used: GateProcess) -> None:
    """By the policy that made them, on the postures of that time; also while the gate runs."""
    done = used.cli("audit", "replay", "--json")
    document = json.loads(done.stdout)

    assert done.returncode == 0, done.stdout + done.stderr
    assert document["same"] == document["decisions"] >= 10  # refusals of the same kind are counted, a minute later
    assert document["different"] == 0
    assert document["not_performed"] == {}


def test_a_candidate_shows_what_would_have_been_another_verdict(used: GateProcess) -> None:
    """Bob had TikTok before and Alice since: each is told for the time it was so, and nobody else."""
    candidate = used.directory / "candidate.toml"
    candidate.write_text(policy())
    done = used.cli("audit", "replay", "--policy", str(candidate), "--since", "1h", "--json")
    document = json.loads(done.stdout)

    assert done.returncode == 1, done.stdout + done.stderr
    assert document["not_performed"] == {}
    who = {(each["user"], each["device"], each["was"], each["would_be"]) for each in document["differences"]}
    assert who == {(ALICE.login, ALICE_PHONE, "warn", "block"), (BOB.login, BOB_PHONE, "warn", "block")}
    assert {each["protocol"] for each in document["differences"]} == {"imap", "smtp"}
    assert document["different"] == 4

    only = used.cli("audit", "replay", "--policy", str(candidate), "--user", BOB.login)
    assert only.returncode == 1
    assert "warn -> block: 2" in only.stdout
    assert ALICE.login not in only.stdout
    assert used.cli("audit", "replay", "--policy", str(candidate), "--user", CAROL.login).returncode == 0
    phone = used.cli("audit", "replay", "--policy", str(candidate), "--device", ALICE_PHONE, "--json")
    assert {each["user"] for each in json.loads(phone.stdout)["differences"]} == {ALICE.login}


@pytest.mark.parametrize("used", ["digest"], indirect=True)
def test_what_cannot_be_performed_again_is_said(used: GateProcess) -> None:
    """Of digests alone a forgotten device takes its past with it, and a policy that is not at hand decides nothing."""
    used.cli("device", "forget", ALICE_PHONE)
    done = used.cli("audit", "replay", "--json")
    document = json.loads(done.stdout)

    assert done.returncode == 3, done.stdout + done.stderr
    assert document["not_performed"] == {"posture_gone": 4}
    assert document["same"] == document["decisions"] - 4

    made_by = used.directory / "before.toml"
    made_by.write_text(policy(NOT_YET))
    used.replace_policy(policy())
    done = used.cli("audit", "replay")
    assert done.returncode == 3
    assert "it was made by a policy that is not at hand" in done.stdout
    again = used.cli("audit", "replay", "--made-by", str(made_by), "--user", BOB.login)
    assert again.returncode == 0, again.stdout


def test_a_log_that_says_something_else_is_found_out(used: GateProcess) -> None:
    """A verdict that was changed in the log does not come out of the policy."""
    used.stop()
    (segment,) = (used.audit_directory / "segments").glob("*.jsonl")
    text = segment.read_text()
    assert '"status_code":"warn.app.match"' in text
    segment.write_text(text.replace('"status_code":"warn.app.match"', '"status_code":"allow.clean"', 1))
    done = used.cli("audit", "replay")

    assert done.returncode == 1
    assert "allow -> warn: 1" in done.stdout


@pytest.mark.parametrize("arguments", [("--since", "soon"), ("--policy", "nowhere.toml"), ("--user", "@")])
def test_wrong_use_has_its_own_exit_code(used: GateProcess, arguments: tuple[str, ...]) -> None:
    """One line says what is wrong."""
    done = used.cli("audit", "replay", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_a_plan_comes_true(used: GateProcess, context: ssl.SSLContext) -> None:
    """Who is planned to be blocked is blocked once the candidate is in force, sessions that are open included."""
    candidate = used.directory / "candidate.toml"
    candidate.write_text(policy())
    done = used.cli("policy", "plan", str(candidate), "--json")
    document = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    now = document["dates"][0]
    assert now["current"]["devices"] == {"allow": 1, "warn": 1}
    assert now["proposed"]["devices"] == {"allow": 1, "block": 1}
    assert [(each["user"], each["device"]) for each in document["blocked"] if each["new"]] == [
        (ALICE.login, ALICE_PHONE)
    ]
    assert datetime.fromisoformat(document["blocked"][0]["at"]) <= datetime.now(UTC)  # noqa: TID251  the gate's clock

    with imap_session(used.ports.imaps, context, ALICE) as alice, imap_session(used.ports.imaps, context, BOB) as bob:
        used.replace_policy(policy())
        used.reload()
        used.wait_for_record(lambda record: record["metadata"]["event_code"] == "GK1101W")
        assert alice.rest(within=5) == b""
        bob.send(b"z NOOP\r\n")
        assert bob.tagged(b"z")[-1].startswith(b"z OK")
    assert imap_login_reply(used.ports.imaps, context, ALICE).startswith(b"NO [UNAVAILABLE]")


def test_decisions_come_out_again_from_the_archive_alone(used: GateProcess) -> None:
    """Without store and policies, as an auditor has them who has the log, the archive and its key; else it says so."""
    eventually(lambda: _archived(used)["not_performed"] == {}, within=20, what=used.log)
    assert used.stop() == 0
    used.store_file.unlink()
    used.policy_file.unlink()
    document = _archived(used)
    assert document["same"] == document["decisions"] >= 10
    assert (document["different"], document["not_performed"]) == (0, {})
    data = b"".join(path.read_bytes() for path in (used.directory / "state").glob("archive.*"))
    assert not any(name.encode() in data for name in (ALICE.login, ALICE_PHONE, TIKTOK["id"]))
    (used.directory / "state" / "archive.sqlite3").unlink()
    document = _archived(used)
    assert (document["different"], document["performed"]) == (0, 0)
    assert document["not_performed"] == {"other_policy": document["decisions"]}


def _archived(gate: GateProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gate.cli("audit", "replay", "--archive-only", "--json").stdout)
    return found
