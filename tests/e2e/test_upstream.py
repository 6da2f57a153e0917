"""What reaches the mail server, byte by byte, seen by a recorded upstream."""

import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import pytest

from testkit.bed import ALICE, BOB
from testkit.dovecot import Dovecot, User
from testkit.gate import GateProcess, upstream
from testkit.inventory import TIKTOK, device
from testkit.ports import free_port
from testkit.postfix import Postfix
from testkit.recorder import OAUTH_ERROR, Recorded, Recorder, Script
from testkit.sessions import (
    imap_greeted,
    imap_login_reply,
    login_command,
    plain,
    smtp_greeted,
    smtp_login_reply,
)
from testkit.tls import Authority, KeyPair, server_context
from testkit.waiting import eventually
from testkit.wire import Wire

PASSWORDS = {user.login: user.password for user in (ALICE, BOB)}
TOKEN = "good.token-_~+/="
LOGGED_OUT = (b"LOGOUT\r\n", b"QUIT\r\n")

Bed = tuple[GateProcess, Recorder, Recorder]


@pytest.fixture(scope="module")
def bed(make_gate_anywhere: Callable[..., GateProcess]) -> Iterator[Bed]:
    """Run a gate in front of a recorded IMAP and a recorded SMTP server."""
    imap = Recorder(Script(protocol="imap", passwords=PASSWORDS, tokens=(TOKEN,)))
    smtp = Recorder(Script(protocol="smtp", passwords=PASSWORDS, tokens=(TOKEN,)))
    gate = make_gate_anywhere({"upstream": {"imap": upstream(imap.port), "smtp": upstream(smtp.port)}})
    gate.start()
    gate.register(device("ph-alice", ALICE.login), device("ph-bob", BOB.login, TIKTOK))
    yield gate, imap, smtp
    gate.discard()
    imap.stop()
    smtp.stop()


def _newest(recorder: Recorder, before: int) -> Recorded:
    """Return the one connection with a log-in that came after the first `before`, once it has ended."""
    found = eventually(
        lambda: [one for one in _with_a_log_in(recorder, before) if one.ended], within=15, what="its end"
    )
    assert len(_with_a_log_in(recorder, before)) == 1
    return found[0]


def _with_a_log_in(recorder: Recorder, before: int) -> list[Recorded]:
    """Return what came after the first `before`; now and then the gate comes by itself to see how the server is."""
    return [one for one in recorder.connections[before:] if one.sasl or one.logged_in_at is not None]


def _without_log_out(data: bytes) -> bytes:
    """Take away the proxy's own log-out, which ends the connection politely."""
    last = data.rsplit(b"\r\n", 2)[-2] + b"\r\n" if data.count(b"\r\n") else b""
    return data[: -len(last)] if last.endswith(LOGGED_OUT) else data


IMAP_PIPELINE = b"b NOOP\r\nc SELECT INBOX\r\n"
SMTP_PIPELINE = b"MAIL FROM:<alice@example.com>\r\nRCPT TO:<bob@example.com>\r\n"


def _imap_pipelined(bed: Bed, user: User, context: ssl.SSLContext, at: list[int]) -> Recorded:
    gate, recorder, _ = bed
    before = len(recorder.connections)
    with imap_greeted(gate.ports.imaps, context) as wire:
        _send_split(wire, b"a " + login_command(user) + b"\r\n" + IMAP_PIPELINE, at)
        wire.tagged(b"a")
        wire.tagged(b"c")
    return _newest(recorder, before)


def _smtp_pipelined(bed: Bed, user: User, context: ssl.SSLContext, at: list[int]) -> Recorded:
    gate, _, recorder = bed
    before = len(recorder.connections)
    with smtp_greeted(gate.ports.submissions, context) as wire:
        _send_split(wire, b"AUTH PLAIN " + plain(user) + b"\r\n" + SMTP_PIPELINE, at)
        for _ in range(3):
            wire.smtp_reply()
    return _newest(recorder, before)


def _send_split(wire: Wire, data: bytes, at: list[int]) -> None:
    """Send `data` in TLS records that end at the given positions (those beyond its length are left out)."""
    ends = [*(end for end in at if end < len(data)), len(data)]
    with suppress(ConnectionError):  # who is refused in the midst of it may find the door closed
        for start, end in zip([0, *ends], ends, strict=False):
            if start < end:
                wire.send(data[start:end])


def _every_split(length: int) -> list[list[int]]:
    return [[position] for position in range(length)] + [list(range(1, length))]


def _length(*parts: bytes) -> int:
    return sum(map(len, parts))


IMAP_LENGTH = _length(b"a ", login_command(ALICE), b"\r\n", IMAP_PIPELINE)
SMTP_LENGTH = _length(b"AUTH PLAIN ", plain(ALICE), b"\r\n", SMTP_PIPELINE)


def test_imap_pipelined_after_login_arrives_once_and_in_order(bed: Bed, context: ssl.SSLContext) -> None:
    """What follows LOGIN in the same or the next record arrives once and in order, whatever the split."""
    for split in _every_split(IMAP_LENGTH):
        assert _imap_pipelined(bed, ALICE, context, split).after_login == IMAP_PIPELINE, split


def test_smtp_pipelined_after_auth_arrives_once_and_in_order(bed: Bed, context: ssl.SSLContext) -> None:
    """What follows AUTH in the same or the next record arrives once and in order, whatever the split."""
    for split in _every_split(SMTP_LENGTH):
        assert _smtp_pipelined(bed, ALICE, context, split).after_login == SMTP_PIPELINE, split


def test_imap_nothing_arrives_after_a_refusal(bed: Bed, context: ssl.SSLContext) -> None:
    """Nothing that a refused client pipelines reaches the mail server, whatever the split."""
    for split in _every_split(IMAP_LENGTH)[::7]:
        recorded = _imap_pipelined(bed, BOB, context, split)
        assert _without_log_out(recorded.after_login) == b"", split


def test_smtp_nothing_arrives_after_a_refusal(bed: Bed, context: ssl.SSLContext) -> None:
    """Nothing that a refused client pipelines reaches the mail server, whatever the split."""
    for split in _every_split(SMTP_LENGTH)[::7]:
        recorded = _smtp_pipelined(bed, BOB, context, split)
        assert _without_log_out(recorded.after_login) == b"", split


BEARER = {
    "XOAUTH2": f"user={ALICE.login}\x01auth=Bearer %s\x01\x01",
    "OAUTHBEARER": f"n,a={ALICE.login},\x01host=mail.example.com\x01port=993\x01auth=Bearer %s\x01\x01",
}


@pytest.mark.parametrize("initial", [True, False], ids=["initial-response", "asked"])
@pytest.mark.parametrize("mechanism", BEARER)
def test_bearer_tokens_reach_the_mail_server_unchanged(
    bed: Bed, context: ssl.SSLContext, mechanism: str, initial: bool
) -> None:
    """XOAUTH2 and OAUTHBEARER responses arrive byte for byte, on IMAP and on SMTP."""
    gate, imap, smtp = bed
    response = (BEARER[mechanism] % TOKEN).encode()
    encoded = base64.b64encode(response)
    before = len(imap.connections), len(smtp.connections)
    with imap_greeted(gate.ports.imaps, context) as wire:
        if initial:
            reply = wire.imap(b"a AUTHENTICATE " + mechanism.encode() + b" " + encoded)
        else:
            assert wire.imap(b"a AUTHENTICATE " + mechanism.encode())[-1].startswith(b"+")
            wire.send(encoded + b"\r\n")
            reply = wire.tagged(b"a")
        assert reply[-1].startswith(b"a OK")
    with smtp_greeted(gate.ports.submissions, context) as wire:
        if initial:
            reply = wire.smtp(b"AUTH " + mechanism.encode() + b" " + encoded)
        else:
            assert wire.smtp(b"AUTH " + mechanism.encode())[0].startswith(b"334")
            reply = wire.smtp(encoded)
        assert reply[-1].startswith(b"235")

    assert _newest(imap, before[0]).sasl == [(mechanism, response)]
    assert _newest(smtp, before[1]).sasl == [(mechanism, response)]


@pytest.mark.parametrize("mechanism", BEARER)
def test_a_bad_token_is_refused_as_bad_credentials(bed: Bed, context: ssl.SSLContext, mechanism: str) -> None:
    """The mail server's error comes through as a challenge (or not at all), then as wrong credentials."""
    gate, _, _ = bed
    encoded = base64.b64encode((BEARER[mechanism] % "bad").encode())
    with imap_greeted(gate.ports.imaps, context) as wire:
        reply = wire.imap(b"a AUTHENTICATE " + mechanism.encode() + b" " + encoded)
        if reply[-1].startswith(b"+"):
            assert base64.b64decode(reply[-1][2:]) == OAUTH_ERROR
            wire.send(b"AQ==\r\n")
            reply = wire.tagged(b"a")
        assert reply[-1].startswith(b"a NO [AUTHENTICATIONFAILED]")
    with smtp_greeted(gate.ports.submissions, context) as wire:
        reply = wire.smtp(b"AUTH " + mechanism.encode() + b" " + encoded)
        if reply[-1].startswith(b"334"):
            assert base64.b64decode(reply[-1][4:]) == OAUTH_ERROR
            reply = wire.smtp(b"AQ==")
        assert reply[-1].startswith(b"535 5.7.8")


def test_a_token_for_a_denied_phone_is_refused(bed: Bed, context: ssl.SSLContext) -> None:
    """A good token of a user whose phone is denied gets the policy's refusal."""
    gate, _, _ = bed
    response = base64.b64encode(f"user={BOB.login}\x01auth=Bearer {TOKEN}\x01\x01".encode())
    with imap_greeted(gate.ports.imaps, context) as wire:
        assert wire.imap(b"a AUTHENTICATE XOAUTH2 " + response)[-1].startswith(b"a NO [UNAVAILABLE]")


@pytest.mark.parametrize("text", ['back\\slash "quotes"', "trailing space ", "{5}", "ünïcödé", "%n*()"])
def test_any_password_arrives_as_it_was_typed(
    bed: Bed, context: ssl.SSLContext, record: Callable[[Script], Recorder], text: str
) -> None:
    """Passwords with characters that mean something on the wire reach the mail server unchanged, on both protocols."""
    gate, imap, smtp = bed
    guess = User(ALICE.login, text)
    before = len(imap.connections), len(smtp.connections)
    with imap_greeted(gate.ports.imaps, context) as wire:
        wire.imap(b"a AUTHENTICATE PLAIN " + plain(guess))
    smtp_login_reply(gate.ports.submissions, context, guess)

    for recorded in (_newest(imap, before[0]), _newest(smtp, before[1])):
        assert [response.split(b"\0")[-2:] for _, response in recorded.sasl] == [[ALICE.login.encode(), text.encode()]]


def test_credentials_before_tls_reach_nobody(bed: Bed) -> None:
    """A password sent before STARTTLS is not taken to the mail server."""
    gate, imap, smtp = bed
    before = len(imap.connections), len(smtp.connections)
    with Wire(gate.ports.imap) as wire:
        wire.line()
        wire.imap(b"a " + login_command(ALICE))
    with Wire(gate.ports.submission) as wire:
        wire.smtp_reply()
        wire.smtp(b"EHLO phone.example.com")
        wire.smtp(b"AUTH PLAIN " + plain(ALICE))

    assert [one.sasl for one in imap.connections[before[0] :] if one.sasl] == []
    assert [one.sasl for one in smtp.connections[before[1] :] if one.sasl] == []


# Upstream over TLS


@pytest.mark.parametrize("mode", ["implicit", "starttls"])
def test_verified_tls_to_real_servers(
    make_gate: Callable[..., GateProcess],
    dovecot: Dovecot,
    postfix: Postfix,
    servers_ca: Authority,
    context: ssl.SSLContext,
    mode: str,
) -> None:
    """With the right CA the gate logs in to Dovecot and Postfix over TLS."""
    implicit = mode == "implicit"
    imap = dovecot.imaps_port if implicit else dovecot.imap_port
    smtp = postfix.submissions_port if implicit else postfix.submission_port
    ca = servers_ca.ca_file
    gate = make_gate({"upstream": {"imap": upstream(imap, mode=mode, ca=ca), "smtp": upstream(smtp, mode=mode, ca=ca)}})

    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    assert smtp_login_reply(gate.ports.submissions, context, ALICE).startswith(b"235")


@pytest.mark.usefixtures("postfix")  # where Dovecot relays to
def test_dovecot_submission_as_upstream(
    make_gate: Callable[..., GateProcess], dovecot: Dovecot, servers_ca: Authority, context: ssl.SSLContext
) -> None:
    """Dovecot's submission service takes log-ins through the gate, over verified STARTTLS, and is told by XCLIENT."""
    submission = upstream(dovecot.submission_port, mode="starttls", ca=servers_ca.ca_file)
    submission["client_address"] = "xclient"
    gate = make_gate({"upstream": {"imap": upstream(dovecot.imap_port), "smtp": submission}})

    assert smtp_login_reply(gate.ports.submissions, context, ALICE).startswith(b"235")
    assert smtp_login_reply(gate.ports.submissions, context, BOB).startswith(b"535 5.7.1")


@pytest.fixture(params=["foreign-ca", "wrong-name"])
def unproven(request: pytest.FixtureRequest, servers_ca: Authority, foreign_ca: Authority) -> KeyPair:
    """Return a certificate that does not prove a server to be the one that was dialled."""
    if request.param == "foreign-ca":
        return foreign_ca.server_certificate("unproven")
    return servers_ca.server_certificate("elsewhere", "elsewhere.example")


@pytest.mark.parametrize("mode", ["implicit", "starttls"])
def test_a_server_that_cannot_prove_itself_gets_no_password(
    make_gate: Callable[..., GateProcess],
    record: Callable[[Script], Recorder],
    servers_ca: Authority,
    unproven: KeyPair,
    mode: Literal["implicit", "starttls"],
) -> None:
    """A certificate of a foreign CA or for another name is a temporary failure, and no credentials were sent."""
    own = server_context(unproven)
    imap = record(Script(protocol="imap", passwords=PASSWORDS, tls=own, mode=mode))
    smtp = record(Script(protocol="smtp", passwords=PASSWORDS, tls=own, mode=mode))
    ca = servers_ca.ca_file
    gate = make_gate(
        {"upstream": {"imap": upstream(imap.port, mode=mode, ca=ca), "smtp": upstream(smtp.port, mode=mode, ca=ca)}}
    )

    context = servers_ca.client_context()
    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"NO [UNAVAILABLE]")
    assert smtp_login_reply(gate.ports.submissions, context, ALICE).startswith(b"454 4.7.0")
    assert imap.connections
    assert [one.sasl for one in imap.connections + smtp.connections if one.sasl] == []


# Upstream in trouble


def test_a_mail_server_that_is_down_is_a_temporary_failure(
    make_gate: Callable[..., GateProcess], context: ssl.SSLContext
) -> None:
    """Nobody listening upstream is NO [UNAVAILABLE] and 454 4.7.0, the same for everybody, and recorded as our fault."""
    down = {"imap": upstream(free_port()), "smtp": upstream(free_port())}
    gate = make_gate({"upstream": down})

    for user in (ALICE, BOB, User(BOB.login, "wrong")):
        reply = imap_login_reply(gate.ports.imaps, context, user)
        assert reply.startswith(b"NO [UNAVAILABLE]")
        assert b"TikTok" not in reply
        assert smtp_login_reply(gate.ports.submissions, context, user).startswith(b"454 4.7.0")
    gate.wait_for_record(lambda record: record["metadata"]["event_code"] == "GK1007E")


@pytest.mark.parametrize(
    "greeting",
    [b"* BYE too busy\r\n", b"* PREAUTH come in\r\n", b"220 not imap\r\n", b"", b"x" * 100_000],
    ids=["bye", "preauth", "another-protocol", "closed", "endless-line"],
)
def test_a_strange_greeting_is_a_temporary_failure(
    make_gate: Callable[..., GateProcess],
    record: Callable[[Script], Recorder],
    context: ssl.SSLContext,
    greeting: bytes,
) -> None:
    """A mail server that does not greet as it should gets no password, and the client a temporary failure."""
    imap = record(Script(greeting=greeting))
    gate = make_gate({"upstream": {"imap": upstream(imap.port), "smtp": upstream(free_port())}})

    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"NO [UNAVAILABLE]")
    assert all(not one.received for one in imap.connections)


SMUGGLED = b"MAIL FROM:<admin@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nx\r\n.\r\n"
ENDS = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\x00.\r\n",
    b"\r\n..\r\n",
    b"\r.\r\n",
    b"\n.\r",
    b"\r\n.\r\r\n",
)
"""What servers have taken for the end of a message (CVE-2023-51764 and its kin)."""
BINARY = bytes(range(256)) * 5 + b"\r\n.\r\nQUIT\r\n\n.\n\xff\r"


def test_mail_is_relayed_byte_by_byte(bed: Bed, context: ssl.SSLContext) -> None:
    """BDAT with any octets, parameters of extensions, and every disputed end of DATA arrive exactly as they were sent."""
    gate, _, recorder = bed
    envelope = (
        b"MAIL FROM:<alice@example.com> SIZE=5000 BODY=BINARYMIME SMTPUTF8 RET=HDRS ENVID=QQ314159 REQUIRETLS\r\n"
        b"RCPT TO:<b\xc3\xb6b@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.com\r\n"
    )
    chunks = b"BDAT %d\r\n%b" % (len(BINARY), BINARY) + b"BDAT 3 LAST\r\nend"
    mails = [b"DATA\r\nSubject: x\r\n\r\none" + end + SMUGGLED + b"\r\n.\r\n" for end in ENDS]
    for sent in (envelope + chunks, *(SMTP_PIPELINE + mail for mail in mails)):
        before = len(recorder.connections)
        with smtp_greeted(gate.ports.submissions, context) as wire:
            assert wire.smtp(b"AUTH PLAIN " + plain(ALICE))[0].startswith(b"235")
            for start in range(0, len(sent), 700):
                wire.send(sent[start : start + 700])
            eventually(
                lambda recorder=recorder, before=before, sent=sent: any(  # type: ignore[misc]
                    len(one.after_login) >= len(sent) for one in _with_a_log_in(recorder, before)
                ),
                within=15,
                what="the mail",
            )
        assert _newest(recorder, before).after_login == sent


@pytest.mark.parametrize("said", [b"[CAPABILITY IMAP4rev1 UNAUTHENTICATE] hi", b"hi"], ids=["said", "asked-for"])
def test_a_server_that_would_take_a_second_log_in_never_hears_of_one(
    make_gate: Callable[..., GateProcess], context: ssl.SSLContext, said: bytes
) -> None:
    """I72: also one that offers UNAUTHENTICATE only after the log-in, or only when it is asked."""
    heard: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            stream.write(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n")
            stream.flush()
            for line in stream:
                tag, command = line.split()[:2]
                if command == b"CAPABILITY":
                    stream.write(b"* CAPABILITY IMAP4rev1 UNAUTHENTICATE\r\n" + tag + b" OK done\r\n")
                else:
                    heard.append(command)
                    stream.write(tag + b" OK " + said + b"\r\n")
                stream.flush()

    with _serving(serve) as port:
        gate = make_gate({"upstream": {"imap": upstream(port), "smtp": upstream(25)}})
        with Wire(gate.ports.imaps, context) as wire:
            wire.line()
            assert wire.imap(b"a " + login_command(ALICE))[-1] == b"a OK [CAPABILITY IMAP4rev1] hi"
            assert wire.imap(b"b UNAUTHENTICATE")[-1].startswith(b"b BAD")
            assert wire.imap(b"c " + login_command(BOB))[-1].startswith(b"c BAD")
            assert wire.imap(b"d NOOP")[-1].startswith(b"d OK")
        assert heard == [b"AUTHENTICATE", b"NOOP"]


@contextmanager
def _serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a server of a few lines: a thread for each connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):  # closed below
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=_quietly, args=(serve, connection), daemon=True).start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    acceptor.join(5)


def _quietly(serve: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with suppress(OSError, ValueError):  # the gate hung up, as it should
        serve(connection)
