"""IMAP with programs that people use, straight at Dovecot and through the gate: the gate must make no difference."""

import asyncio
import base64
import imaplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import aioimaplib
import pytest

from testkit.bed import ALICE, Target
from testkit.dovecot import Dovecot, User, access_token
from testkit.wire import Wire

MESSAGE = b"From: a@example.com\r\nSubject: hello\r\nDate: Fri, 10 Jul 2020 09:00:00 +0000\r\n\r\nbody \xe2\x82\xac\r\n"


def _secured(target: Target, mode: str) -> imaplib.IMAP4:
    if mode == "implicit":
        return imaplib.IMAP4_SSL("localhost", target.imaps, ssl_context=target.context(), timeout=15)
    client = imaplib.IMAP4("localhost", target.imap, timeout=15)
    client.starttls(target.context())
    return client


@pytest.fixture(params=["implicit", "starttls"])
def client(request: pytest.FixtureRequest, target: Target) -> Iterator[imaplib.IMAP4]:
    """Return an `imaplib` client that has not logged in."""
    client = _secured(target, request.param)
    yield client
    if client.state != "LOGOUT":
        client.logout()


def test_login_append_and_fetch(client: imaplib.IMAP4, spare_user: User) -> None:
    """LOGIN, APPEND and FETCH give back the bytes that were stored."""
    assert client.login(spare_user.login, spare_user.password)[0] == "OK"
    assert client.append("INBOX", None, None, MESSAGE)[0] == "OK"
    client.select()
    _, data = client.fetch("1", "BODY[]")

    assert isinstance(data[0], tuple)
    assert data[0][1] == MESSAGE


def test_authenticate_plain_without_initial_response(client: imaplib.IMAP4) -> None:
    """AUTHENTICATE PLAIN works when the client waits for the continuation request."""
    response = f"\0{ALICE.login}\0{ALICE.password}".encode()

    assert client.authenticate("PLAIN", lambda _: response)[0] == "OK"


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("XOAUTH2", "user={login}\x01auth=Bearer {token}\x01\x01"),
        ("OAUTHBEARER", "n,a={login},\x01host=localhost\x01port=993\x01auth=Bearer {token}\x01\x01"),
    ],
)
def test_bearer_tokens(client: imaplib.IMAP4, mechanism: str, response: str) -> None:
    """A token that the mail server accepts logs in by either mechanism."""
    text = response.format(login=ALICE.login, token=access_token(ALICE.login))

    assert client.authenticate(mechanism, lambda _: text.encode())[0] == "OK"


def test_authenticate_plain_with_initial_response(target: Target) -> None:
    """AUTHENTICATE PLAIN works with the response in the command (RFC 4959)."""
    response = base64.b64encode(f"\0{ALICE.login}\0{ALICE.password}".encode())
    with Wire(target.imaps, target.context()) as wire:
        wire.line()

        assert wire.imap(b"a AUTHENTICATE PLAIN " + response)[-1].startswith(b"a OK")
        assert wire.imap(b"b NOOP")[-1].startswith(b"b OK")


@pytest.mark.parametrize("plus", [b"", b"+"], ids=["synchronising", "non-synchronising"])
def test_login_with_literals(target: Target, plus: bytes) -> None:
    """LOGIN takes name and password as literals (RFC 9051 §4.3, RFC 7888)."""
    name, password = ALICE.login.encode(), ALICE.password.encode()
    with Wire(target.imaps, target.context()) as wire:
        wire.line()
        for piece in (
            b"a LOGIN {%d%s}\r\n" % (len(name), plus),
            name + b" {%d%s}\r\n" % (len(password), plus),
        ):
            wire.send(piece)
            if not plus:
                assert wire.line().startswith(b"+")
        wire.send(password + b"\r\n")

        assert wire.tagged(b"a")[-1].startswith(b"a OK")


def test_a_wrong_password_is_said_to_be_wrong(target: Target) -> None:
    """A wrong password gets NO [AUTHENTICATIONFAILED], and the right one may follow on the same connection."""
    with Wire(target.imaps, target.context()) as wire:
        wire.line()
        login = ALICE.login.encode()

        assert wire.imap(b"a LOGIN " + login + b" wrong")[-1].startswith(b"a NO [AUTHENTICATIONFAILED]")
        assert wire.imap(b"b LOGIN " + login + b' "alice \\"pass\\" word"')[-1].startswith(b"b OK")


def test_capabilities_before_and_after(target: Target) -> None:
    """STARTTLS is offered before TLS only, log-in mechanisms only before the log-in."""
    with Wire(target.imap) as wire:
        wire.line()
        assert b"STARTTLS" in wire.imap(b"a CAPABILITY")[0].split()
        wire.imap(b"b STARTTLS")
        wire.start_tls(target.context())
        secured = wire.imap(b"c CAPABILITY")[0].split()
        assert b"STARTTLS" not in secured
        assert {b"IMAP4rev1", b"SASL-IR", b"AUTH=PLAIN"} <= set(secured)
        wire.imap(b"d LOGIN " + ALICE.login.encode() + b' "alice \\"pass\\" word"')
        after = wire.imap(b"e CAPABILITY")[0].split()
        assert b"IDLE" in after
        assert not [word for word in after if word.startswith(b"AUTH=")]


async def test_aioimaplib_is_told_of_new_mail_while_idle(target: Target, dovecot: Dovecot, spare_user: User) -> None:
    """IDLE brings the notice of a message that arrives from elsewhere."""
    lost = asyncio.Event()
    client = aioimaplib.IMAP4_SSL("localhost", target.imaps, ssl_context=target.context(), timeout=15)
    client.protocol.conn_lost_cb = lambda _: lost.set()
    await client.wait_hello_from_server()
    assert (await client.login(f'"{spare_user.login}"', spare_user.password)).result == "OK"
    assert (await client.select()).result == "OK"
    idle = await client.idle_start(timeout=15)
    with imaplib.IMAP4_SSL("localhost", dovecot.imaps_port, ssl_context=target.context()) as other:
        other.login(spare_user.login, spare_user.password)
        other.append("INBOX", None, None, MESSAGE)
    notices: list[bytes] = []
    while b"1 EXISTS" not in notices:
        notices += await client.wait_server_push(timeout=15)
    client.idle_done()
    await idle
    _, lines = await client.fetch("1", "BODY.PEEK[]")
    await client.logout()
    async with asyncio.timeout(15):
        await lost.wait()  # else its transport is left over for the tests that follow

    assert bytes(lines[1]) == MESSAGE


def test_curl_reads_a_message(target: Target, program: Callable[[str], str], spare_user: User, tmp_path: Path) -> None:
    """Curl appends a message over STARTTLS and reads it over implicit TLS."""
    (tmp_path / "message").write_bytes(MESSAGE)
    curl = [program("curl"), "--silent", "--show-error", "--cacert", str(target.ca_file), "--max-time", "20"]
    user = ["--user", f"{spare_user.login}:{spare_user.password}"]
    subprocess.run(
        [
            *curl,
            *user,
            "--ssl-reqd",
            f"imap://localhost:{target.imap}/INBOX",
            "--upload-file",
            str(tmp_path / "message"),
        ],
        check=True,
    )
    done = subprocess.run(
        [*curl, *user, f"imaps://localhost:{target.imaps}/INBOX;MAILINDEX=1"], capture_output=True, check=True
    )

    assert done.stdout == MESSAGE


def test_curl_by_bearer_token(target: Target, program: Callable[[str], str]) -> None:
    """Curl logs in with a token (it picks OAUTHBEARER or XOAUTH2 from the capabilities)."""
    done = subprocess.run(
        [
            program("curl"),
            "--silent",
            "--show-error",
            "--cacert",
            str(target.ca_file),
            "--max-time",
            "20",
            "--user",
            ALICE.login,
            "--oauth2-bearer",
            access_token(ALICE.login),
            f"imaps://localhost:{target.imaps}/",
            "--request",
            "NOOP",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


MBSYNC = """
IMAPAccount gate
Host localhost
Port {port}
User {login}
PassCmd "echo '{password}'"
SSLType {ssl}
CertificateFile {ca_file}
{mechanism}

IMAPStore far
Account gate

MaildirStore near
Path {near}/
Inbox {near}/INBOX

Channel mail
Far :far:
Near :near:
Patterns INBOX
Create Both
SyncState *
"""


@pytest.mark.parametrize("mode", ["IMAPS", "STARTTLS"])
def test_mbsync_both_ways(
    target: Target, mode: str, program: Callable[[str], str], spare_user: User, tmp_path: Path
) -> None:
    """Fifty messages each way are the same bytes on both sides after one synchronisation."""
    near = tmp_path / "near"
    for folder in ("cur", "new", "tmp"):
        (near / "INBOX" / folder).mkdir(parents=True)
    here = {_numbered(number, b"near") for number in range(50)}
    there = {_numbered(number, b"far") for number in range(50)}
    for number, message in enumerate(sorted(here)):
        (near / "INBOX" / "new" / f"{number}.near").write_bytes(message.replace(b"\r\n", b"\n"))
    _append_all(target, spare_user, there)
    (tmp_path / "mbsyncrc").write_text(
        MBSYNC.format(
            port=target.imaps if mode == "IMAPS" else target.imap,
            ssl=mode,
            mechanism="AuthMechs LOGIN" if mode == "IMAPS" else "AuthMechs PLAIN",
            login=spare_user.login,
            password=spare_user.password,
            ca_file=target.ca_file,
            near=near,
        )
    )
    done = subprocess.run(
        [program("mbsync"), "--config", str(tmp_path / "mbsyncrc"), "mail"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    on_disk = {path.read_bytes().replace(b"\n", b"\r\n") for path in (near / "INBOX").glob("[cn]*/*")}
    assert {_without_mark(message) for message in on_disk} == here | there
    assert {_without_mark(message) for message in _fetch_all(target, spare_user)} == here | there


def _numbered(number: int, side: bytes) -> bytes:
    size = 1 + number * 97
    body = (base64.b64encode(bytes((number * 7 + at) % 256 for at in range(size)))) + b"\r\n.\r\n..dots\r\n"
    return (
        b"From: %s@example.com\r\nSubject: number %d\r\nMessage-Id: <%d@%s>\r\n\r\n" % (side, number, number, side)
        + body
    )


def _append_all(target: Target, user: User, messages: set[bytes]) -> None:
    client = imaplib.IMAP4_SSL("localhost", target.imaps, ssl_context=target.context())
    client.login(user.login, user.password)
    for message in sorted(messages):
        client.append("INBOX", None, None, message)
    client.logout()


def _fetch_all(target: Target, user: User) -> set[bytes]:
    client = imaplib.IMAP4_SSL("localhost", target.imaps, ssl_context=target.context())
    client.login(user.login, user.password)
    client.select(readonly=True)
    _, data = client.fetch("1:*", "BODY.PEEK[]")
    client.logout()
    return {item[1] for item in data if isinstance(item, tuple)}


def _without_mark(message: bytes) -> bytes:
    """Take away the X-TUID header that mbsync adds to what it copies, to recognise it after a crash."""
    return b"".join(line for line in message.splitlines(keepends=True) if not line.startswith(b"X-TUID: "))
