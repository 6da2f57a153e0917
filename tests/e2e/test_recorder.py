"""The recorded upstream itself, with clients that know nothing of the gate: what it notes is what was sent."""

import base64
import imaplib
import smtplib
from collections.abc import Callable

import pytest

from testkit.bed import ALICE
from testkit.recorder import Recorder, Script
from testkit.sessions import login_command, plain
from testkit.tls import Authority, KeyPair, server_context
from testkit.wire import Wire

Record = Callable[[Script], Recorder]
PASSWORDS = {ALICE.login: ALICE.password}
CREDENTIALS = f"{ALICE.login}\0{ALICE.password}".encode()


@pytest.mark.parametrize("mode", ["implicit", "starttls"])
def test_imap_over_tls(record: Record, servers_ca: Authority, mail_certificate: KeyPair, mode: str) -> None:
    """`imaplib` logs in over TLS, and what follows is noted apart."""
    recorder = record(Script(passwords=PASSWORDS, tls=server_context(mail_certificate), mode=mode))  # type: ignore[arg-type]  # parametrised text
    context = servers_ca.client_context()
    client: imaplib.IMAP4
    if mode == "implicit":
        client = imaplib.IMAP4_SSL("localhost", recorder.port, ssl_context=context)
    else:
        client = imaplib.IMAP4("localhost", recorder.port)
        client.starttls(context)
    assert client.login(ALICE.login, ALICE.password)[0] == "OK"
    client.noop()
    client.shutdown()

    (one,) = recorder.connections
    assert one.sasl == [("LOGIN", CREDENTIALS)]
    assert one.after_login.endswith(b" NOOP\r\n")
    assert b"LOGIN" not in one.after_login


@pytest.mark.parametrize("pipelined", [b"", b"b NOOP\r\n"], ids=["alone", "pipelined"])
def test_imap_strings(record: Record, pipelined: bytes) -> None:
    """Literals of both kinds and quoted strings are read alike, and refused when wrong."""
    recorder = record(Script(passwords=PASSWORDS))
    name, password = ALICE.login.encode(), ALICE.password.encode()
    for command in (
        login_command(ALICE),
        b"LOGIN {%d+}\r\n%s {%d+}\r\n%s" % (len(name), name, len(password), password),
        b"LOGIN {%d}\r\n%s {%d}\r\n%s" % (len(name), name, len(password), password),
        b"AUTHENTICATE PLAIN " + plain(ALICE),
    ):
        with Wire(recorder.port) as wire:
            wire.line()
            assert wire.imap(b"x LOGIN a b")[-1].startswith(b"x NO [AUTHENTICATIONFAILED]")
            wire.send(b"a " + command + b"\r\n" + pipelined)
            while not (line := wire.line()).startswith(b"a "):
                assert line.startswith(b"+")
            assert line.startswith(b"a OK")
            if pipelined:
                assert wire.tagged(b"b") == [b"b OK done"]
        assert [response.rpartition(b"\0")[2] for _, response in recorder.connections[-1].sasl] == [b"b", password]
        assert recorder.connections[-1].after_login == pipelined


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial_response_ok", [True, False])
def test_smtp(record: Record, mechanism: str, initial_response_ok: bool) -> None:
    """`smtplib` logs in by each mechanism."""
    recorder = record(Script(protocol="smtp", passwords=PASSWORDS))
    with smtplib.SMTP("localhost", recorder.port) as client:
        client.ehlo()
        client.user, client.password = ALICE.login, ALICE.password
        ask = client.auth_plain if mechanism == "PLAIN" else client.auth_login
        assert client.auth(mechanism, ask, initial_response_ok=initial_response_ok)[0] == 235
        client.noop()

    (one,) = recorder.connections
    assert [response.removeprefix(b"\0") for _, response in one.sasl] == [CREDENTIALS]
    assert one.after_login.startswith(b"noop\r\n")


def test_bearer_tokens(record: Record) -> None:
    """A good token logs in; after a bad one the error is answered first."""
    recorder = record(Script(tokens=("good",)))
    with Wire(recorder.port) as wire:
        wire.line()
        bad, good = (base64.b64encode(b"user=a\x01auth=Bearer %s\x01\x01" % token) for token in (b"bad", b"good"))
        assert wire.imap(b"a AUTHENTICATE XOAUTH2 " + bad)[-1].startswith(b"+ ")
        wire.send(b"\r\n")
        assert wire.tagged(b"a")[-1].startswith(b"a NO")
        assert wire.imap(b"b AUTHENTICATE XOAUTH2 " + good)[-1].startswith(b"b OK")
