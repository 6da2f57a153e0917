"""Attacks on ManageSieve before log-in, over a socket: all that the client gets, all that the mail server gets, the record."""

import ssl
from collections.abc import Callable

import pytest

from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.enforcement.sieve import replies
from gatekeeper.enforcement.sieve.dialogue import MAX_COMMANDS, MAX_ERRORS
from testkit import sieve
from testkit.attack_bench import ALLOWED, DENIED_APP, ENDED, EXPOSED, FAULT, OVER, REFUSED, Bench, by_lines, say
from testkit.gate import detail
from testkit.imap_rows import base64_of
from testkit.ports import LOOPBACK, free_port
from testkit.recorder import Recorder, Script
from testkit.waiting import eventually
from testkit.wire import Wire

OFFER = b'"IMPLEMENTATION" "recorder"\r\n"SASL" "%b"\r\n"SIEVE" "fileinto"\r\n"VERSION" "1.0"\r\n'
IN_TLS = OFFER % b"PLAIN LOGIN XOAUTH2 OAUTHBEARER"
IN_THE_CLEAR = OFFER % b"" + b'"STARTTLS"\r\n'
PLAIN = b"AGFsaWNlAHdvbmRlcmxhbmQ="
LOGIN = b'AUTHENTICATE "PLAIN" "' + PLAIN + b'"\r\n'
MALLORY = b'AUTHENTICATE "PLAIN" "' + base64_of(b"\0mallory\0pw") + b'"\r\n'
WELCOME = b'OK "logged in"\r\n'
BYE = replies.farewell(Farewell.TOO_MANY_ERRORS)
PROOF = LOGIN + b"UNAUTHENTICATE\r\n"
"""All that a mail server is told for a log-in, however the client has written it."""


@pytest.fixture(scope="module")
def filters(make_bench: Callable[..., Bench], context: ssl.SSLContext) -> Bench:
    """Run a gate with a ManageSieve listener over TLS, and one that begins in the clear."""
    listeners = [
        {"name": name, "protocol": "sieve", "bind": f"{LOOPBACK}:{free_port()}", "tls": mode}
        for name, mode in (("sieves", "implicit"), ("sieve", "starttls"))
    ]
    made = make_bench({"sieve": Recorder(Script(protocol="sieve", accepts_all=True))}, {"listener": listeners})

    def knows_the_offers() -> bool:
        with Wire(port(made, "implicit"), context) as wire:
            return b'"IMPLEMENTATION" "recorder"' in sieve.reply(wire)

    eventually(knows_the_offers, within=15, what="the gate to learn its mail server's offers")
    return made


def port(bench: Bench, mode: str) -> int:
    """Where the listener with this kind of TLS is."""
    listeners = bench.gate.configuration["listener"]
    (bind,) = [one["bind"] for one in listeners if one["tls"] == mode]  # type: ignore[attr-defined]  # as the fixture wrote it
    return int(bind.rpartition(":")[2])


def greeted(bench: Bench, context: ssl.SSLContext | None) -> Wire:
    """Connect, with TLS at once when there is a context, and read exactly the greeting."""
    wire = Wire(port(bench, "starttls" if context is None else "implicit"), context)
    greeting = (IN_THE_CLEAR if context is None else IN_TLS) + replies.READY
    assert wire.exactly(len(greeting)) == greeting
    return wire


TALKS = {
    "capability": (b"CAPABILITY\r\n", IN_TLS + replies.DONE),
    "M03-before-login": (b"UNAUTHENTICATE\r\n", replies.UNKNOWN),
    "mail-commands": (b'LISTSCRIPTS\r\nGETSCRIPT "x"\r\n', replies.UNKNOWN * 2),
    "a-script-is-swallowed-whole": (b'PUTSCRIPT "x" {%d+}\r\n' % len(LOGIN) + LOGIN + b"\r\n", replies.UNKNOWN),
    "havespace": (b'HAVESPACE "x" 99999999999999999999\r\n', replies.UNKNOWN),
    "starttls-under-tls": (b"STARTTLS\r\n", replies.UNKNOWN),
    "starttls-with-an-argument": (b'STARTTLS "now"\r\n', replies.UNKNOWN),
    "cancelled": (b'AUTHENTICATE "PLAIN"\r\n"*"\r\nNOOP\r\n', b'""\r\n' + replies.CANCELLED + replies.DONE),
    "cancelled-unquoted": (b'AUTHENTICATE "PLAIN"\r\n*\r\nNOOP\r\n', b'""\r\n' + replies.BAD_RESPONSE + replies.DONE),
    "cancelled-by-a-literal": (b'AUTHENTICATE "PLAIN"\r\n{1+}\r\n*\r\n', b'""\r\n' + replies.CANCELLED),
    "a-command-in-an-exchange": (b'AUTHENTICATE "PLAIN"\r\nLOGOUT\r\nNOOP\r\n', b'""\r\n' + replies.BAD_RESPONSE + replies.DONE),
    "not-base64": (b'AUTHENTICATE "PLAIN" "!!!!"\r\n', replies.BAD_RESPONSE),
    "no-padding": (b'AUTHENTICATE "PLAIN" "' + PLAIN[:-1] + b'"\r\n', replies.BAD_RESPONSE),
    "empty-response": (b'AUTHENTICATE "PLAIN" ""\r\n', replies.WRONG_CREDENTIALS),
    "atoms": (b"AUTHENTICATE PLAIN " + PLAIN + b"\r\n", replies.UNKNOWN),
    "three-strings": (LOGIN[:-2] + b' "x"\r\n', replies.UNKNOWN),
    "no-space-before-a-string": (b'AUTHENTICATE "PLAIN"{24+}\r\n' + PLAIN + b"\r\n", replies.UNKNOWN),
    "octets-behind-a-literal": (b'AUTHENTICATE "PLAIN" {24+}\r\n' + PLAIN + b"AAAA\r\n", replies.UNKNOWN),
    "atom-behind-a-literal": (b'AUTHENTICATE "PLAIN" {24+}\r\n' + PLAIN + b" x\r\n", replies.UNKNOWN),
    "mechanism-in-pieces": (b'AUTHENTICATE "PLAIN" {0+}\r\n {24+}\r\n' + PLAIN + b"\r\n", replies.UNKNOWN),
    "not-offered": (b'AUTHENTICATE "SCRAM-SHA-1" "biws"\r\n', replies.NOT_OFFERED),
    "external": (b'AUTHENTICATE "EXTERNAL" "YWxpY2U="\r\n', replies.NOT_OFFERED),
    "two-lines": (b'AUTHENTICATE "PLAIN" "' + base64_of(b"\0ali\r\nPUTSCRIPT\0pw") + b'"\r\n', replies.WRONG_CREDENTIALS),
    "nul-in-a-name": (b'AUTHENTICATE "PLAIN" "' + base64_of(b"\0ali\0ce\0pw") + b'"\r\n', replies.WRONG_CREDENTIALS),
    "string-never-ended": (b'AUTHENTICATE "PLAIN" "' + PLAIN + b"\r\nNOOP\r\n", replies.UNKNOWN + replies.DONE),
    "string-ended-by-an-escape": (b'NOOP "x\\"\r\nNOOP\r\n', replies.UNKNOWN + replies.DONE),
    "other-escape": (b'NOOP "\\x"\r\n', replies.UNKNOWN),
    "tag-is-a-string": (b'NOOP "a\\"b"\r\n', b'OK (TAG "a\\"b") "Done."\r\n'),
    "tag-of-two-lines": (b"NOOP {8+}\r\nOK\r\nBYE \r\n", b'OK (TAG {8}\r\nOK\r\nBYE ) "Done."\r\n'),
    "tag-is-bounded": (b"NOOP {8000+}\r\n" + b"x" * 8000 + b"\r\n", replies.UNKNOWN),
    "empty-lines": (b"\r\n \r\n", replies.UNKNOWN * 2),
    "beyond-ascii": (b"\xff\xfe\r\n" + b'NOOP "\xc3\xa4"\r\n', replies.UNKNOWN + b'OK (TAG "\xc3\xa4") "Done."\r\n'),
    "proxy-header": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", replies.UNKNOWN),
    "xclient": (b"XCLIENT ADDR=192.0.2.1\r\n", replies.UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("octets", [1, 100_000], ids=["by octets", "whole"])
@pytest.mark.parametrize(("said", "answer"), TALKS.values(), ids=TALKS)
def test_before_login(filters: Bench, context: ssl.SSLContext, said: bytes, answer: bytes, octets: int) -> None:
    """The answer is exactly this, however the octets come; the mail server hears of nothing; the dialogue goes on."""
    watch = filters.watch("sieve")
    with greeted(filters, context) as wire:
        say(wire, *(said[at : at + octets] for at in range(0, len(said), octets)), b"LOGOUT\r\n")
        assert wire.rest(within=10) == answer + replies.GOODBYE
        source = wire.local_port
    assert watch.connections() == []
    assert filters.codes(source) == [ENDED]


ENDINGS = {
    "logout": (b"LOGOUT\r\n" + LOGIN + b"NOOP\r\n", replies.GOODBYE),
    "logout-with-an-argument": (b'LOGOUT "now"\r\nNOOP\r\n', replies.GOODBYE),
    "M01-waits": (b'AUTHENTICATE "PLAIN" {24}\r\n' + PLAIN + b"\r\n", BYE),
    "literal-4-GiB": (b'AUTHENTICATE "PLAIN" {4294967296+}\r\n' + PLAIN, BYE),
    "literal-of-twenty-digits": (b'AUTHENTICATE "PLAIN" {99999999999999999999+}\r\nx', BYE),
    "literal-of-many-digits": (b'AUTHENTICATE "PLAIN" {' + b"9" * 8000 + b"+}\r\n", BYE),
    "literal-over-the-limit": (b'AUTHENTICATE "PLAIN" {33793+}\r\n', BYE),
    "literals-over-the-limit": (b'AUTHENTICATE "PLAIN"' + (b" {16000+}\r\n" + b"x" * 16000) * 3, BYE),
    "literals-without-end": (b"NOOP" + b" {0+}\r\n" * 2000, BYE),
    "literal-in-an-exchange": (b'AUTHENTICATE "PLAIN"\r\n{33793+}\r\n', b'""\r\n' + BYE),
    "literal-that-waits-in-an-exchange": (b'AUTHENTICATE "PLAIN"\r\n{24}\r\n', b'""\r\n' + BYE),
    "nul-in-a-string": (b'AUTHENTICATE "PLAIN" "AG\0FsaWNl"\r\nNOOP\r\n', BYE),
    "nul-in-a-literal": (b"NOOP {3+}\r\na\0b\r\n", BYE),
    "nul-between-commands": (b"NO\0OP\r\nNOOP\r\n", BYE),
    "bare-LF": (b"NOOP\nNOOP\n", BYE),
    "bare-CR": (b"NOOP\rNOOP\r\n", BYE),
    "string-over-two-lines": (b'NOOP "a\nNOOP"\r\n', BYE),
    "string-without-end": (b'AUTHENTICATE "PLAIN" "' + b"A" * 200_000, BYE),
    "response-without-end": (b'AUTHENTICATE "PLAIN"\r\n"' + b"A" * 200_000, b'""\r\n' + BYE),
    "a-browser": (b"POST / HTTP/1.1\r\nNOOP\r\n", BYE),
    "a-browser-asks": (b"GET /NOOP HTTP/1.1\r\nNOOP: x\r\n", BYE),
    "errors": (b"X\r\n" * (MAX_ERRORS + 1) + b"NOOP\r\n", replies.UNKNOWN * MAX_ERRORS + BYE),
    "errors-in-exchanges": (
        b'AUTHENTICATE "PLAIN"\r\n"*"\r\n' * 20,
        (b'""\r\n' + replies.CANCELLED) * MAX_ERRORS + BYE,
    ),
    "commands": (b"NOOP\r\n" * (MAX_COMMANDS + 2), replies.DONE * MAX_COMMANDS + BYE),
}  # fmt: skip


@pytest.mark.parametrize(("said", "answer"), ENDINGS.values(), ids=ENDINGS)
def test_the_end(filters: Bench, context: ssl.SSLContext, said: bytes, answer: bytes) -> None:
    """These end the dialogue; nothing behind them is answered, and the mail server hears of nothing."""
    watch = filters.watch("sieve")
    with greeted(filters, context) as wire:
        source = wire.local_port
        say(wire, said)
        got = wire.rest(within=10)
    # Whoever sends on gets a reset, which may overtake the last words.
    assert got == answer if len(said) < 5000 else answer.startswith(got)
    assert watch.connections() == []
    assert filters.codes(source) == [ENDED]


LOGINS = {
    "M01": (b'AUTHENTICATE "PLAIN" {24+}\r\n' + PLAIN + b"\r\n", b""),
    "M01-string": (LOGIN, b""),
    "M01-mechanism-too": (b"AUTHENTICATE {5+}\r\nPLAIN {24+}\r\n" + PLAIN + b"\r\n", b""),
    "M01-lower-case": (LOGIN.replace(b"AUTHENTICATE", b"authenticate").replace(b"PLAIN", b"plain"), b""),
    "M01-trailing-space": (LOGIN[:-2] + b" \r\n", b""),
    "M01-asked": (b'AUTHENTICATE "PLAIN"\r\n"' + PLAIN + b'"\r\n', b'""\r\n'),
    "M01-asked-literal": (b'AUTHENTICATE "PLAIN"\r\n{24+}\r\n' + PLAIN + b"\r\n", b'""\r\n'),
    "M01-login": (
        b'AUTHENTICATE "LOGIN" "YWxpY2U="\r\n{16+}\r\nd29uZGVybGFuZA==\r\n',
        b'"' + base64_of(b"Password:") + b'"\r\n',
    ),
}
BEHIND = b'PUTSCRIPT "x" {12+}\r\n\n.\nLOGOUT\r\n"\r\nHAVESPACE "x" 9\r\n'


@pytest.mark.parametrize("way", ["whole", "by lines", "by octets"])
@pytest.mark.parametrize(("said", "asked"), LOGINS.values(), ids=LOGINS)
def test_login(filters: Bench, context: ssl.SSLContext, said: bytes, asked: bytes, way: str) -> None:
    """Each way to write a log-in is told upstream as one, and what is pipelined behind arrives once, whatever the cut."""
    watch = filters.watch("sieve")
    sent = said + BEHIND
    pieces = {"whole": [sent], "by lines": [*by_lines(sent)], "by octets": [bytes([octet]) for octet in sent]}
    answer = asked + WELCOME + b'OK "done"\r\n' * 3 + b'OK "bye"\r\n' + b'OK "done"\r\n' * 2
    with greeted(filters, context) as wire:
        say(wire, *pieces[way])
        assert wire.exactly(len(answer)) == answer
        source = wire.local_port
    (one,) = watch.connections()
    assert bytes(one.received) == PROOF + BEHIND
    assert one.sasl == [("PLAIN", b"\0alice\0wonderland")]
    assert filters.codes(source) == [ALLOWED, OVER]


def test_a_refused_phone(filters: Bench, context: ssl.SSLContext) -> None:
    """What is pipelined behind a log-in that the policy refuses is answered here, and goes nowhere."""
    watch = filters.watch("sieve")
    with greeted(filters, context) as wire:
        say(wire, MALLORY + b'PUTSCRIPT "x" {4+}\r\nkeep\r\nLOGOUT\r\n')
        first, *others = wire.rest(within=10).splitlines(keepends=True)
        source = wire.local_port
    assert first.startswith(b'NO "Mail is paused: ')
    assert b"".join(others) == replies.UNKNOWN + replies.GOODBYE
    (one,) = watch.connections()
    assert b"PUTSCRIPT" not in one.received
    assert filters.codes(source) == [DENIED_APP, ENDED]


def test_another_authzid_is_recorded(filters: Bench, context: ssl.SSLContext) -> None:
    """Whoever asks for another's mailbox is refused, and on record."""
    watch = filters.watch("sieve")
    with greeted(filters, context) as wire:
        wire.send(b'AUTHENTICATE "PLAIN" "' + base64_of(b"bob\0alice\0wonderland") + b'"\r\n')
        assert wire.exactly(len(replies.NOT_ANOTHER)) == replies.NOT_ANOTHER
        source = wire.local_port
    assert watch.connections() == []
    assert filters.codes(source) == [REFUSED, ENDED]


@pytest.mark.parametrize(
    "behind",
    [b"NOOP\r\n", LOGIN, b"CAPABILITY\r\n", b"\x16\x03\x01\x02\x00", b"\r\n", b"N"],
    ids=["T04", "T04-login", "T04-capability", "T04-hello", "T04-empty-line", "T04-octet"],
)
def test_octets_behind_starttls(filters: Bench, behind: bytes) -> None:
    """One segment with more than STARTTLS in it ends the connection: none of it is answered, in the clear or in TLS."""
    watch = filters.watch("sieve")
    with greeted(filters, None) as wire:
        wire.send(b"STARTTLS\r\n" + behind)
        assert wire.rest(within=10) == b""
        source = wire.local_port
    assert watch.connections() == []
    assert [detail(one).get("ended") for one in filters.audit.of(source)] == ["octets_behind_starttls"]


def test_t04_octets_behind_the_answer_are_tls_or_nothing(filters: Bench) -> None:
    """A plaintext command sent after the go-ahead is no handshake: the connection ends without a word in the clear."""
    watch = filters.watch("sieve")
    with greeted(filters, None) as wire:
        wire.send(b"STARTTLS\r\n")
        assert wire.exactly(len(replies.START_TLS)) == replies.START_TLS
        wire.send(LOGIN)
        said = wire.rest(within=10)
        source = wire.local_port
    assert said == b"" or said.startswith(b"\x15\x03"), "a TLS alert at most"
    assert watch.connections() == []
    assert filters.codes(source) == [ENDED]


def test_t04_after_starttls_the_session_is_new(filters: Bench, context: ssl.SSLContext) -> None:
    """The capabilities come again, unasked; a begun exchange and the errors from before TLS are forgotten."""
    with greeted(filters, None) as wire:
        wire.send(b"X\r\n" * (MAX_ERRORS - 1) + b'AUTHENTICATE "PLAIN"\r\n')
        answer = replies.UNKNOWN * (MAX_ERRORS - 1) + replies.NEEDS_TLS
        assert wire.exactly(len(answer)) == answer
        wire.send(b"STARTTLS\r\n")
        assert wire.exactly(len(replies.START_TLS)) == replies.START_TLS
        wire.start_tls(context)
        again = IN_TLS + replies.TLS_IS_ON
        assert wire.exactly(len(again)) == again
        say(wire, b'"' + PLAIN + b'"\r\nX\r\n' + LOGIN)
        answer = replies.UNKNOWN * 2 + WELCOME
        assert wire.exactly(len(answer)) == answer
        source = wire.local_port
    assert filters.codes(source) == [ALLOWED, OVER]


def test_t04_credentials_in_the_clear(filters: Bench) -> None:
    """No mechanism is offered before TLS; what is sent all the same is used nowhere, and recorded."""
    watch = filters.watch("sieve")
    with greeted(filters, None) as wire:
        say(wire, b'AUTHENTICATE "PLAIN"\r\n' + LOGIN + b'AUTHENTICATE "NTLM" {4+}\r\nAAAA\r\nLOGOUT\r\n')
        assert wire.rest(within=10) == replies.NEEDS_TLS * 3 + replies.GOODBYE
        source = wire.local_port
    assert watch.connections() == []
    assert filters.codes(source) == [EXPOSED, EXPOSED, ENDED]


SECOND_LOGINS = {
    "M03-offered": (Script(protocol="sieve", accepts_all=True, sieve_features=(b"UNAUTHENTICATE",)), False),
    "M03-lower-case": (Script(protocol="sieve", accepts_all=True, sieve_features=(b"unauthenticate",)), False),
    "M03-hidden": (Script(protocol="sieve", accepts_all=True, unauthenticate=b'OK "done"\r\n'), True),
    "M03-bye": (Script(protocol="sieve", accepts_all=True, unauthenticate=b'BYE "what"\r\n'), True),
    "M03-strings": (Script(protocol="sieve", accepts_all=True, unauthenticate=b'"SASL" "PLAIN"\r\n'), True),
}


@pytest.mark.parametrize(("script", "is_hidden"), SECOND_LOGINS.values(), ids=SECOND_LOGINS)
def test_a_server_that_can_undo_a_login_is_not_used(
    filters: Bench, context: ssl.SSLContext, script: Script, is_hidden: bool
) -> None:
    """A second log-in could travel through the relay unseen: who offers it gets no password, who takes it no session."""
    server = filters.servers["sieve"]
    good, server.script = server.script, script
    try:
        watch = filters.watch("sieve")
        with greeted(filters, context) as wire:
            say(wire, LOGIN + b"UNAUTHENTICATE\r\n" + MALLORY + b"LOGOUT\r\n")
            got = wire.rest(within=10)
            source = wire.local_port
        received = [bytes(one.received) for one in watch.connections()]
    finally:
        server.script = good
    assert got == replies.FAULT + replies.UNKNOWN + replies.FAULT + replies.GOODBYE
    assert received == ([PROOF, MALLORY + b"UNAUTHENTICATE\r\n"] if is_hidden else [])
    assert filters.codes(source) == [FAULT, FAULT, ENDED]


def test_m03_a_second_login_is_the_mail_servers_to_refuse(filters: Bench, context: ssl.SSLContext) -> None:
    """A server that said NO to UNAUTHENTICATE gets the client's own as it is: the gate adds nothing, and logs nobody in."""
    watch = filters.watch("sieve")
    sent = b"UNAUTHENTICATE\r\n" + MALLORY
    with greeted(filters, context) as wire:
        say(wire, LOGIN + sent)
        answer = WELCOME + b'OK "done"\r\n' * 2
        assert wire.exactly(len(answer)) == answer
        source = wire.local_port
    (one,) = watch.connections()
    assert bytes(one.received) == PROOF + sent
    assert one.sasl == [("PLAIN", b"\0alice\0wonderland")]
    assert filters.codes(source) == [ALLOWED, OVER]
