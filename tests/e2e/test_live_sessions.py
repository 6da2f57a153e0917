"""Sessions that are already open: cut within two seconds when they no longer stand, left alone when they do."""

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testkit.agents import Agents
from testkit.bed import ALICE, ALICE_PHONE, BOB, BOB_PHONE
from testkit.dovecot import Dovecot
from testkit.gate import ENFORCED, NOT_YET, GateProcess, coded, detail, policy, upstream
from testkit.inventory import TIKTOK, device
from testkit.ports import free_port
from testkit.postfix import Postfix
from testkit.sessions import imap_login_reply, imap_session, smtp_login_reply, smtp_session
from testkit.waiting import eventually
from testkit.wire import Wire

WITHIN_S = 2.0

MakeServed = Callable[[str], GateProcess]


@pytest.fixture
def served(make_gate: Callable[..., GateProcess], dovecot: Dovecot, postfix: Postfix) -> MakeServed:
    """Return a maker of gates with a policy of one's own in front of Dovecot and Postfix."""
    upstreams = {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)}
    return lambda policy_text: make_gate({"upstream": upstreams}, policy_text=policy_text)


def _idle(wire: Wire) -> Wire:
    wire.send(b"i IDLE\r\n")
    assert wire.line().startswith(b"+")
    return wire


def _assert_cut(wire: Wire, since: float) -> None:
    """Read to the end, which must come within two seconds of `since`; what was said before is polite."""
    said = wire.rest(within=WITHIN_S + 3)
    took = time.monotonic() - since
    wire.close()
    assert took < WITHIN_S, f"cut only after {took:.2f} s"
    assert all(line.startswith((b"* ", b"421")) for line in said.split(b"\r\n") if line), said


def _assert_alive(wire: Wire) -> None:
    assert wire.imap(b"alive NOOP")[-1].startswith(b"alive OK")


def test_a_new_policy_cuts_what_it_forbids(served: MakeServed, context: ssl.SSLContext) -> None:
    """After a reload with the rule enforced BOB's idle sessions end within 2 s, ALICE's goes on."""
    gate = served(policy(NOT_YET))
    alice = imap_session(gate.ports.imaps, context, ALICE)
    idle, quiet = (imap_session(gate.ports.imaps, context, BOB) for _ in range(2))
    smtp = smtp_session(gate.ports.submissions, context, BOB)
    _idle(idle)
    gate.replace_policy(policy(ENFORCED))
    since = time.monotonic()
    gate.reload()

    for wire in (idle, quiet, smtp):
        _assert_cut(wire, since)
    _assert_alive(alice)
    alice.close()
    revoked = gate.wait_for_record(lambda record: bool(coded([record], "GK1101W")))
    assert detail(revoked)["rules"] == ["no-tiktok"]
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")


def test_an_app_that_appears_cuts_and_its_removal_lets_in(served: MakeServed, context: ssl.SSLContext) -> None:
    """An imported inventory with TikTok on ALICE's phone cuts her session; the next without it lets her in again."""
    gate = served(policy())
    gate.register(device(BOB_PHONE, BOB.login))
    alice, bob = (_idle(imap_session(gate.ports.imaps, context, user)) for user in (ALICE, BOB))
    gate.import_inventory(device(ALICE_PHONE, ALICE.login, TIKTOK))
    since = time.monotonic()

    _assert_cut(alice, since)
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"NO [UNAVAILABLE]")
    gate.import_inventory(device(ALICE_PHONE, ALICE.login))
    eventually(lambda: imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK"), within=15)
    bob.send(b"DONE\r\n")
    assert bob.tagged(b"i")[-1].startswith(b"i OK")
    _assert_alive(bob)
    bob.close()


def test_the_passing_of_time_cuts(served: MakeServed, context: ssl.SSLContext) -> None:
    """A rule whose enforcement begins while BOB's session is open cuts it then, without any reload."""
    gate = served(policy(NOT_YET))
    begins = datetime.now(UTC) + timedelta(seconds=4)  # noqa: TID251  the gate's clock is the real one
    warned = "2020-07-10T09:00:00-07:00"
    gate.replace_policy(policy(f'warn = "{warned}", enforce = "{begins.isoformat()}"'))
    gate.reload()
    gate.wait_for_records(2, lambda record: bool(coded([record], "GK3002I")))  # of the start, and of this one
    bob = _idle(imap_session(gate.ports.imaps, context, BOB))
    alice = imap_session(gate.ports.imaps, context, ALICE)
    remaining = (begins - datetime.now(UTC)).total_seconds()  # noqa: TID251  as above
    assert remaining > 0, "the machine is too slow for this test: the session was opened too late"

    begins_at = time.monotonic() + remaining
    said = bob.rest(within=remaining + WITHIN_S + 3)
    bob.close()
    late = time.monotonic() - begins_at
    assert -0.1 < late < WITHIN_S, (late, said)
    _assert_alive(alice)
    alice.close()
    warning = next(record for record in gate.audit_records() if coded([record], "GK1005I"))
    assert detail(warning)["phase"] == "warn"


def test_evidence_that_grows_stale_cuts(
    make_gate: Callable[..., GateProcess], dovecot: Dovecot, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """When the evidence of a clean phone passes the age at which stale means blocked, its session ends."""
    text = (
        policy().replace('evidence_max_age = "24h"', 'evidence_max_age = "1s"').replace('after = "72h"', 'after = "6s"')
    )
    agents = Agents(tmp_path)
    ports = {"imap": upstream(dovecot.imap_port), "smtp": upstream(free_port())}
    gate = make_gate({"upstream": ports, "evidence": agents.configuration()}, policy_text=text)
    assert agents.report(gate, ALICE_PHONE).status == 200  # a command's process may be as old when it begins
    alice = imap_session(gate.ports.imaps, context, ALICE)

    alice.rest(within=6 + 1 + WITHIN_S)
    alice.close()
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"NO [UNAVAILABLE]")
    gate.wait_for_record(lambda record: bool(coded([record], "GK1003W")))


def test_a_forgotten_device_cuts(served: MakeServed, context: ssl.SSLContext) -> None:
    """A session of a device that is taken off the record ends."""
    gate = served(policy())
    alice = imap_session(gate.ports.imaps, context, ALICE)
    done = gate.cli("device", "forget", ALICE_PHONE)
    since = time.monotonic()
    assert done.returncode == 0, done.stdout + done.stderr

    _assert_cut(alice, since)


def test_a_cut_session_may_not_simply_come_back(served: MakeServed, context: ssl.SSLContext) -> None:
    """After the cut both protocols refuse with the reason."""
    gate = served(policy(NOT_YET))
    bob = smtp_session(gate.ports.submissions, context, BOB)
    gate.replace_policy(policy())
    gate.reload()
    bob.rest(within=5)
    bob.close()

    assert b"TikTok" in smtp_login_reply(gate.ports.submissions, context, BOB)
    assert b"TikTok" in imap_login_reply(gate.ports.imaps, context, BOB)
