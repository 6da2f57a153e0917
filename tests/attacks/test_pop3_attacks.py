"""Attacks on POP3 before log-in, over a socket: all that the client gets, all that the mail server gets, the record."""

import ssl
from collections.abc import Callable

import pytest

from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.enforcement.pop3 import replies
from gatekeeper.enforcement.pop3.dialogue import MAX_COMMANDS, MAX_ERRORS
from gatekeeper.protocols.pop3.server import MAX_COMMAND_OCTETS
from testkit.attack_bench import ALLOWED, DENIED_APP, ENDED, EXPOSED, FAULT, OVER, Bench, say
from testkit.gate import detail
from testkit.imap_rows import base64_of
from testkit.ports import LOOPBACK, free_port
from testkit.recorder import Peer, Recorder, Script
from testkit.wire import Wire

LOGIN = b"USER alice\r\nPASS wonderland\r\n"
OK = b"+OK"


@pytest.fixture(scope="module")
def post(make_bench: Callable[..., Bench]) -> Bench:
    """Run a gate with a POP3 listener over TLS, and one that begins in the clear."""
    listeners = [
        {"name": name, "protocol": "pop3", "bind": f"{LOOPBACK}:{free_port()}", "tls": mode}
        for name, mode in (("pop3s", "implicit"), ("pop3", "starttls"))
    ]
    return make_bench({"pop3": Recorder(Script(protocol="pop3", accepts_all=True))}, {"listener": listeners})


def connect(bench: Bench, context: ssl.SSLContext | None) -> Wire:
    """Connect, with TLS at once when there is a context, and read the greeting."""
    listeners = bench.gate.configuration["listener"]
    bind = listeners[0 if context is not None else 1]["bind"]  # type: ignore[index]  # as the fixture wrote it
    wire = Wire(int(bind.rpartition(":")[2]), context)
    assert wire.line() == replies.GREETING, "no timestamp to answer APOP with"
    return wire


WRONG_LINE = base64_of(b"\0alice\0pw")[:-1]

TALKS = {
    "apop-then-pass": [(b"APOP alice 0", replies.UNKNOWN), (b"PASS wonderland", replies.USER_FIRST)],
    "user-forgotten-by-auth": [
        (b"USER alice", OK),
        (b"AUTH PLAIN", b"+ "),
        (b"*", replies.CANCELLED),
        (b"PASS wonderland", replies.USER_FIRST),
    ],
    "user-empty": [(b"USER", replies.BAD_NAME), (b"USER ", replies.BAD_NAME)],
    "user-control": [(b"USER al\x1b[2Jice", replies.BAD_NAME), (b"USER al\tice", replies.BAD_NAME)],
    "pass-empty": [(b"USER alice", OK), (b"PASS", replies.UNKNOWN), (b"PASS x", replies.USER_FIRST)],
    "pass-nothing": [(b"USER alice", OK), (b"PASS ", replies.WRONG_CREDENTIALS)],
    "auth-missing-padding": [(b"AUTH PLAIN " + WRONG_LINE, replies.BAD_RESPONSE)],
    "auth-three-words": [(b"AUTH PLAIN = =", replies.UNKNOWN)],
    "auth-empty": [(b"AUTH PLAIN =", replies.WRONG_CREDENTIALS)],
    "auth-command-as-response": [(b"AUTH PLAIN", b"+ "), (b"QUIT", replies.WRONG_CREDENTIALS)],
    "auth-not-offered": [(b"AUTH CRAM-MD5", replies.NOT_OFFERED), (b"AUTH EXTERNAL =", replies.NOT_OFFERED)],
    "auth-beyond-ascii": [(b"AUTH \xff\xfe", replies.NOT_OFFERED)],
    "stls-under-tls": [(b"STLS", replies.UNKNOWN)],
    "xclient": [(b"XCLIENT ADDR=192.0.2.1", replies.UNKNOWN)],
    "proxy-header": [(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2", replies.UNKNOWN)],
    "empty-lines": [(b"", replies.UNKNOWN), (b" ", replies.UNKNOWN)],
    "P02": [(b"PASS x", replies.USER_FIRST)],
    "P04": [(b"AUTH PLAIN", b"+ "), (b"*", replies.CANCELLED), (b"NOOP", None)],
    "P07": [(b"APOP alice 0123456789abcdef0123456789abcdef", replies.UNKNOWN)],
    "P10": [(b"USER al\xffice", None), (b"UTF8", replies.UNKNOWN)],
    "P10-lang": [(b"LANG de", replies.UNKNOWN)],
    "P10-stat": [(b"STAT", replies.UNKNOWN), (b"RETR 1", replies.UNKNOWN)],
    "P04-not-base64": [(b"AUTH PLAIN !!!!", replies.BAD_RESPONSE)],
    "P04-another": [(b"AUTH PLAIN " + base64_of(b"bob\0alice\0pw"), replies.NOT_ANOTHER)],
    "P04-two-lines": [(b"AUTH PLAIN " + base64_of(b"\0ali\r\nDELE 1\0pw"), replies.WRONG_CREDENTIALS)],
}


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS)
def test_before_login(post: Bench, context: ssl.SSLContext, talk: list[tuple[bytes, bytes | None]]) -> None:
    """Each has one answer, none is a success but where it is said, and the mail server hears of nothing."""
    watch = post.watch("pop3")
    with connect(post, context) as wire:
        for said, answer in talk:
            wire.send(said + b"\r\n")
            got = wire.line()
            assert got.startswith(b"-ERR") if answer is None else got == answer, said
        wire.send(b"QUIT\r\nSTAT\r\n")
        assert wire.rest(within=10) == replies.GOODBYE + b"\r\n"
        port = wire.local_port
    assert watch.connections() == []
    assert post.codes(port)[-1] == ENDED
    assert ALLOWED not in post.codes(port)


BYE = replies.farewell(Farewell.TOO_MANY_ERRORS)
NO = replies.UNKNOWN + b"\r\n"
ENDINGS = {
    "argument-too-long": (b"USER " + b"x" * MAX_COMMAND_OCTETS + b"\r\nQUIT\r\n", BYE),
    "line-without-end": (b"PASS " + b"x" * 200_000, BYE),
    "response-without-end": (b"AUTH PLAIN\r\n" + b"A" * 200_000, b"+ \r\n" + BYE),
    "initial-response-without-end": (b"AUTH PLAIN " + b"A" * 200_000, BYE),
    "bare-LF": (b"USER alice\nPASS wonderland\nQUIT\r\n", BYE),
    "bare-CR": (b"USER alice\rPASS wonderland\r\nQUIT\r\n", BYE),
    "nul-in-a-name": (b"USER al\0ice\r\nQUIT\r\n", BYE),
    "nul-in-a-password": (b"USER alice\r\nPASS wonder\0land\r\nQUIT\r\n", OK + b"\r\n" + BYE),
    "nul-in-a-response": (b"AUTH PLAIN\r\nAG\0Fs\r\nQUIT\r\n", b"+ \r\n" + BYE),
    "a-browser": (b"POST / HTTP/1.1\r\nQUIT\r\n", BYE),
    "errors": (b"X\r\n" * (MAX_ERRORS + 1) + b"QUIT\r\n", NO * (MAX_ERRORS - 1) + BYE),
    "commands": (
        b"USER alice\r\n" * (MAX_COMMANDS + 2) + b"QUIT\r\n",
        (OK + b"\r\n") * MAX_COMMANDS + BYE,
    ),
    "quit": (b"QUIT\r\n" + LOGIN, replies.GOODBYE + b"\r\n"),
}


@pytest.mark.parametrize(("said", "answer"), ENDINGS.values(), ids=ENDINGS)
def test_the_end(post: Bench, context: ssl.SSLContext, said: bytes, answer: bytes) -> None:
    """These end the dialogue; nothing behind them is answered, and the mail server hears of nothing."""
    watch = post.watch("pop3")
    with connect(post, context) as wire:
        port = wire.local_port
        say(wire, said)
        got = wire.rest(within=10)
    # Whoever sends on gets a reset, which may overtake the last words.
    assert got == answer if len(said) < 5000 else answer.startswith(got)
    assert watch.connections() == []
    assert post.codes(port) == [ENDED]


NAMES = {
    "the-last-user": (b"USER mallory\r\nUSER alice\r\nPASS wonderland\r\n", b"\0alice\0wonderland"),
    "spaces-in-a-password": (b"USER alice\r\nPASS  won der \r\n", b"\0alice\0 won der "),
    "lower-case": (b"user ALICE\r\npass wonderland\r\n", b"\0alice\0wonderland"),
    "after-an-error": (b"USER alice\r\nSTAT\r\nPASS wonderland\r\n", b"\0alice\0wonderland"),
}


@pytest.mark.parametrize(("said", "response"), NAMES.values(), ids=NAMES)
def test_whom_policy_sees_the_mail_server_is_asked_for(
    post: Bench, context: ssl.SSLContext, said: bytes, response: bytes
) -> None:
    """However it is said: one name, in its canonical form, and every octet of the password."""
    watch = post.watch("pop3")
    with connect(post, context) as wire:
        say(wire, said)
        answers = [wire.line() for _ in said.splitlines()]
        port = wire.local_port
    assert answers[-1].startswith(OK)
    assert watch.sasl() == [("PLAIN", response)]
    assert [record["user"]["name"] for record in post.audit.of(port)] == ["alice", "alice"]


def test_a_name_from_before_tls_is_forgotten(post: Bench, context: ssl.SSLContext) -> None:
    """USER that was accepted nowhere, an exchange that was begun and errors do not outlive STLS."""
    with connect(post, None) as wire:
        say(wire, b"X\r\n" * (MAX_ERRORS - 1) + b"USER alice\r\n")
        assert wire.exactly(len(NO) * (MAX_ERRORS - 1)) == NO * (MAX_ERRORS - 1)
        assert wire.line() == replies.NEEDS_TLS
        wire.send(b"STLS\r\n")
        assert wire.line() == replies.START_TLS
        wire.start_tls(context)
        say(wire, b"PASS wonderland\r\nX\r\n" + LOGIN)
        assert [wire.line() for _ in range(4)] == [replies.USER_FIRST, replies.UNKNOWN, OK, b"+OK logged in"]


def test_p06_auth_alone_lists_or_refuses(post: Bench, context: ssl.SSLContext) -> None:
    """Old clients ask by AUTH alone: a list that ends, or -ERR; the dialogue goes on."""
    with connect(post, context) as wire:
        wire.send(b"AUTH\r\n")
        if (line := wire.line()).startswith(b"+OK"):
            while line != b".":
                line = wire.line()
        wire.send(b"QUIT\r\n")
        assert wire.line() == replies.GOODBYE
        port = wire.local_port
    assert post.codes(port) == [ENDED]


@pytest.mark.parametrize("cut", [0, 5, 12, 20, 28, 33])
def test_p03_what_is_pipelined_arrives_once(post: Bench, context: ssl.SSLContext, cut: int) -> None:
    """Octets behind PASS reach the mail server once and in order, wherever they are cut."""
    watch = post.watch("pop3")
    sent = LOGIN + b"STAT\r\nQUIT\r\n"
    with connect(post, context) as wire:
        say(wire, *(piece for piece in (sent[:cut], sent[cut:]) if piece))
        for _ in range(4):
            assert wire.line().startswith(OK)
        port = wire.local_port
    assert watch.after_login() == [b"STAT\r\nQUIT\r\n"]
    assert post.codes(port) == [ALLOWED, OVER]


def test_p11_a_refused_phone(post: Bench, context: ssl.SSLContext) -> None:
    """A refusal by policy is permanent and no wrong password; what is pipelined behind it goes nowhere."""
    watch = post.watch("pop3")
    with connect(post, context) as wire:
        say(wire, b"USER mallory\r\nPASS pw\r\nSTAT\r\nQUIT\r\n")
        assert wire.line().startswith(OK)
        assert wire.line().startswith(b"-ERR [SYS/PERM] Mail is paused: ")
        assert wire.line() == replies.UNKNOWN
        assert wire.line() == replies.GOODBYE
        port = wire.local_port
    assert not [one for one in watch.connections() if b"STAT" in one.received]
    assert post.codes(port) == [DENIED_APP, ENDED]


@pytest.mark.parametrize(
    "behind", [b"CAPA\r\n", LOGIN, b"\x16\x03\x01", b"C"], ids=["T03", "T03-login", "T03-hello", "T03-octet"]
)
def test_octets_behind_stls(post: Bench, behind: bytes) -> None:
    """One segment with more than STLS in it ends the connection: none of it is answered, in the clear or in TLS."""
    watch = post.watch("pop3")
    with connect(post, None) as wire:
        wire.send(b"STLS\r\n" + behind)
        assert wire.rest(within=10) == b""
        port = wire.local_port
    assert not [one for one in watch.connections() if one.sasl]
    assert [detail(one).get("ended") for one in post.audit.of(port)] == ["octets_behind_starttls"]


def test_t11_credentials_in_the_clear(post: Bench, context: ssl.SSLContext) -> None:
    """USER is refused before the password is sent, and not offered; what was sent before TLS is forgotten."""
    watch = post.watch("pop3")
    with connect(post, None) as wire:
        wire.send(b"CAPA\r\n")
        offered = []
        while (line := wire.line()) != b".":
            offered.append(line)
        assert b"USER" not in offered
        assert b"STLS" in offered
        wire.send(b"USER alice\r\n")
        assert wire.line() == replies.NEEDS_TLS
        wire.send(b"AUTH PLAIN " + base64_of(b"\0alice\0pw") + b"\r\n")
        assert wire.line() == replies.NEEDS_TLS
        wire.send(b"STLS\r\n")
        assert wire.line() == replies.START_TLS
        wire.start_tls(context)
        wire.send(b"PASS wonderland\r\n")
        assert wire.line() == replies.USER_FIRST
        port = wire.local_port
    assert not [one for one in watch.connections() if one.sasl]
    assert set(post.codes(port)) == {EXPOSED, ENDED}


def _busy(peer: Peer) -> None:
    peer.send(b"-ERR [SYS/TEMP] busy\r\n")


def test_u17_a_busy_mail_server_is_no_wrong_password(post: Bench, context: ssl.SSLContext) -> None:
    """A temporary fault of the mail server's is told as one."""
    server = post.servers["pop3"]
    good, server.script = server.script, Script(protocol="pop3", act=_busy)
    try:
        with connect(post, context) as wire:
            say(wire, LOGIN)
            wire.line()
            assert wire.line() == replies.FAULT
            port = wire.local_port
        assert post.codes(port) == [FAULT, ENDED]
    finally:
        server.script = good
