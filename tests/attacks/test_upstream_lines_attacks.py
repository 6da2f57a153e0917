"""POP3 and ManageSieve servers that misbehave, or somebody between: no password in the clear, and a fixed answer."""

import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from gatekeeper.protocols.login import MAX_LINE_OCTETS
from testkit import sieve
from testkit.attack_bench import ALLOWED, ENDED, FAULT, OVER, REFUSED, Bench
from testkit.gate import upstream
from testkit.recorder import Peer, Script
from testkit.spoken import SPOKEN, listeners, port_of, recorders
from testkit.tls import Authority, server_context
from testkit.wire import Wire

Act = Callable[[Peer], None]
PLAIN = b"AGFsaWNlAHdvbmRlcmxhbmQ="
GOOD = (ALLOWED, OVER)
OURS = (FAULT, ENDED)
THEIRS = (REFUSED, ENDED)
PROTOCOLS = ("pop3", "sieve")


def server(*answers: bytes) -> Act:
    """Greet with the first, and answer line by line."""

    def act(peer: Peer) -> None:
        peer.send(answers[0])
        for answer in answers[1:]:
            peer.line()
            peer.send(answer)

    return act


def endless(octets: bytes, *first: bytes) -> Act:
    """Answer as `server` does, and then send this for ever."""

    def act(peer: Peer) -> None:
        if first:
            server(*first)(peer)
        while True:
            peer.send(octets)

    return act


def _stage(make_bench: Callable[..., Bench], mode: str, **more: object) -> Bench:
    servers = {protocol: one for protocol, one in recorders().items() if protocol in PROTOCOLS}
    # What they say is told for one connection, and not for one that the next phone may have on its way.
    more |= {"preconnect": False}
    tables = {protocol: {**upstream(one.port, mode=mode), **more} for protocol, one in servers.items()}
    listening = [one for one in listeners() if one["protocol"] in PROTOCOLS]
    changes = {"listener": listening, "upstream": tables, "limits": {"upstream_timeout": "2s"}}
    return make_bench(servers, changes)


@pytest.fixture(scope="module")
def stage(make_bench: Callable[..., Bench]) -> Bench:
    """Run a gate in front of mail servers without TLS, which do what each test tells them."""
    return _stage(make_bench, "off", client_address="xclient")


@pytest.fixture(scope="module")
def starttls_stage(make_bench: Callable[..., Bench], servers_ca: Authority) -> Bench:
    """Run a gate that insists on STARTTLS with its mail servers."""
    return _stage(make_bench, "starttls", ca=str(servers_ca.ca_file))


@pytest.fixture(autouse=True)
def _no_more_acts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the mail servers be good again after every test."""
    yield
    for name in {"stage", "starttls_stage"} & set(request.fixturenames):
        for protocol, one in request.getfixturevalue(name).servers.items():
            one.script = Script(protocol=protocol)


class Told(NamedTuple):
    """What came of a log-in."""

    said: bytes
    """To the client, without its line end."""
    received: list[bytes]
    """By the mail server, in its one connection, by lines."""
    codes: tuple[str, ...]


def log_in(bench: Bench, context: ssl.SSLContext, protocol: str, act: Act) -> Told:
    """Log in while the mail server plays its act."""
    spoken = SPOKEN[protocol]
    with Wire(port_of(bench.gate.configuration, protocol), context) as wire:
        spoken.greeted(wire)
        bench.servers[protocol].script = Script(protocol=protocol, act=act)  # type: ignore[arg-type]  # one of two
        watch = bench.watch(protocol)
        said = spoken.ask(wire, b"PLAIN", PLAIN)
        port = wire.local_port
    connections = watch.connections()
    assert len(connections) <= 1, "nothing is tried twice"
    return Told(said, b"".join(bytes(one.received) for one in connections).splitlines(), tuple(bench.codes(port)))


POP3_HI = (b"+OK hi\r\n", b"+OK\r\nSTLS\r\nSASL PLAIN\r\n.\r\n")
SIEVE_HI = b'"SASL" "PLAIN"\r\n"STARTTLS"\r\nOK "hi"\r\n'
NO_TLS = {
    "T03-upstream": ("pop3", (*POP3_HI, b"+OK go\r\n+OK\r\nSASL PLAIN\r\n.\r\n+OK in\r\n"), 2),
    "T03-upstream-octet": ("pop3", (*POP3_HI, b"+OK go\r\n+"), 2),
    "T03-upstream-empty-line": ("pop3", (*POP3_HI, b"+OK go\r\n\r\n"), 2),
    "T03-upstream-list": ("pop3", (*POP3_HI, b"+OK go\r\nSASL PLAIN\r\n.\r\n"), 2),
    "T03-upstream-no-crlf": ("pop3", (*POP3_HI, b"+OK go\n+OK\n"), 2),
    "U06-pop3": ("pop3", (b"+OK hi\r\n", b"+OK\r\nSASL PLAIN\r\n.\r\n"), 0),
    "U06-pop3-no-capa": ("pop3", (b"+OK hi\r\n", b"-ERR what\r\n"), 0),
    "U06-pop3-refused": ("pop3", (*POP3_HI, b"-ERR not now\r\n"), 2),
    "U06-pop3-text": ("pop3", (b"+OK STLS\r\n", b"+OK STLS\r\nSASL PLAIN\r\nXSTLS\r\n.\r\n"), 0),
    "T04-upstream": ("sieve", (SIEVE_HI, b'OK "go"\r\n"SASL" "PLAIN"\r\nOK\r\nOK "in"\r\nNO\r\n'), 1),
    "T04-upstream-octet": ("sieve", (SIEVE_HI, b'OK "go"\r\nO'), 1),
    "T04-upstream-empty-line": ("sieve", (SIEVE_HI, b'OK "go"\r\n\r\n'), 1),
    "T04-upstream-literal": ("sieve", (SIEVE_HI, b'OK {2}\r\ngo\r\n"SASL" "PLAIN"\r\nOK\r\n'), 1),
    "T04-upstream-capabilities": ("sieve", (SIEVE_HI, b'"SASL" "PLAIN"\r\nOK "go"\r\n'), 1),
    "U06-sieve": ("sieve", (b'"SASL" "PLAIN"\r\nOK "hi"\r\n',), 0),
    "U06-sieve-refused": ("sieve", (SIEVE_HI, b'NO "not now"\r\n'), 1),
    "U06-sieve-text": ("sieve", (b'"SASL" "PLAIN"\r\n"X" "STARTTLS"\r\nOK "STARTTLS"\r\n',), 0),
    "U01-sieve": ("sieve", (b'"SASL" ""\r\n"OWNER" "alice"\r\nOK "already in"\r\n',), 0),
}  # fmt: skip


@pytest.mark.parametrize(("protocol", "answers", "lines"), NO_TLS.values(), ids=NO_TLS)
def test_servers_that_never_get_to_tls(
    starttls_stage: Bench, context: ssl.SSLContext, protocol: str, answers: tuple[bytes, ...], lines: int
) -> None:
    """Octets behind the answer to STARTTLS, a refusal, or no offer: nothing but the way there goes out in the clear.

    CAPA alone is not counted: it is what the gate says when it only asks.
    """
    told = log_in(starttls_stage, context, protocol, server(*answers))

    assert told.said == SPOKEN[protocol].fault
    assert told.codes == OURS
    assert told.received == {"pop3": [b"CAPA", b"STLS"], "sieve": [b"STARTTLS"]}[protocol][:lines]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["wrong-name", "foreign"])
def test_u18_a_certificate_that_proves_nothing(
    starttls_stage: Bench,
    context: ssl.SSLContext,
    servers_ca: Authority,
    devices_ca: Authority,
    protocol: str,
    name: str,
) -> None:
    """A wrong or foreign certificate is a temporary failure; nothing is tried again without TLS."""
    issuer = servers_ca if name == "wrong-name" else devices_ca
    names = ("other.example.com",) if name == "wrong-name" else ("localhost",)
    bad = server_context(issuer.server_certificate(f"lines-{name}-{protocol}", *names))

    def act(peer: Peer) -> None:
        server(*(*POP3_HI, b"+OK go\r\n") if protocol == "pop3" else (SIEVE_HI, b'OK "go"\r\n'))(peer)
        peer.secure(bad)

    told = log_in(starttls_stage, context, protocol, act)
    assert told.said == SPOKEN[protocol].fault
    assert told.codes == OURS
    assert told.received == {"pop3": [b"CAPA", b"STLS"], "sieve": [b"STARTTLS"]}[protocol]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_was_offered_before_tls_is_forgotten(
    starttls_stage: Bench, context: ssl.SSLContext, servers_ca: Authority, protocol: str
) -> None:
    """PLAIN that was offered in the clear alone is not used under TLS."""
    good = server_context(servers_ca.server_certificate(f"lines-good-{protocol}"))

    def act(peer: Peer) -> None:
        server(*(*POP3_HI, b"+OK go\r\n") if protocol == "pop3" else (SIEVE_HI, b'OK "go"\r\n'))(peer)
        peer.secure(good)
        if protocol == "pop3":
            peer.line()
        peer.send(b"+OK\r\nTOP\r\n.\r\n" if protocol == "pop3" else b'"SASL" ""\r\nOK\r\n')

    told = log_in(starttls_stage, context, protocol, act)
    assert told.said == SPOKEN[protocol].fault
    assert told.codes == OURS
    assert told.received == {"pop3": [b"CAPA", b"STLS", b"CAPA"], "sieve": [b"STARTTLS"]}[protocol]


POP3_OFFER = (b"+OK hi\r\n", b"+OK\r\nSASL PLAIN\r\n.\r\n")
SIEVE_OFFER = b'"SASL" "PLAIN"\r\nOK "hi"\r\n'
STRANGE = {
    "U12-pop3-line": ("pop3", endless(b"+OK " + b"x" * 100_000)),
    "U12-pop3-lines": ("pop3", endless(b"TOP\r\n", b"+OK hi\r\n", b"+OK\r\n")),
    "U12-pop3-silent": ("pop3", server(b"")),
    "U12-pop3-list-without-end": ("pop3", server(b"+OK hi\r\n", b"+OK\r\nSASL PLAIN\r\n")),
    "U01-pop3-imap": ("pop3", server(b"* PREAUTH hi\r\n")),
    "U01-pop3-bare": ("pop3", server(b"+OKAY\r\n")),
    "U12-sieve-line": ("sieve", endless(b'"SIEVE" "' + b"x" * 100_000)),
    "U12-sieve-lines": ("sieve", endless(b'"X" "y"\r\n')),
    "U12-sieve-silent": ("sieve", server(b"")),
    "U12-sieve-literal": ("sieve", server(b'"SASL" {%d}\r\n' % (MAX_LINE_OCTETS + 1))),
    "U12-sieve-literal-4-GiB": ("sieve", server(b'"SASL" {4294967296}\r\n')),
    "U12-sieve-literals": ("sieve", endless(b'"X" {30000}\r\n' + b"x" * 30_000 + b"\r\n")),
    "U01-sieve-imap": ("sieve", server(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n")),
    "U07-sieve-bye": ("sieve", server(b'BYE (REFERRAL "sieve://evil") "go there"\r\n')),
}


@pytest.mark.parametrize(("protocol", "act"), STRANGE.values(), ids=STRANGE)
def test_servers_that_get_no_password(stage: Bench, context: ssl.SSLContext, protocol: str, act: Act) -> None:
    """Replies without end or sense are a fault of the server's, which is told nothing of the phone's."""
    told = log_in(stage, context, protocol, act)

    assert told.said == SPOKEN[protocol].fault
    assert told.codes == OURS
    assert not [line for line in told.received if PLAIN in line]


ANSWERS = {
    "U07-sieve": ("sieve", (SIEVE_OFFER, b'NO (REFERRAL "sieve://evil") "go there"\r\n'), None, OURS),
    "U10-pop3": ("pop3", (*POP3_OFFER, b"-ERR [SYS/PERM] a\x1b]0;x\x07\0b\rc\r\n"), b"-ERR [SYS/PERM] a?]0;x??b?c", THEIRS),
    "U10-pop3-second-code": ("pop3", (*POP3_OFFER, b"-ERR [SYS/TEMP] [AUTH] x\r\n"), b"-ERR [SYS/TEMP] AUTH] x", (ENDED,)),
    "U10-pop3-unknown-code": ("pop3", (*POP3_OFFER, b"-ERR [EVIL] call this number\r\n"), SPOKEN["pop3"].wrong, THEIRS),
    "U10-sieve": ("sieve", (SIEVE_OFFER, b'NO (TRYLATER) "a\x1b]0;x\x07b"\r\n'), b'NO (TRYLATER) "a?]0;x?b"', (ENDED,)),
    "U10-sieve-two-lines": ("sieve", (SIEVE_OFFER, b"NO (TRYLATER) {8}\r\na\r\nOK \r\n\r\n"), b'NO (TRYLATER) "a??OK ??"', (ENDED,)),
    "U10-sieve-unknown-code": ("sieve", (SIEVE_OFFER, b'NO (EVIL) "call this number"\r\n'), SPOKEN["sieve"].wrong, THEIRS),
    "U12-pop3-no-answer": ("pop3", POP3_OFFER, None, OURS),
    "U12-pop3-asks-again": ("pop3", (*POP3_OFFER, b"+ \r\n"), None, OURS),
    "U12-sieve-asks": ("sieve", (SIEVE_OFFER, b'""\r\n'), None, OURS),
    "U12-sieve-strings": ("sieve", (SIEVE_OFFER, b'OK "a" "b" "c"\r\n'), None, OURS),
    "U01-pop3-star": ("pop3", (*POP3_OFFER, b"* OK in\r\n"), None, OURS),
    "U01-sieve-preauth": ("sieve", (SIEVE_OFFER, b'PREAUTH "in"\r\n'), None, OURS),
}  # fmt: skip


@pytest.mark.parametrize(("protocol", "answers", "said", "codes"), ANSWERS.values(), ids=ANSWERS)
def test_answers_to_the_login(
    stage: Bench,
    context: ssl.SSLContext,
    protocol: str,
    answers: tuple[bytes, ...],
    said: bytes | None,
    codes: tuple[str, ...],
) -> None:
    """What a server answers to the log-in is cleaned, or taken for a fault; nobody is let in."""
    told = log_in(stage, context, protocol, server(*answers))

    assert told.said == (SPOKEN[protocol].fault if said is None else said)
    assert told.codes == codes
    assert len([line for line in told.received if PLAIN in line]) == 1


def test_u15_replies_may_be_cut_anywhere(stage: Bench, context: ssl.SSLContext) -> None:
    """Lines are lines, however they come."""
    acts = {
        "pop3": (*POP3_OFFER, b"+OK in\r\n"),
        "sieve": (SIEVE_OFFER.replace(b'"PLAIN"', b"{5}\r\nPLAIN"), b"OK {2}\r\nin\r\n", b"NO {0}\r\n\r\n"),
    }
    for protocol, answers in acts.items():

        def act(peer: Peer, answers: tuple[bytes, ...] = answers) -> None:
            for number, answer in enumerate(answers):
                if number:
                    peer.line()
                for at in range(len(answer)):
                    peer.send(answer[at : at + 1])

        told = log_in(stage, context, protocol, act)
        assert told.said == {"pop3": b"+OK in", "sieve": b'OK "in"'}[protocol]
        assert told.codes == GOOD


def test_what_a_server_offers_first_does_not_reach_the_phone(stage: Bench, context: ssl.SSLContext) -> None:
    """Names and values with control octets, and what is unsafe, stand in no list of ours."""
    offers = {
        "pop3": (b"+OK hi\r\n", b"+OK\r\nTOP\r\nX\x1bY\r\nSTLS\r\nXCLIENT\r\nUTF8\r\nSASL PLAIN\r\n.\r\n", b"-ERR [AUTH]\r\n"),
        "sieve": (b'"SASL" "PLAIN"\r\n"SIEVE" "a\x1b]0;"\r\n"XCLIENT" "ADDR"\r\n"OWNER" "eve"\r\nOK\r\n', b"OK\r\n", b"NO\r\n"),
    }  # fmt: skip
    for protocol, answers in offers.items():
        log_in(stage, context, protocol, server(*answers))
        with Wire(port_of(stage.gate.configuration, protocol), context) as wire:
            listed = b"\n".join(SPOKEN[protocol].greeted(wire) if protocol == "pop3" else sieve.reply(wire))
        assert not [one for one in (b"\x1b", b"XCLIENT", b"STLS", b"UTF8", b"OWNER") if one in listed]
        assert {"pop3": b"TOP", "sieve": b'"SIEVE" "a?]0;"'}[protocol] in listed
