"""The phone's dialogue with a peer of the tests' own: what is answered, asked of the flow, and left unread."""

import asyncio
import gc
import logging
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import pytest

from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement.flow.account import offered
from gatekeeper.enforcement.flow.dialogue import Farewell, UpstreamLogin
from gatekeeper.enforcement.smtp.dialogue import MAX_ERRORS, SmtpDialogue, smtp_dialogue
from gatekeeper.protocols.login import LoggedIn, Rejected, Send
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism
from testkit.gate_fakes import NOT_ANOTHER, asks_for_another
from testkit.smtp_talks import (
    AUTHED,
    BAD_ARGUMENTS,
    EHLO,
    EHLO_FIRST,
    ENDINGS,
    FAULT,
    GREETING,
    NEEDS_LOGIN,
    NEEDS_STARTTLS,
    NEEDS_TLS,
    OFFER,
    PLAIN,
    PLAIN_OFFER,
    TALKS,
    UPSTREAM,
    WRONG,
    b64,
)

Answer = Callable[[SmtpDialogue], None]


@cache
def loop() -> asyncio.AbstractEventLoop:
    """Return a loop that never runs: a dialogue only makes a future on it."""
    return asyncio.new_event_loop()


@pytest.fixture(scope="module", autouse=True)
def _loop_closed() -> Iterator[None]:
    yield
    loop().close()


@dataclass(eq=False)
class FakePeer:
    """A flow that only notes what it is asked."""

    is_encrypted: bool = True
    offers_tls: bool = False
    takes_credentials: bool = True
    upstream_offers: frozenset[str] = UPSTREAM
    takes_certificate: bool = False
    answer: Answer | None = None
    """Given at once to every log-in, as a flow does that cannot dial."""
    sent: bytes = b""
    closed: bool = False
    exposed: list[str] = field(default_factory=list)
    credentials: list[Credentials] = field(default_factory=list)
    tls: list[bytes] = field(default_factory=list)
    """The octets behind each STARTTLS."""
    dialogue: SmtpDialogue | None = None

    def send(self, data: bytes) -> None:
        assert not self.closed
        self.sent += data

    def start_tls(self, reply: bytes, *, leftover: bytes) -> None:
        self.tls.append(leftover)
        if leftover:
            self.closed = True
            assert self.dialogue is not None
            self.dialogue.closed()
        else:
            self.sent += reply

    def encrypted(self) -> None:
        """The handshake is done."""
        self.is_encrypted, self.offers_tls, self.takes_credentials = True, False, True

    def log_in(self, credentials: Credentials) -> None:
        if asks_for_another(credentials):
            assert self.dialogue is not None
            self.dialogue.rejected(NOT_ANOTHER)
            return
        self.credentials.append(credentials)
        if self.answer is not None:
            assert self.dialogue is not None
            self.answer(self.dialogue)

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        return offered(self.upstream_offers, takes_certificate=self.takes_certificate)

    def client_says(self, hint: str) -> None:
        raise AssertionError(hint)  # nothing in SMTP says so

    def credentials_exposed(self, mechanism: str) -> None:
        self.exposed.append(mechanism)

    def close(self, last_words: bytes = b"") -> None:
        self.send(last_words)
        self.closed = True

    def told(self) -> bytes:
        """Return and forget what was sent."""
        sent, self.sent = self.sent, b""
        return sent


def greeted(peer: FakePeer | None = None) -> tuple[FakePeer, SmtpDialogue]:
    """Return a dialogue that has said hello."""
    peer = FakePeer() if peer is None else peer
    dialogue = smtp_dialogue("gate.example.com", loop())(peer)
    assert isinstance(dialogue, SmtpDialogue)
    peer.dialogue = dialogue
    dialogue.greet()
    assert peer.told() == GREETING
    return peer, dialogue


def in_the_clear() -> FakePeer:
    """Return the peer of a STARTTLS listener before TLS."""
    return FakePeer(is_encrypted=False, offers_tls=True, takes_credentials=False)


@pytest.fixture(params=["whole", "octets"])
def feed(request: pytest.FixtureRequest) -> Callable[[SmtpDialogue, bytes], None]:
    """Return a feeder of octets: all at once, or one by one."""

    def whole(dialogue: SmtpDialogue, data: bytes) -> None:
        dialogue.receive(data)

    def octets(dialogue: SmtpDialogue, data: bytes) -> None:
        for at in range(len(data)):
            dialogue.receive(data[at : at + 1])

    return whole if request.param == "whole" else octets


Feed = Callable[[SmtpDialogue, bytes], None]


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS)
def test_what_is_answered_before_the_log_in(talk: list[tuple[bytes, bytes]], feed: Feed) -> None:
    """Every command outside an accepted AUTH has its fixed answer, and the dialogue goes on."""
    peer, dialogue = greeted()
    for said, answer in talk:
        feed(dialogue, said)
        assert peer.told() == answer, said
    assert (peer.closed, peer.credentials, peer.exposed) == (False, [], [])
    dialogue.closed()


@pytest.mark.parametrize(("said", "answer"), ENDINGS.values(), ids=ENDINGS)
def test_what_ends_the_dialogue(said: bytes, answer: bytes, feed: Feed) -> None:
    """After the last words nothing more is answered."""
    peer, dialogue = greeted()
    feed(dialogue, said)
    dialogue.closed()

    assert peer.closed
    assert peer.told() == answer


def test_refused_responses_are_errors_too() -> None:
    """Credentials that cannot exist never reach the flow, and do not last for ever."""
    peer, dialogue = greeted()
    dialogue.receive(b"EHLO x\r\n" + b"AUTH PLAIN =\r\n" * MAX_ERRORS)

    assert peer.told() == OFFER + WRONG * MAX_ERRORS + b"421 4.7.0 Too many errors\r\n"
    assert peer.closed


LOG_INS = {
    "PLAIN": ([(b"AUTH PLAIN " + PLAIN + b"\r\n", b"")], Mechanism.PLAIN),
    "PLAIN, asked": ([(b"auth plain\r\n", b"334 \r\n"), (PLAIN + b"\r\n", b"")], Mechanism.PLAIN),
    "PLAIN with the same authzid": (
        [(b"AUTH PLAIN " + b64("Alice\0alice\0wonderland") + b"\r\n", b"")],
        Mechanism.PLAIN,
    ),
    "S07 LOGIN": (
        [
            (b"AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n"),
            (b"YWxpY2U=\r\n", b"334 UGFzc3dvcmQ6\r\n"),
            (b"d29uZGVybGFuZA==\r\n", b""),
        ],
        Mechanism.LOGIN,
    ),
    "S08 LOGIN with the name": (
        [(b"AUTH LOGIN YWxpY2U=\r\n", b"334 UGFzc3dvcmQ6\r\n"), (b"d29uZGVybGFuZA==\r\n", b"")],
        Mechanism.LOGIN,
    ),
}


@pytest.mark.parametrize(("talk", "mechanism"), LOG_INS.values(), ids=LOG_INS)
def test_names_and_passwords_are_handed_over(talk: list[tuple[bytes, bytes]], mechanism: Mechanism, feed: Feed) -> None:
    """PLAIN and LOGIN, with and without initial response; what follows is kept unread and in order."""
    peer, dialogue = greeted()
    for said, answer in [EHLO, *talk]:
        feed(dialogue, said)
        assert peer.told() == answer, said
    feed(dialogue, b"MAIL FROM:<a@b>\r\nQUIT\n\0")

    (credentials,) = peer.credentials
    assert (credentials.mechanism, credentials.name) == (mechanism, "alice")
    assert credentials.secret.declassify() == b"wonderland"
    assert dialogue.admitted(LoggedIn("whatever the mail server said")) == AUTHED
    assert dialogue.unread() == b"MAIL FROM:<a@b>\r\nQUIT\n\0"
    dialogue.closed()
    assert (peer.told(), peer.closed) == (b"", False)


def test_pipelined_octets_are_kept_at_every_split() -> None:
    """Wherever the octets are cut, what stands behind AUTH is left, once and in order."""
    behind = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
    said = b"EHLO x\r\nAUTH PLAIN " + PLAIN + b"\r\n" + behind
    for cut in range(len(said)):
        peer, dialogue = greeted()
        dialogue.receive(said[:cut])
        dialogue.receive(said[cut:])
        dialogue.admitted(LoggedIn(""))

        assert (peer.told(), len(peer.credentials), dialogue.unread()) == (OFFER, 1, behind), cut
        dialogue.closed()


TOKENS = {
    Mechanism.XOAUTH2: b"user=alice\x01auth=Bearer " + b"t" * 15_000 + b"\x01\x01",
    Mechanism.OAUTHBEARER: b"n,a=alice,\x01host=x\x01auth=Bearer t0ken\x01\x01",
}


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "initial"])
@pytest.mark.parametrize("mechanism", TOKENS)
def test_tokens_are_passed_on_as_they_are(mechanism: Mechanism, asked: bool) -> None:
    """A bearer response goes on unchanged, also a long one."""
    peer, dialogue = greeted()
    command = b"AUTH " + mechanism.value.encode()
    dialogue.receive(b"EHLO x\r\n" + command + (b"\r\n" if asked else b" "))
    dialogue.receive(b64(TOKENS[mechanism]) + b"\r\n")

    assert peer.told() == OFFER + (b"334 \r\n" if asked else b"")
    (credentials,) = peer.credentials
    assert (credentials.mechanism, credentials.name) == (mechanism, "alice")
    assert credentials.secret.declassify() == TOKENS[mechanism]


def test_tokens_are_not_taken_where_the_mail_server_takes_none() -> None:
    """Bearer mechanisms are offered and accepted only when the mail server offers them."""
    peer, dialogue = greeted(FakePeer(upstream_offers=frozenset()))
    dialogue.receive(b"EHLO x\r\nAUTH XOAUTH2 " + b64(TOKENS[Mechanism.OAUTHBEARER]) + b"\r\n")

    assert peer.told() == (
        b"250-gate.example.com\r\n250 AUTH PLAIN LOGIN\r\n504 5.5.4 This mechanism is not offered\r\n"
    )
    assert peer.credentials == []


def test_o13_a_token_s_error_comes_before_the_refusal(feed: Feed) -> None:
    """The mail server's challenge is passed on, answered by an empty line, and then comes 535."""
    peer, dialogue = greeted()
    dialogue.receive(b"EHLO x\r\nAUTH XOAUTH2 " + b64(TOKENS[Mechanism.XOAUTH2]) + b"\r\n")
    peer.told()
    dialogue.rejected(Rejected("535 5.7.8", "no", is_temporary=False, challenge=b"eyJzdGF0dXMiOiI0MDAifQ=="))
    assert peer.told() == b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n"
    feed(dialogue, b"\r\nNOOP\r\n")

    assert peer.told() == WRONG + b"250 2.0.0 OK\r\n"


OUTCOMES: dict[str, tuple[Answer, bytes]] = {
    "wrong password": (lambda d: d.rejected(Rejected("535 5.7.8", "user unknown", is_temporary=False)), WRONG),
    "wrong password, no code": (lambda d: d.rejected(Rejected(None, "no", is_temporary=False)), WRONG),
    "disabled": (
        lambda d: d.rejected(Rejected("525 5.7.13", "User account disabled", is_temporary=False)),
        b"525 5.7.13 User account disabled\r\n",
    ),
    "no enhanced code": (
        lambda d: d.rejected(Rejected("534", "Log in by web\r\n250 x", is_temporary=False)),
        b"534 5.7.0 Log in by web??250 x\r\n",
    ),
    "later": (lambda d: d.rejected(Rejected("454 4.7.0", "Try later", is_temporary=True)), b"454 4.7.0 Try later\r\n"),
    "going down": (lambda d: d.rejected(Rejected("421 4.3.2", "Bye", is_temporary=True)), b"454 4.3.2 Bye\r\n"),
    "policy": (lambda d: d.refused("Mail is paused: TikTök."), b"535 5.7.1 Mail is paused: TikT?k.\r\n"),
    "long reason": (lambda d: d.refused("x" * 600), b"535 5.7.1 " + b"x" * 500 + b"\r\n"),
    "fault": (lambda d: d.unavailable(), FAULT),
}


@pytest.mark.parametrize(("answer", "reply"), OUTCOMES.values(), ids=OUTCOMES)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
def test_outcomes(answer: Answer, reply: bytes, at_once: bool) -> None:
    """Each outcome has its words, and the next attempt is taken, whether the flow answers at once or later."""
    peer, dialogue = greeted(FakePeer(answer=answer if at_once else None))
    dialogue.receive(b"EHLO x\r\nAUTH PLAIN " + PLAIN + b"\r\nMAIL FROM:<a@b>\r\nAUTH PLAIN " + PLAIN + b"\r\n")
    if not at_once:
        assert peer.told() == OFFER
        answer(dialogue)
        assert len(peer.credentials) == 2
        answer(dialogue)
        peer.sent = OFFER + peer.sent

    assert peer.told() == OFFER + reply + NEEDS_LOGIN + reply
    assert len(peer.credentials) == 2
    assert dialogue.unread() == b""
    dialogue.closed()


def test_before_tls_nothing_works(feed: Feed) -> None:
    """T10: AUTH is not offered before TLS; credentials that come all the same are reported and not used."""
    peer, dialogue = greeted(in_the_clear())
    feed(dialogue, b"AUTH PLAIN " + PLAIN + b"\r\n")
    feed(dialogue, b"EHLO x\r\nAUTH PLAIN " + PLAIN + b"\r\nAUTH LOGIN\r\nauth cram-md5 x\r\nMAIL FROM:<a@b>\r\n")

    assert peer.told() == NEEDS_TLS + PLAIN_OFFER + NEEDS_TLS * 3 + NEEDS_STARTTLS
    assert peer.exposed == ["PLAIN", "PLAIN", "other"]
    assert peer.credentials == []


def test_without_tls_at_all() -> None:
    """A listener without TLS that takes no credentials neither offers AUTH nor STARTTLS."""
    peer, dialogue = greeted(FakePeer(is_encrypted=False, takes_credentials=False))
    dialogue.receive(b"EHLO x\r\nSTARTTLS\r\nAUTH PLAIN " + PLAIN + b"\r\n")

    assert peer.told() == (
        b"250-gate.example.com\r\n250-8BITMIME\r\n250 SIZE 35882577\r\n454 4.7.0 TLS not available\r\n" + NEEDS_TLS
    )


def test_after_starttls_the_session_is_new(feed: Feed) -> None:
    """T02: what was said before TLS is forgotten, and no second greeting is sent."""
    peer, dialogue = greeted(in_the_clear())
    feed(dialogue, b"EHLO x\r\nSTARTTLS now\r\nSTARTTLS\r\n")
    assert peer.told() == PLAIN_OFFER + BAD_ARGUMENTS + b"220 2.0.0 Ready to start TLS\r\n"
    assert peer.tls == [b""]
    dialogue.receive(b"EHLO inj\r\n")
    peer.encrypted()
    dialogue.tls_started()
    feed(dialogue, b"MAIL FROM:<a@b>\r\nAUTH PLAIN " + PLAIN + b"\r\n")
    assert peer.told() == EHLO_FIRST + EHLO_FIRST
    feed(dialogue, b"EHLO x\r\nMAIL FROM:<a@b>\r\nAUTH PLAIN " + PLAIN + b"\r\n")

    assert peer.told() == OFFER + NEEDS_LOGIN
    assert len(peer.credentials) == 1


@pytest.mark.parametrize(
    "behind", [b"EHLO inj\r\n", b"EHLO a\r\nAUTH PLAIN x\r\nMAIL FROM:<a@x>\r\nDATA\r\n", b"\x16\x03", b"N"]
)
def test_octets_behind_starttls_are_told_to_the_flow(behind: bytes) -> None:
    """T02, T05: injected octets are never read as commands; the flow gets them to close."""
    peer, dialogue = greeted(in_the_clear())
    dialogue.receive(b"EHLO x\r\nSTARTTLS\r\n" + behind)

    assert peer.tls == [behind]
    assert peer.told() == PLAIN_OFFER


def test_the_offer_is_the_mail_server_s() -> None:
    """U16: what leads around the gate or is over by then is left out, nothing is invented, and AUTH is ours."""
    hidden = {
        "XCLIENT NAME ADDR",
        "XFORWARD NAME",
        "STARTTLS",
        "ETRN",
        "VRFY",
        "EXPN",
        "BURL IMAP",
        "ATRN",
        "AUTH=NTLM",
    }
    shown = ["8BITMIME", "CHUNKING", "DSN", "PIPELINING", "REQUIRETLS", "SIZE 35882577", "SMTPUTF8"]
    peer, dialogue = greeted(FakePeer(upstream_offers=frozenset({*hidden, *shown, "X" * 600})))
    dialogue.receive(b"EHLO x\r\n")

    lines = peer.told().split(b"\r\n")
    assert [line[4:].decode() for line in lines[1:-2]] == shown
    assert lines[-2] == b"250 AUTH PLAIN LOGIN"


@pytest.mark.parametrize("why", Farewell)
def test_farewells(why: Farewell) -> None:
    """The last words are 421 with the reason's enhanced code."""
    _, dialogue = greeted()
    expected = {Farewell.TIMEOUT: b"421 4.4.2 ", Farewell.SHUTTING_DOWN: b"421 4.3.2 ", Farewell.FAULT: b"421 4.3.0 "}

    words = dialogue.farewell(why)
    assert words.startswith(expected.get(why, b"421 4.7.0 "))
    assert words.endswith(b"\r\n")


def upstream_login(tells: str) -> UpstreamLogin:
    return UpstreamLogin(
        name="alice", starttls=False, tag="x", client_address="192.0.2.7", client_port=4711, tells_address=tells
    )


@pytest.mark.parametrize(
    ("said", "name"), [(b"EHLO phone.local\r\n", b"phone.local"), (b"EHLO my phone\r\n", b"[192.0.2.7]")]
)
@pytest.mark.parametrize("tells", ["xclient", "none"])
def test_the_upstream_log_in_speaks_for_the_phone(said: bytes, name: bytes, tells: str) -> None:
    """EHLO upstream carries the phone's own name, and XCLIENT its address where that is configured."""
    _, dialogue = greeted()
    dialogue.receive(said)
    client = dialogue.login(
        Credentials(mechanism=Mechanism.PLAIN, name="A", secret=Secret(b"p")), upstream_login(tells)
    )
    client.receive_data(b"220 x\r\n250-x\r\n250-XCLIENT ADDR\r\n250 AUTH PLAIN\r\n")

    assert client.next_step() == Send(b"EHLO " + name + b"\r\n")
    second = client.next_step()
    assert isinstance(second, Send)
    assert second.data.startswith(b"XCLIENT ADDR=192.0.2.7" if tells == "xclient" else b"AUTH PLAIN ")


def test_an_early_talker_loses_nothing() -> None:
    """S20: what comes before the greeting is answered after it."""
    peer = FakePeer()
    dialogue = smtp_dialogue("gate.example.com", loop())(peer)
    dialogue.receive(b"EHLO x\r\n")
    assert peer.told() == b""
    dialogue.greet()

    assert peer.told() == GREETING + OFFER


def test_an_unexpected_error_is_not_told() -> None:
    """An error inside ends in fixed words, and is raised to the connection's guard."""

    class Broken(FakePeer):
        def credentials_exposed(self, mechanism: str) -> None:
            raise RuntimeError("dsn=postgresql://secret")

    peer, dialogue = greeted(Broken(is_encrypted=False, takes_credentials=False))
    with pytest.raises(RuntimeError, match="dsn"):
        dialogue.receive(b"AUTH PLAIN x\r\nNOOP\r\n")
    dialogue.receive(b"NOOP\r\n")
    dialogue.closed()

    assert peer.told() == b"421 4.3.0 Mail is temporarily unavailable; please try again later\r\n"


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the cyclic collector off: what is freed is freed by its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"EHLO x\r\n",
        b"EHLO x\r\nAUTH LOGIN\r\n",
        b"EHLO x\r\nAUTH PLAIN " + PLAIN + b"\r\n",
        b"QUIT\r\n",
        b"BAD\n",
    ],
)
def test_nothing_is_left_behind(said: bytes) -> None:
    """A closed dialogue leaves no cycle, no pending coroutine and no warning, in whatever state it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        peer, dialogue = greeted()
        dialogue.receive(said)
        front = weakref.ref(dialogue._front)
        dialogue.closed()
        dialogue.closed()
        peer.dialogue = None
        del dialogue

        assert front() is None


@pytest.mark.usefixtures("no_collector")
def test_a_dialogue_that_never_began_is_closed() -> None:
    """A connection lost during its handshake has said nothing, and leaves nothing."""
    dialogue = smtp_dialogue("gate.example.com", loop())(FakePeer())
    front = weakref.ref(dialogue._front)  # type: ignore[attr-defined]
    dialogue.closed()
    dialogue.rejected(Rejected(None, "", is_temporary=False))
    del dialogue

    assert front() is None


def test_nothing_that_a_client_sends_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a password out of turn nor any command reaches a log."""
    caplog.set_level(logging.DEBUG)
    _, dialogue = greeted()
    dialogue.receive(b"EHLO x\r\nd29uZGVybGFuZA==\r\nAUTH LOGIN\r\nYQ\r\nAUTH PLAIN " + PLAIN + b"\r\n")

    assert caplog.records == []


@pytest.mark.parametrize(
    ("said", "told", "authzid"),
    [
        (b"AUTH EXTERNAL =\r\n", b"", ""),
        (b"AUTH EXTERNAL\r\n\r\n", b"334 \r\n", ""),
        (b"AUTH external " + b64(b"alice") + b"\r\n", b"", "alice"),
    ],
    ids=["initial", "asked", "authzid"],
)
def test_external_is_tried_where_it_is_offered(said: bytes, told: bytes, authzid: str, feed: Feed) -> None:
    """E01: the response is a wish; who it is that wishes, the flow knows by the certificate."""
    peer, dialogue = greeted(FakePeer(takes_certificate=True, upstream_offers=frozenset({"AUTH=PLAIN"})))
    dialogue.receive(b"EHLO x\r\n")
    assert peer.told().endswith(b"250 AUTH PLAIN LOGIN EXTERNAL\r\n")
    taken: list[Credentials] = []
    peer.log_in = taken.append  # type: ignore[method-assign]
    feed(dialogue, said)
    assert peer.told() == told
    assert [(one.mechanism, one.name, one.authzid) for one in taken] == [(Mechanism.EXTERNAL, "", authzid)]


def test_e03_external_without_certificate_is_not_there() -> None:
    """Neither offered nor tried."""
    peer, dialogue = greeted()
    dialogue.receive(b"EHLO x\r\nAUTH EXTERNAL =\r\n")
    assert peer.told() == OFFER + b"504 5.5.4 This mechanism is not offered\r\n"
