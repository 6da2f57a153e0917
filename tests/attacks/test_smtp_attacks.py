"""Attacks on submission, over a socket: all that the client gets, all that the mail server gets, the record."""

import ssl

import pytest

from testkit.attack_bench import ALLOWED, DENIED_APP, ENDED, EXPOSED, OVER, REFUSED, Bench, say
from testkit.gate import detail
from testkit.imap_rows import XOAUTH2, base64_of
from testkit.recorder import OAUTH_ERROR
from testkit.smtp_talks import (
    AUTHED,
    EHLO,
    EHLO_FIRST,
    ENDINGS,
    GREETING,
    NEEDS_STARTTLS,
    NEEDS_TLS,
    OFFER,
    PLAIN,
    PLAIN_OFFER,
    TALKS,
    WRONG,
    b64,
)
from testkit.wire import Wire

GOODBYE = b"221 2.0.0 Goodbye\r\n"


def greeted(bench: Bench, context: ssl.SSLContext | None) -> Wire:
    """Connect, with TLS at once when there is a context, and read the greeting."""
    ports = bench.gate.ports
    wire = Wire(ports.submission) if context is None else Wire(ports.submissions, context)
    assert wire.exactly(len(GREETING)) == GREETING
    return wire


def talk(wire: Wire, *exchanges: tuple[bytes, bytes]) -> None:
    """Say and hear exactly this."""
    for said, answer in exchanges:
        wire.send(said)
        assert wire.exactly(len(answer)) == answer, said


def admitted(bench: Bench, context: ssl.SSLContext) -> Wire:
    """Log in as somebody with a clean phone."""
    wire = greeted(bench, context)
    talk(wire, EHLO, (b"AUTH PLAIN " + PLAIN + b"\r\n", AUTHED))
    return wire


@pytest.mark.parametrize("exchanges", TALKS.values(), ids=TALKS)
def test_before_login(bench: Bench, context: ssl.SSLContext, exchanges: list[tuple[bytes, bytes]]) -> None:
    """Every answer is exactly this, nothing was said in between, and the mail server hears of nothing."""
    watch = bench.watch("smtp")
    with greeted(bench, context) as wire:
        talk(wire, *exchanges, (b"QUIT\r\n", GOODBYE))
        assert wire.rest(within=10) == b""
        port = wire.local_port

    assert watch.connections() == []
    # Whoever asks for another's mailbox is on record.
    asks = any(b"acting as another" in answer.lower() for _, answer in exchanges)
    assert bench.codes(port) == ([REFUSED, ENDED] if asks else [ENDED])


@pytest.mark.parametrize(("said", "answer"), ENDINGS.values(), ids=ENDINGS)
def test_the_end(bench: Bench, context: ssl.SSLContext, said: bytes, answer: bytes) -> None:
    """These end the dialogue; nothing behind them is answered, and the mail server hears of nothing."""
    watch = bench.watch("smtp")
    with greeted(bench, context) as wire:
        port = wire.local_port
        say(wire, said)
        got = wire.rest(within=10)

    # Whoever sends on gets a reset, which may overtake the last words.
    assert got == answer if len(said) < 1000 else answer.startswith(got)
    assert watch.connections() == []
    assert bench.codes(port) == [ENDED]


LOGINS = {
    "S07": [
        (b"AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n"),
        (b"YWxpY2U=\r\n", b"334 UGFzc3dvcmQ6\r\n"),
        (b"d29uZGVybGFuZA==\r\n", AUTHED),
    ],
    "S08": [(b"AUTH LOGIN YWxpY2U=\r\n", b"334 UGFzc3dvcmQ6\r\n"), (b"d29uZGVybGFuZA==\r\n", AUTHED)],
    "S08-lower-case": [(b"auth login YWxpY2U=\r\n", b"334 UGFzc3dvcmQ6\r\n"), (b"d29uZGVybGFuZA==\r\n", AUTHED)],
    "S01-plain": [(b"AUTH PLAIN " + PLAIN + b"\r\n", AUTHED)],
    "S01-plain-asked": [(b"AUTH PLAIN\r\n", b"334 \r\n"), (PLAIN + b"\r\n", AUTHED)],
}


@pytest.mark.parametrize("exchanges", LOGINS.values(), ids=LOGINS)
def test_login(bench: Bench, context: ssl.SSLContext, exchanges: list[tuple[bytes, bytes]]) -> None:
    """The ways to log in, with exactly these prompts; the mail server gets the same name and password from each."""
    watch = bench.watch("smtp")
    with greeted(bench, context) as wire:
        talk(wire, EHLO, *exchanges, (b"NOOP\r\n", b"250 2.0.0 done\r\n"))
        port = wire.local_port

    assert watch.sasl() == [("PLAIN", b"\0alice\0wonderland")]
    assert watch.after_login() == [b"NOOP\r\n"]
    assert bench.codes(port) == [ALLOWED, OVER]


def test_s09_a_second_auth_is_the_mail_servers_to_refuse(bench: Bench, context: ssl.SSLContext) -> None:
    """After the hand-over AUTH reaches the mail server as it is, which must say 503; the gate adds nothing."""
    watch = bench.watch("smtp")
    again = b"AUTH PLAIN " + b64("\0mallory\0evil") + b"\r\n"
    with admitted(bench, context) as wire:
        talk(wire, (again, b"250 2.0.0 done\r\n"))
        port = wire.local_port
    assert bench.codes(port) == [ALLOWED, OVER]
    assert watch.after_login() == [again]
    assert watch.sasl() == [("PLAIN", b"\0alice\0wonderland")]


def test_s14_control_octets_in_a_name(bench: Bench, context: ssl.SSLContext) -> None:
    """A name or password that would be two lines is refused before anybody sees it, in every mechanism."""
    evil = "ali\r\nMAIL FROM:<e@v>"
    watch = bench.watch("smtp")
    with greeted(bench, context) as wire:
        talk(
            wire,
            EHLO,
            (b"AUTH PLAIN " + b64(f"\0{evil}\0pw") + b"\r\n", WRONG),
            (b"AUTH PLAIN " + b64("\0alice\0pw\r\nQUIT") + b"\r\n", WRONG),
            (b"AUTH LOGIN " + b64(evil) + b"\r\n", b"334 UGFzc3dvcmQ6\r\n"),
            (b64("pw") + b"\r\n", WRONG),
            (b"AUTH XOAUTH2 " + b64(f"user={evil}\x01auth=Bearer t\x01\x01") + b"\r\n", WRONG),
        )
    assert watch.connections() == []


def test_s20_an_early_talker_loses_nothing(bench: Bench) -> None:
    """What is sent before the greeting is answered behind it."""
    with Wire(bench.gate.ports.submission) as wire:
        wire.send(EHLO[0])
        assert wire.exactly(len(GREETING + PLAIN_OFFER)) == GREETING + PLAIN_OFFER
        port = wire.local_port
    assert bench.codes(port) == [ENDED]


END_OF_DATA = {
    "S30": b"\n.\n",
    "S31": b"\n.\r\n",
    "S32": b"\r\n.\n",
    "S32-lone-cr": b"\r\n.\r",
    "S34": b"\r.\n",
    "S34-both-cr": b"\r.\r",
    "S36": b"\r.\r\n",
    "S38": b"\r\n\0.\r\n",
    "S39": b"\r\n.\0\r\n",
    "S41": b"\r\n.\r\r\n",
    "S41-two-lf": b"\r\n.\n\n",
    "S41-space": b"\r\n. \r\n",
    "S41-two-dots": b"\r\n..\r\n",
}
SMUGGLED = b"MAIL FROM:<other@example.com>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nsecond\r\n.\r\n"


def relayed(bench: Bench, context: ssl.SSLContext, *pieces: bytes) -> None:
    """Send this behind a log-in: the mail server gets it to the octet, the client its answers, and both are counted.

    Nothing is refused, changed or added, and nothing but octets is on record: what a message is, the mail server says.
    """
    sent = b"".join(pieces)
    answers = b"".join(
        b"221 2.0.0 bye\r\n" if line.strip().upper() == b"QUIT" else b"250 2.0.0 done\r\n"
        for line in sent.split(b"\n")[:-1]
    )
    watch = bench.watch("smtp")
    with admitted(bench, context) as wire:
        say(wire, *pieces)
        assert wire.exactly(len(answers)) == answers
        wire.say_goodbye()
        assert wire.rest(within=10) == b""
        port = wire.local_port
    (one,) = watch.connections()
    assert one.after_login == sent
    assert one.sasl == [("PLAIN", b"\0alice\0wonderland")]
    allowed, over = bench.audit.of(port)
    assert bench.codes(port) == [ALLOWED, OVER]
    assert (detail(over)["octets_up"], detail(over)["octets_down"]) == (len(sent), len(answers))
    assert detail(over)["ended"] == "client"
    assert allowed["user"]["name"] == over["user"]["name"] == "alice"
    assert "example.com" not in str([allowed["message"], over["message"], detail(allowed), detail(over)])


@pytest.mark.parametrize("end", END_OF_DATA.values(), ids=END_OF_DATA)
@pytest.mark.parametrize("way", ["one piece", "cut at the end", "by octets"])
def test_the_relay_is_exact(bench: Bench, context: ssl.SSLContext, end: bytes, way: str) -> None:
    """No end of data, true or false, is touched: the mail server decides on the very octets that the phone sent."""
    before = b"MAIL FROM:<alice@example.com>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: x\r\n\r\nfirst"
    sent = before + end + SMUGGLED + b"QUIT\r\n"
    middle = len(before) + len(end) // 2
    match way:
        case "one piece":
            relayed(bench, context, sent)
        case "cut at the end":
            relayed(bench, context, sent[:middle], sent[middle:])
        case _:
            around = [sent[at : at + 1] for at in range(len(before) - 2, len(before) + len(end) + 2)]
            relayed(bench, context, sent[: len(before) - 2], *around, sent[len(before) + len(end) + 2 :])


CHUNKS = {
    "S42": b"BDAT 3\r\n\n.\nBDAT 5 LAST\r\n\r\n.\r\nQUIT\r\n",
    "S42-commands-in-a-chunk": b"BDAT %d LAST\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\nQUIT\r\n",
    "S42-other-length": b"BDAT 100 LAST\r\n\r\n.\r\n" + SMUGGLED + b"QUIT\r\n",
    "S42-absurd-length": b"BDAT 18446744073709551616 LAST\r\n" + SMUGGLED + b"QUIT\r\n",
}


@pytest.mark.parametrize("sent", CHUNKS.values(), ids=CHUNKS)
def test_chunks_are_relayed_as_they_are(bench: Bench, context: ssl.SSLContext, sent: bytes) -> None:
    """Chunks are octets: dots, line ends and lengths in them mean nothing to the gate."""
    relayed(bench, context, sent)


PARAMETERS = {
    "S43": b"MAIL FROM:<a@b> AUTH=<admin@example.com> SUBMITTER=x@y\r\nQUIT\r\n",
    "S43-burl": b"BURL imap://host/;uid=1 LAST\r\nQUIT\r\n",
    "S43-xclient": b"XCLIENT ADDR=192.0.2.1 LOGIN=admin\r\nQUIT\r\n",
}


@pytest.mark.parametrize("sent", PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_of_mail_are_the_mail_servers_to_judge(bench: Bench, context: ssl.SSLContext, sent: bytes) -> None:
    """AUTH= and SUBMITTER on MAIL pass as they are, and what is not offered here is still the mail server's to refuse."""
    relayed(bench, context, sent)


def test_o13_a_refused_token_is_told_its_error_first(choosy: Bench, context: ssl.SSLContext) -> None:
    """The error is a 334, and 535 comes behind the client's empty line."""
    watch = choosy.watch("smtp")
    with greeted(choosy, context) as wire:
        talk(
            wire,
            EHLO,
            (b"AUTH XOAUTH2 " + base64_of(XOAUTH2) + b"\r\n", b"334 " + base64_of(OAUTH_ERROR) + b"\r\n"),
            (b"\r\n", WRONG),
            (b"NOOP\r\n", b"250 2.0.0 OK\r\n"),
        )
        port = wire.local_port
    assert watch.sasl() == [("XOAUTH2", XOAUTH2)]
    assert choosy.codes(port) == [REFUSED, ENDED]


def test_t10_credentials_in_the_clear(bench: Bench) -> None:
    """AUTH is not offered before TLS; what is sent all the same is refused, used nowhere, and recorded."""
    watch = bench.watch("smtp")
    with greeted(bench, None) as wire:
        talk(
            wire,
            (EHLO[0], PLAIN_OFFER),
            (b"AUTH PLAIN " + PLAIN + b"\r\n", NEEDS_TLS),
            (b"AUTH LOGIN\r\n", NEEDS_TLS),
            (b"MAIL FROM:<a@b>\r\n", NEEDS_STARTTLS),
        )
        port = wire.local_port
    assert watch.connections() == []
    assert bench.codes(port) == [EXPOSED, ENDED]


@pytest.mark.parametrize(
    "behind",
    [b"EHLO inj\r\n", b"EHLO a\r\nAUTH PLAIN x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<a@x>\r\nDATA\r\n", b"\x16\x03\x01", b"N"],
    ids=["T02", "T05", "T02-hello", "T02-octet"],
)
def test_octets_behind_starttls(bench: Bench, context: ssl.SSLContext, behind: bytes) -> None:
    """One segment with more than STARTTLS in it ends the connection: none of it is answered, in the clear or in TLS."""
    watch = bench.watch("smtp")
    with greeted(bench, None) as wire:
        talk(wire, (EHLO[0], PLAIN_OFFER))
        wire.send(b"STARTTLS\r\n" + behind)
        assert wire.rest(within=10) == b""
        port = wire.local_port
    assert watch.connections() == []
    assert [one["unmapped"]["gatekeeper"]["ended"] for one in bench.audit.of(port)] == ["octets_behind_starttls"]


def test_t02_after_starttls_the_session_is_new(bench: Bench, context: ssl.SSLContext) -> None:
    """The EHLO from before TLS is forgotten: MAIL and AUTH need a new one."""
    with greeted(bench, None) as wire:
        talk(wire, (EHLO[0], PLAIN_OFFER), (b"STARTTLS\r\n", b"220 2.0.0 Ready to start TLS\r\n"))
        wire.start_tls(context)
        talk(
            wire,
            (b"MAIL FROM:<a@b>\r\n", EHLO_FIRST),
            (b"AUTH PLAIN " + PLAIN + b"\r\n", EHLO_FIRST),
            (EHLO[0], OFFER),
            (b"AUTH PLAIN " + PLAIN + b"\r\n", AUTHED),
        )


def test_s10_a_refused_phone_sends_no_mail(bench: Bench, context: ssl.SSLContext) -> None:
    """What is pipelined behind a refused AUTH is answered like any mail before log-in, and goes nowhere."""
    watch = bench.watch("smtp")
    with greeted(bench, context) as wire:
        talk(wire, EHLO)
        say(wire, b"AUTH PLAIN " + b64("\0mallory\0evil") + b"\r\nMAIL FROM:<a@b>\r\nDATA\r\nQUIT\r\n")
        first, *others = wire.rest(within=10).splitlines(keepends=True)
        port = wire.local_port
    assert first.startswith(b"535 5.7.1 Mail is paused")
    assert others == [b"530 5.7.0 Authentication required\r\n"] * 2 + [GOODBYE]
    (one,) = watch.connections()
    assert b"MAIL" not in one.received
    assert bench.codes(port) == [DENIED_APP, ENDED]
