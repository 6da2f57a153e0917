"""POP3 through the gate: real clients against Dovecot, what a refused one is told, and what reaches the mail server."""

import base64
import imaplib
import poplib
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from testkit import dovecot as dovecot_server
from testkit.bed import ALICE, ALICE_PHONE, BOB, BOB_PHONE, CAROL, SPARE
from testkit.dovecot import Dovecot, User, access_token
from testkit.gate import GateProcess, coded, upstream
from testkit.inventory import TIKTOK, device
from testkit.ports import LOOPBACK, free_port
from testkit.recorder import Recorded, Recorder, Script
from testkit.sessions import plain, pop3_greeted, pop3_login_reply
from testkit.tls import Authority, KeyPair, server_context
from testkit.waiting import eventually
from testkit.wire import Wire

MakeGate = Callable[..., GateProcess]

MESSAGES = (
    b"From: a@example.com\r\nSubject: dots\r\n\r\n.\r\n..\r\n.two\r\nbody \xe2\x82\xac\r\n",
    b"From: b@example.com\r\nSubject: long\r\n\r\n" + b"x" * 900 + b"\r\n" + b"line\r\n" * 40_000,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where POP3 clients of a test connect to."""

    pop3s: int
    pop3: int
    """STLS."""


@dataclass(frozen=True, slots=True)
class Pop3Gate:
    """A gate with its POP3 listeners."""

    gate: GateProcess
    place: Place


def _listeners(place: Place) -> dict[str, object]:
    tables = (("pop3s", place.pop3s, "implicit"), ("pop3", place.pop3, "starttls"))
    return {
        "listener": [
            {"name": name, "protocol": "pop3", "bind": f"{LOOPBACK}:{port}", "tls": mode} for name, port, mode in tables
        ]
    }


@pytest.fixture(scope="session")
def pop3_server(dovecot: Dovecot) -> Dovecot:
    """Return the run's Dovecot, when it speaks POP3."""
    if not dovecot_server.SPEAKS_POP3:
        pytest.skip("dovecot-pop3d is not installed")
    return dovecot


@pytest.fixture(scope="module")
def pop3_gate(make_gate_anywhere: MakeGate, pop3_server: Dovecot) -> Iterator[Pop3Gate]:
    """Run a gate in front of Dovecot's POP3."""
    place = Place(free_port(), free_port())
    table = {**upstream(pop3_server.pop3_port), "client_address": "xclient"}
    gate = make_gate_anywhere({**_listeners(place), "upstream": {"pop3": table}})
    gate.start()
    gate.register(
        device(ALICE_PHONE, ALICE.login),
        device(BOB_PHONE, BOB.login, TIKTOK),
        *(device(f"ph-{number:02}", user.login) for number, user in enumerate(SPARE)),
    )
    yield Pop3Gate(gate, place)
    gate.discard()


@pytest.fixture(params=["direct", "gate"])
def place(request: pytest.FixtureRequest, pop3_server: Dovecot) -> Place:
    """Return where to connect to: the mail server itself, then the gate."""
    if request.param == "direct":
        return Place(pop3_server.pop3s_port, pop3_server.pop3_port)
    gate: Pop3Gate = request.getfixturevalue("pop3_gate")
    return gate.place


def _deliver(dovecot: Dovecot, user: User, context: ssl.SSLContext) -> None:
    """Store the messages in the user's INBOX."""
    with imaplib.IMAP4_SSL("localhost", dovecot.imaps_port, ssl_context=context, timeout=15) as client:
        client.login(user.login, user.password)
        for message in MESSAGES:
            client.append("INBOX", None, None, message)


def _connected(place: Place, mode: str, context: ssl.SSLContext) -> poplib.POP3:
    if mode == "implicit":
        return poplib.POP3_SSL("localhost", place.pop3s, context=context, timeout=15)
    client = poplib.POP3("localhost", place.pop3, timeout=15)
    client.stls(context)
    return client


# Real clients, straight at Dovecot and through the gate.


def test_nobody_logs_in_again(place: Place, context: ssl.SSLContext) -> None:
    """What belongs before the log-in is over with it: the session stays its account's, however it is asked."""
    with pop3_greeted(place.pop3s, context) as wire:
        wire.pop3(b"USER " + ALICE.login.encode())
        assert wire.pop3(b"PASS " + ALICE.password.encode()) == [b"+OK Logged in."]
        listed = wire.pop3(b"CAPA", lists=True)
        assert not any(line.startswith((b"SASL", b"USER", b"STLS", b"XCLIENT", b"UTF8", b"LANG")) for line in listed)
        for way in (
            b"USER " + BOB.login.encode(),
            b"AUTH PLAIN " + plain(BOB),
            b"STLS",
            b"XCLIENT ADDR=192.0.2.1",
            b"UTF8",
        ):
            assert wire.pop3(way)[0].startswith(b"-ERR"), way
        assert wire.pop3(b"STAT")[0].startswith(b"+OK")


@pytest.mark.parametrize("mode", ["implicit", "starttls"])
def test_poplib_lists_and_retrieves(
    place: Place, mode: str, pop3_server: Dovecot, context: ssl.SSLContext, spare_user: User
) -> None:
    """USER and PASS, LIST, UIDL, TOP, RETR and DELE work, and messages are the octets that were stored."""
    _deliver(pop3_server, spare_user, context)
    client = _connected(place, mode, context)
    client.user(spare_user.login)
    assert client.pass_(spare_user.password) == b"+OK Logged in."
    assert client.list()[1] == [f"{number} {len(one)}".encode() for number, one in enumerate(MESSAGES, 1)]
    assert len(set(client.uidl()[1])) == len(MESSAGES)
    for number, message in enumerate(MESSAGES, 1):
        assert b"\r\n".join(client.retr(number)[1]) + b"\r\n" == message
    assert client.top(1, 0)[1] == [*MESSAGES[0].split(b"\r\n\r\n")[0].split(b"\r\n"), b""]
    client.dele(1)
    assert client.quit().startswith(b"+OK")

    again = _connected(place, mode, context)
    again.user(spare_user.login)
    again.pass_(spare_user.password)
    assert again.stat() == (1, len(MESSAGES[1]))
    again.quit()


@pytest.mark.parametrize("mode", ["implicit", "starttls"])
@pytest.mark.parametrize("login_options", ["AUTH=*", "AUTH=PLAIN", "AUTH=LOGIN"])
def test_curl_retrieves(
    place: Place,
    mode: str,
    login_options: str,
    program: Callable[[str], str],
    servers_ca: Authority,
    pop3_server: Dovecot,
) -> None:
    """Curl's ways to log in each bring the message, octet for octet."""
    user = SPARE[-2]
    context = servers_ca.client_context()
    if not list((pop3_server.maildir(user)).glob("*/*,S=*")):
        _deliver(pop3_server, user, context)
    address = f"pop3s://localhost:{place.pop3s}/1" if mode == "implicit" else f"pop3://localhost:{place.pop3}/1"
    done = subprocess.run(
        [
            *(program("curl"), "--silent", "--show-error", "--ssl-reqd", "--max-time", "20"),
            *("--cacert", str(servers_ca.ca_file), "--login-options", login_options),
            *("--user", f"{user.login}:{user.password}", address),
        ],
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == MESSAGES[0]


def test_curl_by_bearer_token(place: Place, program: Callable[[str], str], servers_ca: Authority) -> None:
    """Curl logs in with a token (it picks OAUTHBEARER or XOAUTH2 from the capabilities)."""
    done = subprocess.run(
        [
            *(program("curl"), "--silent", "--show-error", "--max-time", "20", "--cacert", str(servers_ca.ca_file)),
            *("--user", ALICE.login, "--oauth2-bearer", access_token(ALICE.login)),
            f"pop3s://localhost:{place.pop3s}/",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_a_wrong_password_is_said_to_be_wrong(place: Place, context: ssl.SSLContext) -> None:
    """-ERR [AUTH], in the same words as Dovecot's, and the right one may follow on the same connection."""
    with pop3_greeted(place.pop3s, context) as wire:
        wire.pop3(b"USER " + ALICE.login.encode())
        assert wire.pop3(b"PASS guess") == [b"-ERR [AUTH] Authentication failed."]
        wire.pop3(b"USER " + ALICE.login.encode())
        assert wire.pop3(b"PASS " + ALICE.password.encode()) == [b"+OK Logged in."]


def test_capabilities_before_and_after_tls(place: Place, context: ssl.SSLContext) -> None:
    """STLS is offered before TLS only; what both offer under TLS is the same, apart from their order."""
    expected = {b"CAPA", b"TOP", b"UIDL", b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE", b"USER"}
    with Wire(place.pop3) as wire:
        wire.line()
        assert b"STLS" in wire.pop3(b"CAPA", lists=True)
        assert wire.pop3(b"STLS")[0].startswith(b"+OK ")
        wire.start_tls(context)
        secured = wire.pop3(b"CAPA", lists=True)[1:-1]

    assert set(secured) == {*expected, b"SASL PLAIN LOGIN XOAUTH2 OAUTHBEARER"}


# What only the gate says.


def _is_the_refusal(reply: bytes) -> bool:
    return reply.startswith(b"-ERR [SYS/PERM] ") and b"TikTok is on this phone" in reply and b"Remove TikTok" in reply


def test_a_denied_app_is_named_with_the_fix(pop3_gate: Pop3Gate, context: ssl.SSLContext) -> None:
    """-ERR [SYS/PERM] by USER and PASS and by AUTH; poplib raises it with its text."""
    assert _is_the_refusal(pop3_login_reply(pop3_gate.place.pop3s, context, BOB))
    with pop3_greeted(pop3_gate.place.pop3s, context) as wire:
        assert _is_the_refusal(wire.pop3(b"AUTH PLAIN " + plain(BOB))[0])
    client = _connected(pop3_gate.place, "starttls", context)
    client.user(BOB.login)
    with pytest.raises(poplib.error_proto, match="TikTok is on this phone"):
        client.pass_(BOB.password)
    client.quit()


@pytest.mark.parametrize("who", [ALICE, BOB, CAROL], ids=["clean", "denied", "unknown"])
def test_without_the_password_nobody_learns_about_the_device(
    pop3_gate: Pop3Gate, context: ssl.SSLContext, who: User
) -> None:
    """A wrong password gets the same answer whatever the state of the user's device, and so does nobody."""
    port = pop3_gate.place.pop3s
    nobody = User("nobody-here@example.com", "guess")

    assert pop3_login_reply(port, context, User(who.login, "guess")) == b"-ERR [AUTH] Authentication failed."
    assert pop3_login_reply(port, context, nobody) == b"-ERR [AUTH] Authentication failed."


def test_credentials_before_tls_are_not_used(pop3_gate: Pop3Gate) -> None:
    """USER, PASS and AUTH before STLS get -ERR [AUTH], and that a password was exposed is recorded."""
    gate = pop3_gate.gate
    before = len(coded(gate.audit_records(), "GK1012W"))
    with Wire(pop3_gate.place.pop3) as wire:
        wire.line()
        offered = wire.pop3(b"CAPA", lists=True)
        assert not [line for line in offered if line.startswith((b"USER", b"SASL"))]
        for command in (
            b"USER " + ALICE.login.encode(),
            b"PASS " + ALICE.password.encode(),
            b"AUTH PLAIN " + plain(ALICE),
        ):
            assert wire.pop3(command)[0].startswith(b"-ERR [AUTH] Start TLS")

    gate.wait_for_records(before + 2, lambda record: bool(coded([record], "GK1012W")))


def test_octets_slipped_in_before_tls_end_the_connection(pop3_gate: Pop3Gate) -> None:
    """T03: a command that follows STLS in the same piece is never answered, and the connection ends."""
    with Wire(pop3_gate.place.pop3) as wire:
        wire.line()
        wire.send(b"STLS\r\nCAPA\r\n")
        answered = wire.rest(within=5)

    assert answered.count(b"\r\n") <= 1
    assert b"TOP" not in answered


@pytest.mark.parametrize("way", ["xclient", "proxy"])
def test_the_mail_server_learns_the_phones_address(
    make_gate: MakeGate, pop3_server: Dovecot, context: ssl.SSLContext, way: str
) -> None:
    """By XCLIENT and by PROXY: Dovecot's log has the address that the phone came from, not the gate's."""
    port = pop3_server.pop3_port if way == "xclient" else pop3_server.pop3_proxied_port
    place = Place(free_port(), free_port())
    make_gate({**_listeners(place), "upstream": {"pop3": {**upstream(port), "client_address": way}}})
    before = len(pop3_server.log())
    with Wire(place.pop3s, context, source="127.0.0.77") as wire:
        wire.line()
        wire.pop3(b"USER " + ALICE.login.encode())
        assert wire.pop3(b"PASS " + ALICE.password.encode()) == [b"+OK Logged in."]

    found = eventually(
        lambda: re.search(r"pop3-login: Info: Login: .*rip=([0-9.]+)", pop3_server.log()[before:]), within=10
    )
    assert found is not None
    assert found[1] == "127.0.0.77"


# What reaches the mail server.

PASSWORDS = {user.login: user.password for user in (ALICE, BOB)}
PIPELINE = b"STAT\r\nRETR 1\r\n"
LOG_IN = b"USER %b\r\nPASS %b\r\n"

Recording = tuple[Place, Recorder]


@pytest.fixture(scope="module")
def recording(make_gate_anywhere: MakeGate, mail_certificate: KeyPair) -> Iterator[Recording]:
    """Run a gate in front of a recorded POP3 server, which wants STLS."""
    script = Script(protocol="pop3", passwords=PASSWORDS, tokens=("good.token",), mode="starttls")
    recorder = Recorder(replace(script, tls=server_context(mail_certificate)))
    place = Place(free_port(), free_port())
    ca = mail_certificate.certificate.parent / "servers.pem"
    gate = make_gate_anywhere(
        {**_listeners(place), "upstream": {"pop3": upstream(recorder.port, mode="starttls", ca=ca)}}
    )
    gate.start()
    gate.register(device(ALICE_PHONE, ALICE.login), device(BOB_PHONE, BOB.login, TIKTOK))
    yield place, recorder
    gate.discard()
    recorder.stop()


def _pipelined(recording: Recording, user: User, context: ssl.SSLContext, at: list[int]) -> Recorded:
    """What the mail server got when log-in and commands come in TLS records that end at the given positions."""
    place, recorder = recording
    before = len(recorder.connections)
    sent = LOG_IN % (user.login.encode(), user.password.encode()) + PIPELINE
    ends = [*at, len(sent)]
    with pop3_greeted(place.pop3s, context) as wire:
        with suppress(ConnectionError):  # who is refused in the midst of it may find the door closed
            for start, end in zip([0, *ends], ends, strict=False):
                if start < end:
                    wire.send(sent[start:end])
        for _ in range(4):
            wire.line()
    found = eventually(
        lambda: [one for one in _with_a_log_in(recorder, before) if one.ended], within=15, what="its end"
    )
    assert len(_with_a_log_in(recorder, before)) == 1
    return found[0]


def _with_a_log_in(recorder: Recorder, before: int) -> list[Recorded]:
    """What came after the first `before`; now and then the gate comes by itself to see how the server is."""
    return [one for one in recorder.connections[before:] if one.sasl or one.logged_in_at is not None]


def _every_split(user: User) -> list[list[int]]:
    length = len(LOG_IN % (user.login.encode(), user.password.encode()) + PIPELINE)
    return [[position] for position in range(length)] + [list(range(1, length))]


def test_what_is_pipelined_arrives_once_and_in_order(recording: Recording, context: ssl.SSLContext) -> None:
    """P03: what follows PASS in the same or the next record, whatever the split."""
    for split in _every_split(ALICE):
        assert _pipelined(recording, ALICE, context, split).after_login == PIPELINE, split


def test_nothing_arrives_after_a_refusal(recording: Recording, context: ssl.SSLContext) -> None:
    """Nothing that a refused client pipelines reaches the mail server, whatever the split."""
    for split in _every_split(BOB)[::5]:
        assert _pipelined(recording, BOB, context, split).after_login == b"", split


def test_the_mail_server_gets_base64_and_nothing_else(recording: Recording, context: ssl.SSLContext) -> None:
    """Whatever the phone's way to log in: CAPA and STLS, then CAPA and AUTH PLAIN under TLS."""
    recorded = _pipelined(recording, ALICE, context, [])

    assert bytes(recorded.received[: recorded.logged_in_at]) == (
        b"CAPA\r\nSTLS\r\nCAPA\r\nAUTH PLAIN " + plain(ALICE) + b"\r\n"
    )


@pytest.mark.parametrize("token", ["good.token", "bad"])
def test_a_bearer_token_passes_unchanged(recording: Recording, context: ssl.SSLContext, token: str) -> None:
    """In both directions: the response to the mail server, its error to the phone before the refusal."""
    place, recorder = recording
    before = len(recorder.connections)
    response = f"user={ALICE.login}\x01auth=Bearer {token}\x01\x01".encode()
    with pop3_greeted(place.pop3s, context) as wire:
        assert wire.pop3(b"AUTH XOAUTH2") == [b"+ "]
        reply = wire.pop3(base64.b64encode(response))[0]
        if token == "bad":
            assert b"invalid_token" in base64.b64decode(reply.removeprefix(b"+ "))
            reply = wire.pop3(b"")[0]
            assert reply == b"-ERR [AUTH] Authentication failed."
        else:
            assert reply == b"+OK logged in"

    assert [one.sasl for one in _with_a_log_in(recorder, before)] == [[("XOAUTH2", response)]]


def test_what_the_mail_server_offers_is_filtered(recording: Recording, context: ssl.SSLContext) -> None:
    """What is not known, or would have to be agreed before the log-in, never reaches a phone."""
    with pop3_greeted(recording[0].pop3s, context) as wire:
        offered = eventually(lambda: [line for line in [wire.pop3(b"CAPA", lists=True)] if b"TOP" in line], within=10)[
            0
        ]

    assert offered[1:-1] == [
        *(b"CAPA", b"TOP", b"UIDL", b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE", b"USER"),
        b"SASL PLAIN LOGIN XOAUTH2 OAUTHBEARER",
    ]


def test_a_mail_server_that_is_down_is_no_wrong_password(make_gate: MakeGate, context: ssl.SSLContext) -> None:
    """-ERR [SYS/TEMP] with a fixed text."""
    place = Place(free_port(), free_port())
    make_gate({**_listeners(place), "upstream": {"pop3": upstream(free_port())}})

    assert pop3_login_reply(place.pop3s, context, ALICE) == (
        b"-ERR [SYS/TEMP] Mail is temporarily unavailable; please try again later."
    )


def test_shutting_down_closes(make_gate: MakeGate, pop3_server: Dovecot, context: ssl.SSLContext) -> None:
    """A client that has not logged in hears nothing that it could take for an answer."""
    place = Place(free_port(), free_port())
    gate = make_gate({**_listeners(place), "upstream": {"pop3": upstream(pop3_server.pop3_port)}})
    with pop3_greeted(place.pop3s, context) as wire:
        assert gate.stop() == 0
        assert wire.rest(within=5) == b""
