"""Mail servers that misbehave, or somebody between: the client gets a fixed answer, the server no more than it may."""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from testkit.attack_bench import ALLOWED, ENDED, FAULT, OVER, REFUSED, Bench
from testkit.gate import detail, upstream
from testkit.imap_rows import WRONG
from testkit.recorder import Peer, Recorder, Script
from testkit.smtp_talks import AUTHED, PLAIN
from testkit.tls import Authority, server_context
from testkit.wire import Wire

Act = Callable[[Peer], None]

UNAVAILABLE = b"a NO [UNAVAILABLE] Mail is temporarily unavailable; please try again later."
LATER = b"454 4.7.0 Temporary authentication failure"
GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n"
GOOD = (ALLOWED, OVER)
OURS = (FAULT, ENDED)
THEIRS = (REFUSED, ENDED)


def imap(greeting: bytes, *answers: bytes) -> Act:
    """Greet, and answer line by line; `TAG` stands for the line's tag."""

    def act(peer: Peer) -> None:
        peer.send(greeting)
        for answer in answers:
            tag = peer.line().split(b" ")[0]
            peer.send(answer.replace(b"TAG", tag))

    return act


def smtp(*answers: bytes) -> Act:
    """Greet with the first, and answer line by line."""

    def act(peer: Peer) -> None:
        peer.send(answers[0])
        for answer in answers[1:]:
            peer.line()
            peer.send(answer)

    return act


@pytest.fixture(scope="module")
def stage(make_bench: Callable[..., Bench]) -> Bench:
    """Run a gate in front of mail servers without TLS, which do what each test tells them."""
    servers = {"imap": Recorder(Script()), "smtp": Recorder(Script(protocol="smtp"))}
    return make_bench(servers, {"limits": {"upstream_timeout": "2s"}})


@pytest.fixture(scope="module")
def starttls_stage(make_bench: Callable[..., Bench], servers_ca: Authority) -> Bench:
    """Run a gate that insists on STARTTLS with its mail servers."""
    servers = {"imap": Recorder(Script()), "smtp": Recorder(Script(protocol="smtp"))}
    tables = {protocol: upstream(one.port, mode="starttls", ca=servers_ca.ca_file) for protocol, one in servers.items()}
    return make_bench(servers, {"upstream": tables, "limits": {"upstream_timeout": "2s"}})


@pytest.fixture(autouse=True)
def _no_more_acts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the mail servers be good again after every test."""
    yield
    for name in {"stage", "starttls_stage"} & set(request.fixturenames):
        for protocol, server in request.getfixturevalue(name).servers.items():
            server.script = Script(protocol=protocol)


class Told(NamedTuple):
    """What came of a log-in."""

    said: list[bytes]
    """To the client, without line ends."""
    received: bytes
    """By the mail server, in its one connection."""
    codes: tuple[str, ...]


def imap_login(bench: Bench, context: ssl.SSLContext, act: Act, *, asks: bool = False) -> Told:
    """Log in by IMAP while the mail server plays its act; `asks`: for capabilities first."""
    bench.servers["imap"].script = Script(act=act)
    watch = bench.watch("imap")
    with Wire(bench.gate.ports.imaps, context) as wire:
        wire.line()
        if asks:
            wire.imap(b"q CAPABILITY")
        said = wire.imap(b"a LOGIN alice wonderland")
        port = wire.local_port
    return Told(said, _received(watch.connections()), tuple(bench.codes(port)))


def smtp_login(bench: Bench, context: ssl.SSLContext, act: Act) -> Told:
    """Log in by SMTP while the mail server plays its act."""
    bench.servers["smtp"].script = Script(protocol="smtp", act=act)
    watch = bench.watch("smtp")
    with Wire(bench.gate.ports.submissions, context) as wire:
        wire.smtp_reply()
        wire.smtp(b"EHLO phone.example.com")
        said = wire.smtp(b"AUTH PLAIN " + PLAIN)
        port = wire.local_port
    return Told(said, _received(watch.connections()), tuple(bench.codes(port)))


def _received(connections: list[object]) -> bytes:
    assert len(connections) <= 1, "nothing is tried twice"
    return b"".join(bytes(one.received) for one in connections)  # type: ignore[attr-defined]  # Recorded


def endless(line: bytes, *, first: Act | None = None) -> Act:
    """Send a line for ever."""

    def act(peer: Peer) -> None:
        if first is not None:
            first(peer)
        while True:
            peer.send(line)

    return act


GREETINGS = {
    "U01": b"* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n",
    "U01-lower-case": b"* preauth hi\r\n",
    "U01-behind-bye": b"* BYE [REFERRAL imap://evil/] go there\r\n",
    "U01-tagged": b"a OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n",
    "U12-line": b"* OK " + b"A" * 1_000_000,
    "U12-lines": b"* x\r\n" * 100_000,
    "U06-logindisabled": b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\r\n",
}


@pytest.mark.parametrize("greeting", GREETINGS.values(), ids=GREETINGS)
def test_greetings_that_get_no_password(stage: Bench, context: ssl.SSLContext, greeting: bytes) -> None:
    """The client is told of a temporary failure, and the server is told nothing at all."""
    told = imap_login(stage, context, imap(greeting))

    assert told == ([UNAVAILABLE], b"", OURS)


ANSWERS = {
    "U07": (b"TAG NO [REFERRAL imap://alice@evil/] go there\r\n", WRONG.strip(), THEIRS),
    "U07-ok": (b"TAG OK [REFERRAL imap://alice@evil/] [ALERT] hi\r\nTAG OK\r\n", UNAVAILABLE, OURS),
    "U09": (
        b"TAG OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN LOGINDISABLED LOGIN-REFERRALS PROXYAUTH XYZ] hi\r\n",
        b"a OK [CAPABILITY IMAP4rev1 XYZ] hi",
        GOOD,
    ),
    "U09-untagged": (
        b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN IDLE\r\nTAG OK hi\r\n",
        b"a OK [CAPABILITY IMAP4rev1 IDLE] hi",
        GOOD,
    ),
    "U09-unauthenticate": (
        b"TAG OK [CAPABILITY IMAP4rev1 UNAUTHENTICATE] hi\r\n",
        b"a OK [CAPABILITY IMAP4rev1] hi",
        GOOD,
    ),
    "U09-unauthenticate-untagged": (
        b"* CAPABILITY IMAP4rev1 Unauthenticate\r\nTAG OK hi\r\n",
        b"a OK [CAPABILITY IMAP4rev1] hi",
        GOOD,
    ),
    "U10": (b"TAG NO [ALERT] account \x1b]0;x\x07 expired\r\n", b"a NO [ALERT] account ?]0;x? expired", THEIRS),
    "U10-nul": (b"TAG NO [ALERT] a\0b\rc\r\n", b"a NO [ALERT] a?b?c", THEIRS),
    "U10-second-code": (
        b"TAG NO [ALERT] [REFERRAL imap://evil/] x\r\n",
        b"a NO [ALERT] REFERRAL imap://evil/] x",
        THEIRS,
    ),
    "U12-before-the-answer": (b"* x\r\n" * 100_000, UNAVAILABLE, OURS),
    "U12-long-answer": (b"TAG NO " + b"x" * 200_000, UNAVAILABLE, OURS),
    "U12-literal": (b"* x {999999}\r\n" * 100, UNAVAILABLE, OURS),
    "U12-literals": (b"* x {5}\r\nTAG O" * 2000, UNAVAILABLE, OURS),
    "U12-no-answer": (b"", UNAVAILABLE, OURS),
    "U19-gone": (b"TAG", UNAVAILABLE, OURS),
    "U01-other-status": (b"TAG PREAUTH hi\r\n", UNAVAILABLE, OURS),
    "U01-bare-ok": (b"* OK hi\r\nOK hi\r\nx OK hi\r\n", UNAVAILABLE, OURS),
}


@pytest.mark.parametrize(("answer", "said", "codes"), ANSWERS.values(), ids=ANSWERS)
def test_answers_to_the_login(
    stage: Bench, context: ssl.SSLContext, answer: bytes, said: bytes, codes: tuple[str, ...]
) -> None:
    """What a server answers to the log-in is cleaned of what would lead around the gate, or taken for a fault."""
    told = imap_login(stage, context, imap(GREETING, answer))

    assert told.said == [said]
    assert told.codes == codes
    assert told.received.count(b"AUTHENTICATE") == 1


def test_u03_the_first_ok_need_not_be_the_greeting(stage: Bench, context: ssl.SSLContext) -> None:
    """A server that says OK twice before it is ready is asked what it offers."""
    wait = b"* OK Waiting for authentication process to respond..\r\n* OK [CAPABILITY IMAP4rev1] ready\r\n"
    capabilities = b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\nTAG OK\r\n"
    told = imap_login(stage, context, imap(wait, capabilities, b"TAG OK [CAPABILITY IMAP4rev1 IDLE] hi\r\n"))

    assert told.said == [b"a OK [CAPABILITY IMAP4rev1 IDLE] hi"]
    assert told.codes == GOOD


def test_u09_who_asked_is_told_untagged(stage: Bench, context: ssl.SSLContext) -> None:
    """A client that asked for capabilities itself may not look at codes: it gets the clean list by itself."""
    act = imap(GREETING, b"TAG OK [CAPABILITY IMAP4rev1 AUTH=PLAIN X] hi\r\n")
    told = imap_login(stage, context, act, asks=True)

    assert told.said == [b"* CAPABILITY IMAP4rev1 X", b"a OK hi"]


def test_u09_later_lists_are_clean_too(stage: Bench, context: ssl.SSLContext) -> None:
    """Untagged or in a code, asked for or not, in pieces; what looks like a list in a message stays as it is."""
    message = b"* 1 FETCH (BODY[] {31}\r\n* CAPABILITY STARTTLS AUTH=X\r\n)\r\n"
    listed = b"* CAPABILITY IMAP4rev1 LOGIN-REFERRALS IDLE AUTH=PLAIN\r\n"

    def act(peer: Peer) -> None:
        imap(GREETING, b"TAG OK [CAPABILITY IMAP4rev1 LOGIN-REFERRALS] hi\r\n* OK [CAPABILITY X AUTH=Y]\r\n")(peer)
        peer.line()
        for at in range(len(listed)):
            peer.send(listed[at : at + 1])
        peer.send(b"b OK [CAPABILITY IMAP4rev1 STARTTLS] done\r\n" + message + b"c OK\r\n")

    stage.servers["imap"].script = Script(act=act)
    with Wire(stage.gate.ports.imaps, context) as wire:
        wire.line()
        assert wire.imap(b"a LOGIN alice wonderland") == [b"a OK [CAPABILITY IMAP4rev1] hi"]
        assert wire.imap(b"b CAPABILITY") == [
            b"* OK [CAPABILITY X]",
            b"* CAPABILITY IMAP4rev1 IDLE",
            b"b OK [CAPABILITY IMAP4rev1] done",
        ]
        assert b"\r\n".join(wire.tagged(b"c")) + b"\r\n" == message + b"c OK\r\n"


@pytest.mark.parametrize(
    ("capabilities", "said", "codes"),
    [
        (b"* CAPABILITY IMAP4rev1 IDLE AUTH=PLAIN\r\nTAG OK\r\n", b"a OK [CAPABILITY IMAP4rev1 IDLE] hi", GOOD),
        (b"* CAPABILITY IMAP4rev1 UNAUTHENTICATE\r\nTAG OK\r\n", b"a OK [CAPABILITY IMAP4rev1] hi", GOOD),
        (b"* OK [CAPABILITY IMAP4rev1 UNAUTHENTICATE]\r\nTAG OK\r\n", b"a OK [CAPABILITY IMAP4rev1] hi", GOOD),
        (b"TAG OK [CAPABILITY IMAP4rev1 UNAUTHENTICATE] done\r\n", b"a OK [CAPABILITY IMAP4rev1] hi", GOOD),
        (b"TAG BAD no\r\n", UNAVAILABLE, OURS),
        (b"* BYE\r\n", UNAVAILABLE, OURS),
    ],
    ids=["I72", "I72-untagged", "I72-code", "I72-tagged-code", "I72-refused", "I72-bye"],
)
def test_a_server_that_does_not_say_what_it_offers_is_asked(
    stage: Bench, context: ssl.SSLContext, capabilities: bytes, said: bytes, codes: tuple[str, ...]
) -> None:
    """UNAUTHENTICATE may be offered only to who is logged in, and only when asked: the gate asks before it lets in."""
    told = imap_login(stage, context, imap(GREETING, b"TAG OK hi\r\n", capabilities))

    assert told.said == [said]
    assert told.codes == codes


PROMISES = {
    "greeting": (b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN UNAUTHENTICATE] hi\r\n", b"TAG OK [CAPABILITY X] hi\r\n"),
    "greeting-lower-case": (b"* OK [CAPABILITY auth=plain unauthenticate] hi\r\n", b"TAG OK [CAPABILITY X] hi\r\n"),
    "answer": (GREETING, b"TAG OK [CAPABILITY IMAP4rev1 UNAUTHENTICATE] hi\r\n"),
    "proxyauth": (GREETING, b"TAG OK [CAPABILITY IMAP4rev1 PROXYAUTH] hi\r\n"),
    "starttls": (GREETING, b"TAG OK [CAPABILITY IMAP4rev1 StartTLS] hi\r\n"),
}
SECOND_LOG_INS = {
    "plain": [b"b UNAUTHENTICATE\r\nc LOGIN bob builder\r\n"],
    "other-case": [b"b UnAuthenticate\r\n"],
    "proxyauth": [b"b PROXYAUTH bob\r\n"],
    "starttls": [b"b STARTTLS\r\n"],
    "cut": [b"b UNAUTH", b"ENTICATE\r", b"\n"],
    "in-no-literal": [b"b NOOP {18+}\r\nc UNAUTHENTICATE\r\n\r\n"],
    "in-a-string-without-an-end": [b'b SELECT "x {18+}\r\nc UNAUTHENTICATE\r\n\r\n'],
    "in-no-waiting-literal": [b"b NOOP {18}\r\nc UNAUTHENTICATE\r\n"],
    "behind-idle": [b"b IDLE\r\nc APPEND x {18}\r\nd UNAUTHENTICATE\r\n"],
    "bare-LF": [b"b NOOP\nc UNAUTHENTICATE\r\n"],
    "two-spaces": [b"b  UNAUTHENTICATE\r\n"],
    "compressed": [b"b COMPRESS DEFLATE\r\n"],
}


@pytest.mark.parametrize("pieces", SECOND_LOG_INS.values(), ids=SECOND_LOG_INS)
@pytest.mark.parametrize(("greeting", "answer"), PROMISES.values(), ids=PROMISES)
def test_i72_no_second_log_in_reaches_a_server_that_would_take_it(
    stage: Bench, context: ssl.SSLContext, greeting: bytes, answer: bytes, pieces: list[bytes]
) -> None:
    """The gate answers by itself; whatever the server thinks of a line, it reads no such command."""

    def act(peer: Peer) -> None:
        imap(greeting, answer)(peer)
        while True:  # a server that takes no literal, and says so
            tag, _, command = peer.line().partition(b" ")
            peer.send(b"+ idling\r\n" if command == b"IDLE" else tag + b" BAD no\r\n")

    stage.servers["imap"].script = Script(act=act)
    watch = stage.watch("imap")
    with Wire(stage.gate.ports.imaps, context) as wire:
        wire.line()
        assert b"a OK" in wire.imap(b"a LOGIN alice wonderland")[-1]
        for piece in pieces:
            wire.send(piece)
        wire.send(b"z LOGOUT\r\n")
        told = [wire.line()]
        assert b" BAD " in told[0] or told[0].startswith((b"+ idling", b"* BYE"))
    (one,) = watch.connections()
    for word in (b"UNAUTHENTICATE", b"PROXYAUTH", b"STARTTLS", b"bob", b"COMPRESS"):
        assert word not in one.received.upper()


IMAP_STARTTLS = b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] hi\r\n"
INJECTED = {
    "U04": b"TAG OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nx OK x\r\n",
    "U04-bye": b"TAG OK begin\r\n* BYE\r\n",
    "U04-octet": b"TAG OK begin\r\n*",
    "U04-alert": b"* OK [ALERT] call this number\r\nTAG OK begin\r\n* OK\r\n",
    "U06": b"TAG NO not now\r\n",
    "U06-bad": b"TAG BAD what\r\n",
    "U04-plaintext-after-ok": b"TAG OK begin\r\n" + b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN]\r\n" * 100,
}


@pytest.mark.parametrize("answer", INJECTED.values(), ids=INJECTED)
def test_imap_servers_that_never_get_to_tls(starttls_stage: Bench, context: ssl.SSLContext, answer: bytes) -> None:
    """Octets behind the answer to STARTTLS, or a refusal, end the log-in: nothing goes out in the clear."""
    told = imap_login(starttls_stage, context, imap(IMAP_STARTTLS, answer))

    assert told.said == [UNAVAILABLE]
    assert told.codes == OURS
    assert [line.split(b" ")[1] for line in told.received.splitlines()] == [b"STARTTLS"]


@pytest.mark.parametrize(
    "greeting",
    [GREETING, b"* OK [CAPABILITY IMAP4rev1] STARTTLS\r\n", b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n"],
    ids=["U06", "U06-text", "U01-starttls"],
)
def test_imap_servers_without_starttls(starttls_stage: Bench, context: ssl.SSLContext, greeting: bytes) -> None:
    """No way back to plaintext: a server that does not offer STARTTLS is told nothing."""
    assert imap_login(starttls_stage, context, imap(greeting)) == ([UNAVAILABLE], b"", OURS)


SMTP_OFFER = b"250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"
SMTP_INJECTED = {
    "U14": (SMTP_OFFER, b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n"),
    "U14-one-reply-of-two-lines": (SMTP_OFFER, b"220-go\r\n220 on\r\n"),
    "U14-octet": (SMTP_OFFER, b"220 go\r\n2"),
    "U06-smtp": (b"250-x\r\n250 AUTH PLAIN\r\n",),
    "U06-smtp-refused": (SMTP_OFFER, b"454 not now\r\n"),
}


@pytest.mark.parametrize("answers", SMTP_INJECTED.values(), ids=SMTP_INJECTED)
def test_smtp_servers_that_never_get_to_tls(
    starttls_stage: Bench, context: ssl.SSLContext, answers: tuple[bytes, ...]
) -> None:
    """Octets behind the answer to STARTTLS, or none offered, end the log-in: nothing goes out in the clear."""
    told = smtp_login(starttls_stage, context, smtp(b"220 hi\r\n", *answers))

    assert told.said == [LATER]
    assert told.codes == OURS
    assert [line.split(b" ")[0] for line in told.received.splitlines()] in ([b"EHLO"], [b"EHLO", b"STARTTLS"])


@pytest.fixture(params=["wrong-name", "foreign", "expired"])
def bad_certificate(request: pytest.FixtureRequest, servers_ca: Authority, devices_ca: Authority) -> ssl.SSLContext:
    """Return a server's context that proves nothing."""
    if request.param == "foreign":
        return server_context(devices_ca.server_certificate("foreign"))
    if request.param == "wrong-name":
        return server_context(servers_ca.server_certificate("elsewhere", "elsewhere.example"))
    past = datetime.now(UTC) - timedelta(days=1)  # noqa: TID251  the gate judges by the real clock
    return server_context(servers_ca.server_certificate("expired", until=past))


def test_u18_a_server_that_proves_nothing(
    starttls_stage: Bench, context: ssl.SSLContext, bad_certificate: ssl.SSLContext
) -> None:
    """A wrong, foreign or expired certificate is a temporary failure; nothing is tried again without TLS."""

    def upgrades(first: Act) -> Act:
        def act(peer: Peer) -> None:
            first(peer)
            peer.secure(bad_certificate)

        return act

    told = imap_login(starttls_stage, context, upgrades(imap(IMAP_STARTTLS, b"TAG OK begin\r\n")))
    assert told.said == [UNAVAILABLE]
    assert told.codes == OURS
    assert told.received.count(b"\n") == 1
    told = smtp_login(starttls_stage, context, upgrades(smtp(b"220 hi\r\n", SMTP_OFFER, b"220 go\r\n")))
    assert told.said == [LATER]
    assert told.codes == OURS
    assert told.received.count(b"\n") == 2


SMTP_STRANGE = {
    "U15": endless(b"250-a\r\n", first=smtp(b"220 hi\r\n")),
    "U15-long-line": endless(b"2" * 10_000, first=smtp(b"220 hi\r\n")),
    "U15-two-codes": smtp(b"220 hi\r\n", b"250-a\r\n550 b\r\n"),
    "U15-no-code": smtp(b"hello\r\n"),
    "U01-smtp-greeting": smtp(b"554 no\r\n"),
    "U12-smtp-silent": smtp(b""),
    "U12-smtp-endless-greeting": endless(b"220-hi\r\n"),
    "I72-smtp-starttls": smtp(b"220 hi\r\n", SMTP_OFFER),
    "I72-smtp-xclient": smtp(b"220 hi\r\n", b"250-x\r\n250-XCLIENT NAME\r\n250 AUTH PLAIN\r\n"),
}


@pytest.mark.parametrize("act", SMTP_STRANGE.values(), ids=SMTP_STRANGE)
def test_smtp_servers_that_get_no_password(stage: Bench, context: ssl.SSLContext, act: Act) -> None:
    """Replies without end or sense, and offers that would let the phone log in anew, are a fault of the server's."""
    told = smtp_login(stage, context, act)

    assert told.said == [LATER]
    assert told.codes == OURS
    assert b"AUTH" not in told.received


def test_u15_a_reply_may_be_cut_anywhere(stage: Bench, context: ssl.SSLContext) -> None:
    """Lines are lines, however they come."""

    def act(peer: Peer) -> None:
        for answer in (b"220 hi\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"235 2.7.0 come in\r\n"):
            for at in range(len(answer)):
                peer.send(answer[at : at + 1])
            peer.line()

    told = smtp_login(stage, context, act)
    assert told.said == [AUTHED.strip()]
    assert told.codes == GOOD


RICH = (
    *(
        b"XCLIENT NAME ADDR PORT PROTO LOGIN",
        b"XFORWARD NAME",
        b"AUTH GSSAPI NTLM PLAIN",
        b"SIZE 35882577",
        b"PIPELINING",
    ),
    *(b"CHUNKING", b"SMTPUTF8", b"DSN", b"8BITMIME", b"REQUIRETLS", b"BURL imap", b"ETRN", b"VRFY"),
)


def test_u16_g06_s15_what_a_server_offers_and_is_told(stage: Bench, context: ssl.SSLContext) -> None:
    """The phone is offered what the server can, less what is unsafe; the server is told the address and no host name."""
    offer = b"".join(b"250-" + one + b"\r\n" for one in RICH) + b"250 HELP\r\n"
    act = smtp(b"220 hi\r\n", b"250-x\r\n" + offer, b"220 x\r\n", b"250-x\r\n" + offer, b"235 ok\r\n")
    told = smtp_login(stage, context, act)

    assert told.said == [AUTHED.strip()]
    lines = told.received.splitlines()
    assert lines[1].startswith(b"XCLIENT NAME=[UNAVAILABLE] PORT=")
    assert lines[1].endswith(b" ADDR=127.0.0.1")
    assert b"LOGIN=" not in lines[1]
    with Wire(stage.gate.ports.submissions, context) as wire:
        wire.smtp_reply()
        offered = {line[4:] for line in wire.smtp(b"EHLO x")[1:]}
    passed = {b"SIZE 35882577", b"PIPELINING", b"CHUNKING", b"SMTPUTF8", b"DSN", b"8BITMIME", b"REQUIRETLS", b"HELP"}
    assert offered == {*passed, b"AUTH PLAIN LOGIN"}


def test_u19_what_a_server_said_last_is_delivered(stage: Bench, context: ssl.SSLContext) -> None:
    """An end of the mail server's comes behind everything it sent; a reset ends both sides."""
    for ends, why in ((Peer.close, "upstream"), (Peer.reset, "upstream_aborted")):

        def act(peer: Peer, ends: Callable[[Peer], None] = ends) -> None:
            imap(GREETING, b"TAG OK [CAPABILITY IMAP4rev1] hi\r\n")(peer)
            peer.line()
            if ends is Peer.close:
                peer.send(b"* x\r\n" * 100_000)
            ends(peer)

        stage.servers["imap"].script = Script(act=act)
        with Wire(stage.gate.ports.imaps, context) as wire:
            wire.line()
            wire.imap(b"a LOGIN alice wonderland")
            wire.send(b"b NOOP\r\n")
            assert wire.rest(within=10) == (b"* x\r\n" * 100_000 if ends is Peer.close else b"")
            port = wire.local_port
        assert [detail(record).get("ended") for record in stage.audit.of(port)] == [None, why]
