"""Break-glass on a running gate: everybody with a valid password gets mail, nobody else, and only for its time."""

import ssl
from collections.abc import Callable
from datetime import timedelta

import pytest

from gatekeeper.publishing.break_glass import Opening
from gatekeeper.server.clock import SystemClock
from gatekeeper.signing.keys import locked
from testkit.bed import ALICE, BOB, CAROL
from testkit.dovecot import Dovecot, User
from testkit.gate import GateProcess, code, coded, detail, upstream
from testkit.publishing import key
from testkit.sessions import imap_login_reply, imap_session
from testkit.waiting import eventually

GLASS = key("break-glass")
PASSPHRASE = "correct horse battery"
ORIGIN = "tests.example/audit/1"


@pytest.fixture(params=[1, 2], ids=["one-worker", "two-workers"])
def gate(make_gate: Callable[..., GateProcess], dovecot: Dovecot, request: pytest.FixtureRequest) -> GateProcess:
    """A gate in front of Dovecot; BOB has TikTok, CAROL no registered phone."""
    gate = make_gate(
        {
            "server": {"workers": request.param},
            "upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(9)},
            "policy": {"break_glass": {"key": str(GLASS.verifier)}},
        }
    )
    (gate.directory / "glass.key").write_bytes(locked(GLASS, PASSPHRASE.encode()))
    (gate.directory / "passphrase").write_text(PASSPHRASE)
    return gate


def reply(gate: GateProcess, context: ssl.SSLContext, user: User) -> bytes:
    """The answer to a log-in."""
    return imap_login_reply(gate.ports.imaps, context, user)


def test_everybody_with_a_password_gets_mail_and_nobody_else(gate: GateProcess, context: ssl.SSLContext) -> None:
    """By the command; told by /readyz, metric, status and records; closed by the command."""
    assert reply(gate, context, BOB).startswith(b"NO [UNAVAILABLE]")
    options = ["--minutes", "5", "--reason", "MDM outage", "--key", "glass.key", "--passphrase-file", "passphrase"]
    opened = gate.cli("policy", "break-glass", *options, "--allow-all")
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout.startswith("break-glass: OPEN until ")

    for user in (ALICE, BOB, CAROL):
        assert reply(gate, context, user).startswith(b"OK"), user
    assert reply(gate, context, User(BOB.login, "wrong")).startswith(b"NO [AUTHENTICATIONFAILED]")
    ready = gate.get("/readyz")
    assert (ready.status, b"break_glass: OPEN until" in ready.body) == (200, True)
    assert b"gatekeeper_break_glass_open 1.0" in gate.get("/metrics").body
    let_in = [one for one in gate.audit_records() if code(one) == "GK1006I" and detail(one)["break_glass"] == "open"]
    # Of several workers' records of one millisecond either may come first.
    assert sorted(one["status_code"] for one in let_in) == ["allow.app.match", "allow.device.unknown"]
    session = imap_session(gate.ports.imaps, context, BOB)

    assert gate.cli("policy", "break-glass", "--end").stdout == "break-glass: closed\n"
    session.rest(within=5)
    session.close()
    assert reply(gate, context, BOB).startswith(b"NO [UNAVAILABLE]")
    workers = gate.configuration["server"]["workers"]  # each says so in its own log: rather twice than not at all

    def states() -> list[str]:
        return sorted(detail(one)["state"] for one in coded(gate.audit_records(), "GK3020W"))

    # The command waits until each has done it; a record is on disk a moment after that.
    eventually(lambda: len(states()) >= 2 * workers, within=15, what=lambda: str(states()))
    assert states() == ["closed"] * workers + ["opened"] * workers


def test_it_ends_by_itself_and_cuts_what_it_let_in(gate: GateProcess, context: ssl.SSLContext) -> None:
    """Within a second of its end, although nobody does anything."""
    now = SystemClock().now().replace(microsecond=0)
    found = Opening(origin=ORIGIN, opened=now, until=now + timedelta(seconds=5), reason="a test")
    aside = gate.directory / "note"
    aside.write_bytes(GLASS.sign(found.note).encode())
    aside.rename(gate.directory / "state" / "break-glass.note")
    gate.wait_for_records(gate.configuration["server"]["workers"], lambda one: code(one) == "GK3020W")
    session = imap_session(gate.ports.imaps, context, BOB)
    session.rest(within=10)
    session.close()
    over = SystemClock().now()

    assert timedelta(0) <= over - found.until < timedelta(seconds=1.5)
    assert reply(gate, context, BOB).startswith(b"NO [UNAVAILABLE]")
    closed = gate.wait_for_record(lambda one: code(one) == "GK3020W" and detail(one)["state"] == "closed")
    assert detail(closed)["how"] == "expired"
