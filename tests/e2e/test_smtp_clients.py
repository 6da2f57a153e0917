"""SMTP submission with programs that people use, straight at Postfix and through the gate."""

import base64
import imaplib
import random
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testkit.bed import ALICE, BOB, Target
from testkit.dovecot import User, access_token
from testkit.sessions import plain, smtp_session
from testkit.waiting import eventually
from testkit.wire import Wire

MEGABYTE = 1024 * 1024


def _message(user: User, body: bytes) -> bytes:
    """Return a message that Postfix has nothing to add to but its trace headers."""
    head = f"From: {user.login}\r\nTo: {user.login}\r\nSubject: sent\r\nMessage-Id: <1@example.com>\r\n"
    return head.encode() + b"Date: Fri, 10 Jul 2020 09:00:00 +0000\r\n\r\n" + body


def _inbox(target: Target, user: User) -> list[bytes]:
    client = imaplib.IMAP4_SSL("localhost", target.imaps, ssl_context=target.context(), timeout=30)
    client.login(user.login, user.password)
    client.select(readonly=True)
    _, found = client.search(None, "ALL")
    messages: list[bytes] = []
    for number in found[0].split():
        _, data = client.fetch(number.decode(), "BODY.PEEK[]")
        messages += [item[1] for item in data if isinstance(item, tuple)]
    client.logout()
    return messages


def _delivered(target: Target, user: User, message: bytes) -> bool:
    """Whether the newest message in the mailbox ends in exactly what was sent (trace headers stand before it)."""
    messages = eventually(lambda: _inbox(target, user), within=30, what="delivery")
    return messages[-1].endswith(message)


@pytest.fixture(params=["implicit", "starttls"])
def client(request: pytest.FixtureRequest, target: Target) -> Iterator[smtplib.SMTP]:
    """Return an `smtplib` client that has not logged in."""
    client: smtplib.SMTP
    if request.param == "implicit":
        client = smtplib.SMTP_SSL("localhost", target.submissions, context=target.context(), timeout=30)
    else:
        client = smtplib.SMTP("localhost", target.submission, timeout=30)
        client.starttls(context=target.context())
    client.ehlo()
    yield client
    client.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial_response_ok", [True, False], ids=["initial-response", "asked"])
def test_auth_and_send(
    client: smtplib.SMTP, target: Target, mechanism: str, initial_response_ok: bool, spare_user: User
) -> None:
    """AUTH PLAIN and LOGIN, with and without initial response, and a message that arrives as it was sent."""
    client.user, client.password = spare_user.login, spare_user.password
    ask = client.auth_plain if mechanism == "PLAIN" else client.auth_login
    assert client.auth(mechanism, ask, initial_response_ok=initial_response_ok)[0] == 235
    message = _message(spare_user, b"hello\r\n.\r\n..two dots\r\n\xe2\x82\xac\r\n")
    assert client.sendmail(spare_user.login, [spare_user.login], message, ["BODY=8BITMIME"]) == {}
    assert client.quit()[0] == 221

    assert _delivered(target, spare_user, message)


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("XOAUTH2", "user={login}\x01auth=Bearer {token}\x01\x01"),
        ("OAUTHBEARER", "n,a={login},\x01host=localhost\x01port=587\x01auth=Bearer {token}\x01\x01"),
    ],
)
def test_bearer_tokens(client: smtplib.SMTP, mechanism: str, response: str) -> None:
    """A token that the mail server accepts logs in by either mechanism."""
    text = response.format(login=ALICE.login, token=access_token(ALICE.login))

    assert client.auth(mechanism, lambda _=None: text)[0] == 235


def test_a_wrong_password_is_said_to_be_wrong(client: smtplib.SMTP) -> None:
    """A wrong password gets 535 5.7.8."""
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        client.login(ALICE.login, "wrong")

    assert refused.value.smtp_code == 535
    assert isinstance(refused.value.smtp_error, bytes)
    assert refused.value.smtp_error.startswith(b"5.7.8")


def test_the_offer_is_the_same_after_the_log_in(target: Target) -> None:
    """SIZE, 8BITMIME and PIPELINING, which clients learn before the log-in, are still true after it."""
    response = base64.b64encode(f"\0{ALICE.login}\0{ALICE.password}".encode())
    with Wire(target.submissions, target.context()) as wire:
        wire.smtp_reply()
        before = _features(wire.smtp(b"EHLO phone.example.com"))
        assert wire.smtp(b"AUTH PLAIN " + response)[0].startswith(b"235")
        after = _features(wire.smtp(b"EHLO phone.example.com"))

    assert {b"8BITMIME", b"AUTH"} <= before
    assert before - {b"AUTH"} <= after


def _features(reply: list[bytes]) -> set[bytes]:
    return {line[4:].split(b" ", 1)[0].split(b"=", 1)[0].upper() for line in reply[1:]}


def test_swaks_sends(target: Target, program: Callable[[str], str], spare_user: User) -> None:
    """Swaks sends a message over STARTTLS with AUTH LOGIN."""
    message = _message(spare_user, b"from swaks\r\n")
    done = subprocess.run(
        [
            program("swaks"),
            "--server",
            f"localhost:{target.submission}",
            "--tls",
            "--auth",
            "LOGIN",
            "--tls-verify",
            "--tls-ca-path",
            str(target.ca_file),
            "--auth-user",
            spare_user.login,
            "--auth-password",
            spare_user.password,
            "--from",
            spare_user.login,
            "--to",
            spare_user.login,
            "--data",
            "-",
        ],
        input=message.removesuffix(b"\r\n"),  # swaks ends its last line itself
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")

    assert _delivered(target, spare_user, message)


@pytest.mark.timeout(180)
def test_25_megabytes_by_curl_and_back(
    target: Target, program: Callable[[str], str], spare_user: User, tmp_path: Path
) -> None:
    """A message of 25 MB is the same bytes after SMTP and IMAP."""
    noise = random.Random(25).randbytes(25 * MEGABYTE * 3 // 4)
    message = _message(spare_user, base64.encodebytes(noise).replace(b"\n", b"\r\n"))
    assert len(message) > 25 * MEGABYTE
    file = tmp_path / "message"
    file.write_bytes(message)
    subprocess.run(
        [
            program("curl"),
            "--silent",
            "--show-error",
            "--cacert",
            str(target.ca_file),
            "--max-time",
            "90",
            "--user",
            f"{spare_user.login}:{spare_user.password}",
            "--upload-file",
            str(file),
            "--mail-from",
            spare_user.login,
            "--mail-rcpt",
            spare_user.login,
            f"smtps://localhost:{target.submissions}",
        ],
        check=True,
    )

    assert _delivered(target, spare_user, message)


def test_nobody_logs_in_again(target: Target) -> None:
    """Neither by AUTH nor by XCLIENT or STARTTLS, also after another EHLO: the session stays its account's."""
    with smtp_session(target.submissions, target.context(), ALICE) as wire:
        for greeting in (b"NOOP", b"EHLO again.example.com", b"RSET"):
            assert wire.smtp(greeting)[-1].startswith(b"250")
            for way in (b"AUTH PLAIN " + plain(BOB), b"XCLIENT LOGIN=bob", b"STARTTLS"):
                assert wire.smtp(way)[-1].startswith(b"5"), way
