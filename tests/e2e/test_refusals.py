"""What a client is told when it may not in: a refusal by policy, wrong credentials, a fault of ours, TLS first."""

import base64
import ssl

import pytest

from testkit.bed import ALICE, BOB, CAROL
from testkit.dovecot import User
from testkit.gate import GateProcess, coded, detail
from testkit.sessions import (
    imap_greeted,
    imap_login_reply,
    login_command,
    plain,
    smtp_greeted,
    smtp_login_reply,
    smtp_session,
)
from testkit.wire import Wire

LONGEST_TEXT = 400


def _is_the_refusal(text: bytes) -> bool:
    return b"TikTok is on this phone" in text and b"Remove TikTok" in text and len(text) <= LONGEST_TEXT + 20


def test_imap_names_the_app_and_the_fix(gate: GateProcess, context: ssl.SSLContext) -> None:
    """A phone with a denied app gets NO [UNAVAILABLE] with the app's name and what to do, in one line."""
    reply = imap_login_reply(gate.ports.imaps, context, BOB)

    assert reply.startswith(b"NO [UNAVAILABLE] ")
    assert _is_the_refusal(reply)


@pytest.mark.parametrize("initial", [True, False], ids=["initial-response", "asked"])
def test_imap_authenticate_is_refused_the_same_way(gate: GateProcess, context: ssl.SSLContext, initial: bool) -> None:
    """AUTHENTICATE PLAIN gets the same refusal as LOGIN."""
    with imap_greeted(gate.ports.imaps, context) as wire:
        if initial:
            reply = wire.imap(b"a AUTHENTICATE PLAIN " + plain(BOB))
        else:
            assert wire.imap(b"a AUTHENTICATE PLAIN")[-1].startswith(b"+")
            wire.send(plain(BOB) + b"\r\n")
            reply = wire.tagged(b"a")

        assert reply[-1].startswith(b"a NO [UNAVAILABLE] ")
        assert _is_the_refusal(reply[-1])


def test_smtp_names_the_app_and_the_fix(gate: GateProcess, context: ssl.SSLContext) -> None:
    """A phone with a denied app gets 535 5.7.1 with the app's name and what to do."""
    reply = smtp_login_reply(gate.ports.submissions, context, BOB)

    assert reply.startswith(b"535 5.7.1 ")
    assert _is_the_refusal(reply)


def test_smtp_auth_login_is_refused_the_same_way(gate: GateProcess, context: ssl.SSLContext) -> None:
    """AUTH LOGIN gets the same refusal as AUTH PLAIN."""
    with smtp_greeted(gate.ports.submissions, context) as wire:
        assert wire.smtp(b"AUTH LOGIN") == [b"334 VXNlcm5hbWU6"]
        assert wire.smtp(base64.b64encode(BOB.login.encode())) == [b"334 UGFzc3dvcmQ6"]
        reply = wire.smtp(base64.b64encode(BOB.password.encode()))

    assert reply[-1].startswith(b"535 5.7.1 ")
    assert _is_the_refusal(reply[-1])


def test_an_unknown_device_is_refused(gate: GateProcess, context: ssl.SSLContext) -> None:
    """A user without a registered device is refused on both protocols, not as a wrong password."""
    assert imap_login_reply(gate.ports.imaps, context, CAROL).startswith(b"NO [UNAVAILABLE] ")
    assert smtp_login_reply(gate.ports.submissions, context, CAROL).startswith(b"535 5.7.1 ")


@pytest.mark.parametrize("who", [ALICE, BOB, CAROL], ids=["clean", "denied", "unknown"])
def test_without_the_password_nobody_learns_about_the_device(
    gate: GateProcess, context: ssl.SSLContext, who: User
) -> None:
    """A wrong password gets the same answer whatever the state of the user's device."""
    guess = User(who.login, "guess")
    nobody = User("nobody-here@example.com", "guess")

    imap = imap_login_reply(gate.ports.imaps, context, guess)
    assert imap.startswith(b"NO [AUTHENTICATIONFAILED]")
    assert imap == imap_login_reply(gate.ports.imaps, context, nobody)
    smtp = smtp_login_reply(gate.ports.submissions, context, guess)
    assert smtp.startswith(b"535 5.7.8 ")
    assert smtp == smtp_login_reply(gate.ports.submissions, context, nobody)


def test_a_login_name_in_capitals_is_the_same_user(gate: GateProcess, context: ssl.SSLContext) -> None:
    """The mail server folds case, so BOB is judged as bob."""
    shouted = User(BOB.login.upper(), BOB.password)

    assert imap_login_reply(gate.ports.imaps, context, shouted).startswith(b"NO [UNAVAILABLE] ")


def test_acting_as_somebody_else_is_refused(gate: GateProcess, context: ssl.SSLContext) -> None:
    """An authorisation identity other than one's own is refused before anything else is said."""
    with imap_greeted(gate.ports.imaps, context) as wire:
        reply = wire.imap(b"a AUTHENTICATE PLAIN " + plain(BOB, authzid=ALICE.login))
    assert reply[-1].startswith(b"a NO [AUTHORIZATIONFAILED]")

    with smtp_greeted(gate.ports.submissions, context) as wire:
        reply = wire.smtp(b"AUTH PLAIN " + plain(BOB, authzid=ALICE.login))
    assert reply[-1].startswith(b"535 5.7.8 ")


def test_imap_credentials_before_tls_are_not_used(gate: GateProcess) -> None:
    """LOGIN and AUTHENTICATE before STARTTLS get [PRIVACYREQUIRED], and that a password was exposed is recorded."""
    before = len(coded(gate.audit_records(), "GK1012W"))
    with Wire(gate.ports.imap) as wire:
        assert b"LOGINDISABLED" in wire.line() + b"".join(wire.imap(b"c CAPABILITY"))
        assert wire.imap(b"a " + login_command(ALICE))[-1].startswith(b"a NO [PRIVACYREQUIRED]")
        assert wire.imap(b"b AUTHENTICATE PLAIN " + plain(ALICE))[-1].startswith(b"b NO [PRIVACYREQUIRED]")

    gate.wait_for_records(before + 1, lambda record: bool(coded([record], "GK1012W")))


def test_smtp_credentials_before_tls_are_not_used(gate: GateProcess) -> None:
    """AUTH before STARTTLS gets 530 5.7.0 or 538 5.7.11 and is not offered."""
    with Wire(gate.ports.submission) as wire:
        wire.smtp_reply()
        assert not [line for line in wire.smtp(b"EHLO phone.example.com") if line[4:].startswith(b"AUTH")]
        assert wire.smtp(b"AUTH PLAIN " + plain(ALICE))[0].startswith((b"530 5.7.0", b"538 5.7.11"))


@pytest.mark.parametrize("protocol", ["imap", "smtp"])
def test_bytes_slipped_in_before_tls_end_the_connection(gate: GateProcess, protocol: str) -> None:
    """A command that follows STARTTLS in the same piece is never answered, and the connection ends."""
    port = gate.ports.imap if protocol == "imap" else gate.ports.submission
    with Wire(port) as wire:
        wire.line()
        if protocol == "imap":
            wire.send(b"a STARTTLS\r\nb NOOP\r\n")
        else:
            wire.smtp(b"EHLO phone.example.com")
            wire.send(b"STARTTLS\r\nNOOP\r\n")
        answered = wire.rest(within=5)

    assert answered.count(b"\r\n") <= 1
    assert b"b OK" not in answered


def test_mail_without_a_log_in_is_refused(gate: GateProcess, context: ssl.SSLContext) -> None:
    """MAIL before AUTH gets 530 5.7.0."""
    with smtp_greeted(gate.ports.submissions, context) as wire:
        assert wire.smtp(b"MAIL FROM:<a@example.com>")[0].startswith(b"530 5.7.0")


def test_s09_a_second_auth_is_refused_by_the_mail_server(gate: GateProcess, context: ssl.SSLContext) -> None:
    """After the log-in another AUTH is the mail server's matter, and it says 503."""
    with smtp_session(gate.ports.submissions, context, ALICE) as wire:
        assert wire.smtp(b"AUTH PLAIN " + plain(BOB))[0].startswith(b"503 5.5.1")


def test_every_refusal_says_why_in_the_audit_log(gate: GateProcess, context: ssl.SSLContext) -> None:
    """The refusal's record names rule, matched app, phase, posture and binding; no app list, no password."""
    imap_login_reply(gate.ports.imaps, context, BOB)
    refused = gate.wait_for_record(lambda record: bool(coded([record], "GK1002W")))
    found = detail(refused)
    imported = coded(gate.audit_records(), "GK4012I")[0]

    assert found["rules"] == ["no-tiktok"]
    assert found["matched"] == ["android:com.zhiliaoapp.musically"]
    assert found["phase"] == "enforce"
    assert found["posture"] == "denied"
    assert found["binding"] == "user"
    assert len(found["policy_sha256"]) == len(found["evidence_sha256"]) == 64
    # The gate serves a whole run, and its first refusal may be of any minute of it.
    on_record_s = (refused["time"] - imported["time"]) // 1000
    assert 0 <= found["evidence_age_s"] - on_record_s < 600
    log = (gate.audit_directory / "segments").glob("*.jsonl")
    assert not [path for path in log if b"com.example.notes" in path.read_bytes()]
