"""The running gate as shipped: guesses are answered late, refusals from memory, repeats are counted, crowds are bounded."""

import json
import ssl
import time
from collections.abc import Callable

import pytest

from testkit.bed import ALICE, BOB, CAROL
from testkit.dovecot import User
from testkit.gate import TERMINAL, GateProcess, coded, detail, terminal_count, upstream
from testkit.recorder import Recorder, Script
from testkit.sessions import imap_greeted, imap_login_reply, login_command, smtp_login_reply
from testkit.waiting import eventually
from testkit.wire import Wire

PASSWORDS = {user.login: user.password for user in (ALICE, BOB)}
WRONG = User(ALICE.login, "guess")
MakeGate = Callable[..., GateProcess]


@pytest.fixture
def recorder(record: Callable[[Script], Recorder]) -> Recorder:
    """Return a recorded IMAP server."""
    return record(Script(protocol="imap", passwords=PASSWORDS))


def shipped(make_gate: MakeGate, recorder: Recorder, **changes: object) -> GateProcess:
    """Return a gate with the shipped throttle, or with what `changes` makes of the configuration."""
    servers = {"imap": upstream(recorder.port), "smtp": upstream(recorder.port)}
    return make_gate({"upstream": servers, "throttle": {"first_delay": "2s", "remember_refusals": "10m"}, **changes})


def log_ins(recorder: Recorder) -> int:
    """Return how many connections brought credentials; the gate's own probes bring none."""
    return sum(b" AUTHENTICATE " in one.received for one in recorder.connections)


def metric(gate: GateProcess, name: str) -> float:
    """Return the sum of a metric over its labels."""
    lines = gate.get("/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def test_a_guess_is_answered_late_and_a_right_password_at_once(
    make_gate: MakeGate, recorder: Recorder, context: ssl.SSLContext
) -> None:
    """The record is there before the answer; another account from the same address does not wait for it."""
    gate = shipped(make_gate, recorder, throttle={"first_delay": "1s"})
    begun = time.monotonic()
    with imap_greeted(gate.ports.imaps, context) as guesser:
        guesser.send(b"a " + login_command(WRONG) + b"\r\n")
        gate.wait_for_record(lambda record: bool(coded([record], "GK1011W")))
        assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
        assert metric(gate, "gatekeeper_logins_throttled_total") == 1
        assert guesser.tagged(b"a") == [b"a NO [AUTHENTICATIONFAILED] Authentication failed."]
    assert time.monotonic() - begun >= 1
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    assert metric(gate, "gatekeeper_logins_failed_total") == 1
    assert metric(gate, "gatekeeper_throttle_entries") == 1  # its source; the pair was forgiven


def test_a_phone_that_retries_for_ever_costs_one_log_in_upstream(
    make_gate: MakeGate, recorder: Recorder, context: ssl.SSLContext
) -> None:
    """Forty retries: the same text, one connection at the mail server, two records whose counts add up after the end."""
    gate = shipped(make_gate, recorder)
    before = log_ins(recorder)

    heard = {imap_login_reply(gate.ports.imaps, context, BOB) for _ in range(40)}

    assert len(heard) == 1
    assert heard.pop().startswith(b"NO [UNAVAILABLE] ")
    assert log_ins(recorder) - before == 1
    assert metric(gate, "gatekeeper_refusals_remembered_total") == 39
    gate.stop()
    records = gate.audit_records()
    for code in ("GK1002W", "GK1104I"):
        found = coded(records, code)
        assert [one.get("count", 1) for one in found] == [1, 39]
        first, counted = found
        assert first["time"] <= counted["start_time"] <= counted["end_time"] == counted["time"]
    assert detail(coded(records, "GK1002W")[1])["rules"] == ["no-tiktok"]
    assert terminal_count(records) == 40
    assert gate.cli("audit", "verify").returncode == 0
    assert "39 times" in gate.cli("audit", "query", "--verdict", "block").stdout


def test_a_wrong_password_is_never_answered_from_memory(
    make_gate: MakeGate, recorder: Recorder, context: ssl.SSLContext
) -> None:
    """Of a refused phone's account it goes to the mail server, and is answered as anybody's."""
    gate = shipped(make_gate, recorder, throttle={"first_delay": "0s"})
    imap_login_reply(gate.ports.imaps, context, BOB)
    before = log_ins(recorder)
    reply = imap_login_reply(gate.ports.imaps, context, User(BOB.login, "guess"))
    assert reply == b"NO [AUTHENTICATIONFAILED] Authentication failed."
    assert log_ins(recorder) == before + 1


def test_a_crowd_from_one_address_is_bounded(make_gate: MakeGate, recorder: Recorder, context: ssl.SSLContext) -> None:
    """The connection over the limit is closed and counted; every one has its end in the log."""
    gate = shipped(make_gate, recorder, limits={"max_waiting_per_address": 5})
    waiting = [imap_greeted(gate.ports.imaps, context) for _ in range(5)]
    with Wire(gate.ports.imap) as one_more:
        assert one_more.rest(within=15) == b""
    assert metric(gate, "gatekeeper_connections_refused_total") == 1
    for wire in waiting:
        wire.close()
    eventually(lambda: metric(gate, "gatekeeper_connections_waiting") == 0, within=15)
    gate.stop()
    records = gate.audit_records()
    assert terminal_count(records) == 6
    ended = [detail(one)["ended"] for one in records if one["metadata"]["event_code"] in TERMINAL]
    assert ended.count("max_waiting_per_address") == 1


LIMITS = {
    "max_line_octets": (600, b"a NOOP " + b"x" * 700),
    "max_literal_octets": (512, b"a LOGIN {513}"),
    "max_commands": (10, b"\r\n".join(b"a NOOP" for _ in range(11))),
    "max_errors": (1, b"a NONSENSE"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_dialogue_is_bounded_as_configured(
    make_gate: MakeGate, recorder: Recorder, context: ssl.SSLContext, limit: str
) -> None:
    """Over the limit it ends with BYE."""
    value, sent = LIMITS[limit]
    gate = shipped(make_gate, recorder, limits={limit: value})
    with imap_greeted(gate.ports.imaps, context) as wire:
        wire.send(sent + b"\r\n")
        assert wire.rest(within=15).endswith(b"* BYE Too many errors.\r\n")


def test_octets_do_not_move_the_deadline_for_logging_in(
    make_gate: MakeGate, recorder: Recorder, context: ssl.SSLContext
) -> None:
    """A client that says something all the time is ended all the same."""
    gate = shipped(make_gate, recorder, limits={"login_timeout": "1s", "max_commands": 1_000_000})
    begun = time.monotonic()
    with imap_greeted(gate.ports.imaps, context) as wire:
        while (reply := wire.imap(b"a NOOP")) == [b"a OK Done."]:
            assert time.monotonic() - begun < 10
    assert reply in ([b"* BYE Too slow."], [])
    assert time.monotonic() - begun >= 1


def test_who_does_not_know_the_password_is_told_the_same(gate: GateProcess, context: ssl.SSLContext) -> None:
    """Unknown user, wrong password, blocked device and unregistered device: the same octets on both protocols."""
    accounts = [ALICE.login, BOB.login, CAROL.login, "nobody-here@example.com", "no*body@example.com"]
    guesses = [User(account, "guess") for account in accounts]
    for ask, port in ((imap_login_reply, gate.ports.imaps), (smtp_login_reply, gate.ports.submissions)):
        assert len({ask(port, context, guess) for guess in guesses}) == 1


def test_what_is_folded_never_hides_a_secret(make_gate: MakeGate, recorder: Recorder, context: ssl.SSLContext) -> None:
    """Neither the remembered credentials nor their digests are written anywhere."""
    gate = shipped(make_gate, recorder)
    for _ in range(3):
        imap_login_reply(gate.ports.imaps, context, BOB)
    gate.stop()
    assert BOB.password not in gate.log() + json.dumps(gate.audit_records())
