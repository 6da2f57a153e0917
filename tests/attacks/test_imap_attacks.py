"""Attacks on IMAP before log-in, over a socket: all that the client gets, all that the mail server gets, the record."""

import ssl

import pytest

from testkit.attack_bench import ALLOWED, DENIED_APP, ENDED, EXPOSED, OVER, REFUSED, Bench, by_lines, say
from testkit.gate import detail
from testkit.imap_rows import BAD, OAUTHBEARER, ROWS, WRONG, XOAUTH2, Row, base64_of
from testkit.recorder import OAUTH_ERROR
from testkit.wire import Wire

BYE = b"* BYE Goodbye.\r\nzz OK Done.\r\n"
LOGGED_IN = b" OK [CAPABILITY IMAP4rev1 IDLE] logged in\r\n"
LAST = b"zz LOGOUT\r\n"
"""Sent last wherever the gate has not hung up: its answer proves that nothing else was said in between."""

FLOOD_OCTETS = 2048
"""Whoever sends on after the last words gets a reset, which may overtake them: then what is got is the beginning."""

NOT_HERE = {"I09": "a name outside ASCII has no canonical form here: the mail server is not even asked"}
"""Rows whose log-in the flow refuses although the dialogue takes it."""
DRIVEN = [row for row in ROWS if not row.outcomes]
"""Rows with an outcome of the flow's own are played below, with a mail server and a policy that bring it about."""


def told(row: Row) -> bytes:
    """What the client must get, with the words of the recording mail server."""
    return WRONG if row.id in NOT_HERE else row.told.replace(b" OK Logged in\r\n", LOGGED_IN)


def logins(row: Row) -> list[tuple[str, bytes]]:
    """What the mail server must be asked: the canonical name, and every octet of the secret."""
    if row.id in NOT_HERE:
        return []
    return [
        (mechanism, secret)
        if mechanism in ("XOAUTH2", "OAUTHBEARER")
        else ("PLAIN", b"\0%b\0%b" % (name.lower().encode(), secret))
        for mechanism, name, secret in row.logins
    ]


def codes(row: Row) -> list[str]:
    """What must be recorded."""
    exposed = [EXPOSED] * len(row.exposed)
    if logins(row):
        return [*exposed, ALLOWED, OVER]
    return [*exposed, *([REFUSED] if row.id in NOT_HERE or row.id == "I57" else []), ENDED]


@pytest.mark.parametrize("way", ["whole", "by lines"])
@pytest.mark.parametrize("row", DRIVEN, ids=[row.id for row in DRIVEN])
def test_before_login(bench: Bench, context: ssl.SSLContext, row: Row, way: str) -> None:
    """Replies, log-ins, relayed octets and records are exactly these."""
    watch = bench.watch("imap")
    ports = bench.gate.ports
    with Wire(ports.imap) if row.in_the_clear else Wire(ports.imaps, context) as wire:
        port = wire.local_port
        assert wire.line().startswith(b"* OK [CAPABILITY IMAP4rev1 ")
        say(wire, *([row.sent] if way == "whole" else by_lines(row.sent)))
        if row.closed:
            got = wire.rest(within=10)
        else:
            got = wire.exactly(len(told(row)))
            say(wire, LAST)
            last = b"".join(line.split(b" ")[0] + b" OK done\r\n" for line in (row.upstream + LAST).splitlines())
            expected = last if logins(row) else BYE
            assert wire.exactly(len(expected)) == expected
    assert told(row).startswith(got)
    if not row.closed or (way == "whole" and len(row.sent) <= FLOOD_OCTETS):
        assert got == told(row)

    assert watch.sasl() == logins(row)
    assert watch.after_login() == [row.upstream + LAST for _ in logins(row)]
    assert len(watch.connections()) == len(logins(row))
    assert bench.codes(port) == codes(row)


MALLORY = b"a LOGIN mallory pw\r\nb NOOP\r\nc SELECT INBOX\r\n"
"""Whose phone has a denied app."""
REFUSAL = b"a NO [UNAVAILABLE] Mail is paused: "


@pytest.mark.parametrize("cut", range(1, len(MALLORY), 6))
def test_i70_what_a_refused_phone_pipelined_goes_nowhere(bench: Bench, context: ssl.SSLContext, cut: int) -> None:
    """Behind a refusal by policy the commands are answered as before any log-in; the mail server gets none of them."""
    watch = bench.watch("imap")
    with Wire(bench.gate.ports.imaps, context) as wire:
        wire.line()
        say(wire, MALLORY[:cut], MALLORY[cut:])
        assert wire.line().startswith(REFUSAL.rstrip())
        assert wire.exactly(len(b"b OK Done.\r\nc " + BAD)) == b"b OK Done.\r\nc " + BAD
        port = wire.local_port

    assert watch.sasl() == [("PLAIN", b"\0mallory\0pw")]
    assert [bytes(one.received).partition(b"al AUTHENTICATE")[0] for one in watch.connections()]
    assert not [one for one in watch.connections() if b"NOOP" in one.received or b"SELECT" in one.received]
    assert bench.codes(port) == [DENIED_APP, ENDED]


ALICE_PIPELINE = b"a LOGIN alice wonderland\r\n", b"b NOOP\r\nc APPEND x {3+}\r\n\n.\n\r\nd IDLE\r\n"


@pytest.mark.parametrize("cut", range(1, sum(map(len, ALICE_PIPELINE)), 6))
def test_i70_what_an_admitted_phone_pipelined_arrives_once(bench: Bench, context: ssl.SSLContext, cut: int) -> None:
    """Octets behind the log-in reach the mail server once and in order, wherever they are cut."""
    watch = bench.watch("imap")
    sent = b"".join(ALICE_PIPELINE)
    with Wire(bench.gate.ports.imaps, context) as wire:
        wire.line()
        say(wire, sent[:cut], sent[cut:])
        assert wire.line() == b"a OK [CAPABILITY IMAP4rev1 IDLE] logged in"
        wire.tagged(b"d")
    assert watch.after_login() == [ALICE_PIPELINE[1]]


STRANGE_NAMES = {
    "I65": [b"alice*admin", b"alice%admin", b"corp/alice/bob", b"corp\\\\alice", b"alice@x@y", b"alice "],
    "I66": [
        b"%{pass}",
        b"*)(uid=*))(|(uid=*",
        b"' OR 1=1--",
        b"../../etc",
        b"$(id)",
        b"{user}",
        b"alice;x",
        b"a|b|c:d",
    ],
    "I67": [
        "\uff41lice".encode(),
        "alice\u200b".encode(),
        "alic\u0435".encode(),
        b"\xe2\x84\xaaevin",
        "al\u0131ce".encode(),
    ],
}


@pytest.mark.parametrize(
    ("name"),
    [n for names in STRANGE_NAMES.values() for n in names],
    ids=[i for i, ns in STRANGE_NAMES.items() for _ in ns],
)
def test_strange_names_are_nobodys(bench: Bench, context: ssl.SSLContext, name: bytes) -> None:
    """A name that a mail server or a back end may read otherwise than policy does is a wrong password, asked of nobody."""
    watch = bench.watch("imap")
    with Wire(bench.gate.ports.imaps, context) as wire:
        wire.line()
        assert wire.imap(b'a LOGIN "' + name + b'" pw') == [WRONG.strip()]
        port = wire.local_port
    assert watch.connections() == []
    assert bench.codes(port) == [REFUSED, ENDED]


def test_i53_bad_base64_disturbs_nobody(bench: Bench, context: ssl.SSLContext) -> None:
    """While one connection sends rubbish, many others log in."""
    port = bench.gate.ports.imaps
    watch = bench.watch("imap")
    wires = [Wire(port, context) for _ in range(50)]
    with Wire(port, context) as rubbish:
        rubbish.line()
        for number, wire in enumerate(wires):
            wire.line()
            wire.send(b"a LOGIN alice wonderland\r\n")
            if number in (5, 25):
                assert rubbish.imap(b"a AUTHENTICATE PLAIN !!!!") == [b"a BAD Not a valid response."]
        for wire in wires:
            assert wire.tagged(b"a")[-1].startswith(b"a OK")
            wire.close()
    assert len(watch.sasl()) == 50


def test_i32_i51_octets_do_not_buy_time(impatient: Bench, context: ssl.SSLContext) -> None:
    """The deadline before log-in is absolute: a client that sends now and then is cut off all the same."""
    with Wire(impatient.gate.ports.imaps, context) as wire:
        wire.line()
        got = b""
        for octet in b"a LOGIN alice wonderlan" * 40:
            say(wire, bytes([octet]))
            try:
                got = wire.rest(within=0.1)
            except TimeoutError:
                continue
            break
        port = wire.local_port
    assert got == b"* BYE Too slow.\r\n"
    assert [detail(record).get("ended") for record in impatient.audit.of(port)] == ["timeout"]


def test_d04_d03_what_a_client_says_of_itself_goes_nowhere(bench: Bench, context: ssl.SSLContext) -> None:
    """The mail server is told the address by us alone: no key or value of the client's ID gets there."""
    watch = bench.watch("imap")
    with Wire(bench.gate.ports.imaps, context) as wire:
        wire.line()
        wire.imap(b'a ID ("x-originating-ip" "10.9.8.7" "x-proxy-ttl" "1" "name" "evil" "x-forward-user" "admin")')
        say(wire, b'b ID ("name" {11+}\r\nx")\r\nL EVIL)\r\n')
        wire.tagged(b"b")
        assert wire.imap(b"c LOGIN alice wonderland")[-1].startswith(b"c OK")
        port = wire.local_port

    assert bench.codes(port) == [ALLOWED, OVER]
    assert detail(bench.audit.of(port)[0])["client_id"] == "name=evil"
    (one,) = watch.connections()
    ids = [line for line in bytes(one.received).splitlines() if b" ID (" in line]
    assert len(ids) == 1
    assert b'"x-originating-ip" "127.0.0.1" "x-originating-port" "%d"' % port in ids[0]
    for theirs in (b"10.9.8.7", b"evil", b"EVIL", b"x-proxy-ttl", b"x-forward", b"admin"):
        assert theirs not in one.received


def test_o01_o09_a_refused_token_is_told_its_error_first(choosy: Bench, context: ssl.SSLContext) -> None:
    """The mail server's error is a challenge, and the refusal waits for the client's empty answer."""
    for mechanism, response, dummy in ((b"XOAUTH2", XOAUTH2, b""), (b"OAUTHBEARER", OAUTHBEARER, b"AQ==")):
        watch = choosy.watch("imap")
        with Wire(choosy.gate.ports.imaps, context) as wire:
            wire.line()
            said = wire.imap(b"a AUTHENTICATE " + mechanism + b" " + base64_of(response))
            assert said == [b"+ " + base64_of(OAUTH_ERROR)]
            say(wire, dummy + b"\r\n")
            assert wire.tagged(b"a") == [WRONG.strip()]
            port = wire.local_port
        assert watch.sasl() == [(mechanism.decode(), response)]
        assert watch.after_login() == []
        assert choosy.codes(port) == [REFUSED, ENDED]


def test_o01_the_answer_to_a_token_s_error_may_not_fail_to_come(impatient: Bench, context: ssl.SSLContext) -> None:
    """A client that never answers the error is cut off at the deadline."""
    with Wire(impatient.gate.ports.imaps, context) as wire:
        wire.line()
        assert wire.imap(b"a AUTHENTICATE XOAUTH2 " + base64_of(XOAUTH2))[0].startswith(b"+ ")
        assert wire.rest(within=10) == b"* BYE Too slow.\r\n"


def test_o06_whose_token_it_is_judges_the_mail_server(choosy: Bench, context: ssl.SSLContext) -> None:
    """The name that policy sees is the one in the very response that the mail server judges; nothing else is sent."""
    response = b"user=mallory\x01auth=Bearer good\x01\x01"
    watch = choosy.watch("imap")
    with Wire(choosy.gate.ports.imaps, context) as wire:
        wire.line()
        assert wire.imap(b"a AUTHENTICATE XOAUTH2 " + base64_of(response))[-1].startswith(REFUSAL.rstrip())
        port = wire.local_port
    assert watch.sasl() == [("XOAUTH2", response)]
    assert choosy.codes(port) == [DENIED_APP, ENDED]
    assert choosy.audit.of(port)[0]["user"]["name"] == "mallory"


def test_t08_what_was_said_before_tls_is_forgotten(bench: Bench, context: ssl.SSLContext) -> None:
    """A client that asked for capabilities in the clear is told them anew: in the code of the OK, as if never asked."""
    with Wire(bench.gate.ports.imap) as wire:
        wire.line()
        wire.imap(b'a ID ("name" "evil")')
        wire.imap(b"b CAPABILITY")
        wire.imap(b"c X")
        wire.imap(b"d X")
        assert wire.imap(b"e STARTTLS") == [b"e OK Begin TLS now."]
        wire.start_tls(context)
        wire.imap(b"f X")
        wire.imap(b"g X")  # the two errors from before TLS do not count either
        assert wire.imap(b"h LOGIN alice wonderland") == [b"h OK [CAPABILITY IMAP4rev1 IDLE] logged in"]
        port = wire.local_port
    assert bench.codes(port) == [ALLOWED, OVER]
    assert "evil" not in str(bench.audit.of(port)), "nor is the ID from before TLS on record"
