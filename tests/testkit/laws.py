"""What holds for any octets at all, on either side of the gate: laws for Hypothesis, the fuzzer and its corpus.

Each law takes octets in pieces and returns what became of them; that is the same for any pieces of the same octets.
A law that does not hold raises AssertionError; anything else that is raised is a fault of the parser.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache

from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement.flow.dialogue import Dialogue, NewDialogue
from gatekeeper.enforcement.imap.dialogue import imap_dialogue
from gatekeeper.enforcement.pop3.dialogue import Pop3Dialogue
from gatekeeper.enforcement.sieve.dialogue import SieveDialogue
from gatekeeper.enforcement.smtp.dialogue import smtp_dialogue
from gatekeeper.protocols.imap import server as imap
from gatekeeper.protocols.imap.client import ImapLogin
from gatekeeper.protocols.lines import MAX_AUTH_OCTETS, LineReceiver
from gatekeeper.protocols.login import (
    MAX_LINE_OCTETS,
    NEED_DATA,
    Failed,
    LoggedIn,
    LoginClient,
    NeedData,
    Rejected,
    Send,
    StartTls,
    Step,
)
from gatekeeper.protocols.pop3.client import Pop3Login
from gatekeeper.protocols.pop3.server import Receiver as Pop3Receiver
from gatekeeper.protocols.proxy_protocol.header import MAX_OCTETS, MalformedHeader
from gatekeeper.protocols.proxy_protocol.header import parse as parse_proxy_header
from gatekeeper.protocols.sasl.mechanisms import (
    MAX_RESPONSE_OCTETS,
    Credentials,
    Mechanism,
    SaslError,
    decode_base64,
    parse_bearer,
    parse_plain,
    password_credentials,
    plain_response,
)
from gatekeeper.protocols.sieve import server as sieve
from gatekeeper.protocols.sieve.client import SieveLogin
from gatekeeper.protocols.smtp.client import SmtpLogin
from gatekeeper.protocols.smtp.server import Receiver as SmtpReceiver
from testkit.gate_fakes import Outcome, ScriptedPeer, fault, refuse, reject

OFFERS = frozenset({"AUTH=PLAIN", "AUTH=XOAUTH2", "AUTH=OAUTHBEARER"})
PASSWORD = Credentials(mechanism=Mechanism.LOGIN, name="alice", secret=Secret(b'p"w'))
LONG = Credentials(mechanism=Mechanism.LOGIN, name="alice", secret=Secret(b"w" * 240))
"""Too long for a line of POP3: the response waits to be asked for."""
TOKEN = Credentials(mechanism=Mechanism.XOAUTH2, name="alice", secret=Secret(b"user=alice\x01auth=Bearer t\x01\x01"))

Law = Callable[[Sequence[bytes]], object]


def imap_events(pieces: Sequence[bytes], *, responses: bool = False) -> list[imap.Event]:
    """All events up to the first fatal one; the receiver never keeps more than one command's worth."""
    receiver = imap.Receiver()
    found: list[imap.Event] = []
    if responses:
        receiver.expect_response(MAX_RESPONSE_OCTETS)
    for piece in pieces:
        receiver.receive_data(piece)
        while not isinstance(event := receiver.next_event(), imap.NeedData):
            if isinstance(event, imap.Fatal):
                # Its reason is for a reader of the code: which of two faults is seen first may depend on a cut.
                return [*found, imap.Fatal("")]
            found.append(event)
            if responses:
                receiver.expect_response(MAX_RESPONSE_OCTETS)
        limit = MAX_RESPONSE_OCTETS if responses else imap.MAX_LINE_OCTETS
        assert len(receiver.trailing_data) <= limit + 1
        kept = sum(len(octets) for octets, _ in receiver._pieces)
        assert kept <= max(imap.MAX_COMMAND_OCTETS, imap.MAX_ID_OCTETS) + imap.MAX_LINE_OCTETS
    return found


def sieve_events(pieces: Sequence[bytes], *, responses: bool = False) -> list[sieve.Event]:
    """All events up to the first fatal one; the receiver never keeps more than one command's worth."""
    receiver = sieve.Receiver()
    found: list[sieve.Event] = []
    if responses:
        receiver.expect_response()
    for piece in pieces:
        receiver.receive_data(piece)
        while not isinstance(event := receiver.next_event(), sieve.NeedData):
            if isinstance(event, sieve.Fatal):
                return [*found, sieve.Fatal("")]
            found.append(event)
            if responses:
                receiver.expect_response()
        assert len(receiver.trailing_data) <= sieve.MAX_COMMAND_OCTETS + 1
        assert sum(len(octets) for octets, _ in receiver._pieces) <= sieve.MAX_COMMAND_OCTETS
    return found


def lines(receiver: LineReceiver, pieces: Sequence[bytes], *, responses: bool = False) -> list[object]:
    """All lines up to the first fatal one; no more than one line is kept."""
    found: list[object] = []
    for piece in pieces:
        receiver.receive_data(piece)
        while (line := receiver.next_response() if responses else receiver.next_command()) is not None:
            found.append(line)
            if not isinstance(line, bytes):
                return found
            assert not set(line) & set(b"\r\n\0")
        assert len(receiver.trailing_data) <= MAX_AUTH_OCTETS + 1
    return found


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """A loop that never runs: the SMTP front only asks for one."""
    return asyncio.new_event_loop()


def close_loop() -> None:
    """Close the loop, should there be one."""
    if _loop.cache_info().currsize:
        _loop().close()
        _loop.cache_clear()


def _dialogue(new: NewDialogue, pieces: Sequence[bytes], outcomes: Sequence[Outcome] = ()) -> object:
    peer = ScriptedPeer(upstream_offers=OFFERS, outcomes=outcomes, takes_certificate=bool(outcomes))
    dialogue: Dialogue = new(peer)
    dialogue.greet()
    for piece in pieces:
        peer.feed(dialogue, piece)
    dialogue.closed()
    assert len(peer.told) <= 200_000, "what a client gets is bounded"
    return peer.told, peer.logins, peer.upstream, peer.closed


def imap_talk(pieces: Sequence[bytes]) -> object:
    """Replies, log-ins, and what goes to the mail server."""
    return _dialogue(imap_dialogue(), pieces)


def smtp_talk(pieces: Sequence[bytes]) -> object:
    """Replies, log-ins, and what goes to the mail server."""
    return _dialogue(smtp_dialogue("gate.example.com", _loop()), pieces)


FAILURES = (reject, fault, refuse)
"""What the first log-ins of a dialogue come to, so that it goes on."""


def pop3_talk(pieces: Sequence[bytes]) -> object:
    """Replies, log-ins, and what goes to the mail server; in the clear there is no log-in."""
    _in_the_clear(Pop3Dialogue, pieces)
    return _dialogue(Pop3Dialogue, pieces), _dialogue(Pop3Dialogue, pieces, FAILURES)


def sieve_talk(pieces: Sequence[bytes]) -> object:
    """Replies, log-ins, and what goes to the mail server; in the clear there is no log-in."""
    _in_the_clear(SieveDialogue, pieces)
    return _dialogue(SieveDialogue, pieces), _dialogue(SieveDialogue, pieces, FAILURES)


def _in_the_clear(new: NewDialogue, pieces: Sequence[bytes]) -> None:
    """STARTTLS is answered with all that stands behind it in hand, and nothing that looks like a log-in is one."""
    peer = ScriptedPeer(is_encrypted=False, offers_tls=True, takes_credentials=False, upstream_offers=OFFERS)
    dialogue: Dialogue = new(peer)
    dialogue.greet()
    for piece in pieces:
        peer.feed(dialogue, piece)
        if peer.tls:
            leftover = peer.tls[-1][1]
            assert b"".join(pieces).find(leftover) >= 0
            break
    assert peer.logins == []
    assert peer.upstream == b""
    dialogue.closed()


def steps(client: LoginClient, pieces: Sequence[bytes], *, in_the_clear: Sequence[bytes] = ()) -> list[Step]:
    """All steps of a log-in: one end, commands of one line each; before STARTTLS none but those `in_the_clear`."""
    taken: list[Step] = []
    clear = bool(in_the_clear)
    for piece in pieces:
        client.receive_data(piece)
        while not isinstance(step := client.next_step(), NeedData):
            taken.append(step)
            if isinstance(step, StartTls):
                clear = False
                client.tls_started()
            elif isinstance(step, Send):
                assert not clear or step.data in in_the_clear, "credentials in the clear"
                assert step.data.count(b"\n") == 1, "a line is one line"
                assert step.data.endswith(b"\r\n")
                assert b"\0" not in step.data
            else:
                assert not clear or isinstance(step, Failed)
                assert not isinstance(step, LoggedIn | Rejected) or step.text.isprintable(), "told to people"
        assert all(offer.isprintable() for offer in client.offers), "told to phones"
        if taken and not isinstance(taken[-1], Send | StartTls):
            continue
        assert len(client.trailing_data) <= MAX_LINE_OCTETS
    assert all(isinstance(step, Send | StartTls) for step in taken[:-1]), "one end"
    return taken


def imap_login(pieces: Sequence[bytes]) -> object:
    """The steps of logging in at an IMAP server, in every way; with STARTTLS, where a cut decides, only lawfully."""
    steps(
        ImapLogin(PASSWORD, name="alice", starttls=True, tag="T"),
        pieces,
        in_the_clear=(b"Tc CAPABILITY\r\n", b"Ts STARTTLS\r\n"),
    )
    return (
        steps(ImapLogin(PASSWORD, name="alice", starttls=False, tag="T"), pieces),
        steps(ImapLogin(TOKEN, name="alice", starttls=False, tag="T"), pieces),
    )


def smtp_login(pieces: Sequence[bytes]) -> object:
    """The steps of logging in at a submission server, in every way; with STARTTLS as on IMAP."""
    told = ("192.0.2.1", 40000)
    steps(
        SmtpLogin(PASSWORD, name="alice", starttls=True, ehlo_name="x"),
        pieces,
        in_the_clear=(b"EHLO x\r\n", b"STARTTLS\r\n"),
    )
    return (
        steps(SmtpLogin(PASSWORD, name="alice", starttls=False, ehlo_name="x"), pieces),
        steps(SmtpLogin(TOKEN, name="alice", starttls=False, ehlo_name="x", client=told), pieces),
        steps(SmtpLogin(PASSWORD, name="alice", starttls=False, ehlo_name="x", forbids_second_login=True), pieces),
    )


def pop3_login(pieces: Sequence[bytes]) -> object:
    """The steps of logging in at a POP3 server, in every way; with STLS as on IMAP."""
    told = ("192.0.2.1", 40000)
    steps(
        Pop3Login(PASSWORD, name="alice", starttls=True, client=told),
        pieces,
        in_the_clear=(b"CAPA\r\n", b"STLS\r\n"),
    )
    return (
        steps(Pop3Login(PASSWORD, name="alice", starttls=False), pieces),
        steps(Pop3Login(TOKEN, name="alice", starttls=False, client=told), pieces),
        steps(Pop3Login(LONG, name="alice", starttls=False), pieces),
        steps(Pop3Login(None, starttls=False), pieces),
    )


def sieve_login(pieces: Sequence[bytes]) -> object:
    """The steps of logging in at a ManageSieve server, in every way; with STARTTLS as on IMAP."""
    told = "ADDR=192.0.2.1 PORT=40000"
    steps(SieveLogin(PASSWORD, name="alice", starttls=True, xclient=told), pieces, in_the_clear=(b"STARTTLS\r\n",))
    return (
        steps(SieveLogin(PASSWORD, name="alice", starttls=False), pieces),
        steps(SieveLogin(TOKEN, name="alice", starttls=False, xclient=told), pieces),
        steps(SieveLogin(None, name="", starttls=False), pieces),
    )


def sasl(pieces: Sequence[bytes]) -> object:
    """Credentials or a SaslError; what is taken goes on unchanged, and has no control octet in a name."""
    response = b"".join(pieces)
    found: list[object] = [_taken(decode_base64, response)]
    for parse in (
        parse_plain,
        lambda octets: parse_bearer(Mechanism.XOAUTH2, octets),
        lambda octets: parse_bearer(Mechanism.OAUTHBEARER, octets),
        lambda octets: parse_bearer(Mechanism.OAUTHBEARER, b"n,a=" + octets + b"\x01auth=Bearer t\x01\x01"),
        lambda octets: password_credentials(Mechanism.LOGIN, octets, octets),
    ):
        credentials = _taken(parse, response)
        if not isinstance(credentials, Credentials):
            found.append(credentials)
        else:
            found.append((credentials.mechanism, credentials.name, credentials.secret.declassify()))
            assert credentials.name
            assert not any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in credentials.name)
            _goes_on_unchanged(credentials)
    return found


def proxy_header(pieces: Sequence[bytes]) -> object:
    """A header, or that it is none; no more is waited for than the longest header has."""
    so_far = b""
    for piece in pieces:
        so_far += piece
        try:
            header = parse_proxy_header(so_far)
        except MalformedHeader:
            return "malformed"
        if not isinstance(header, NeedData):
            assert 0 < header.octets <= len(so_far)
            assert header.source is None or header.destination is not None
            return header
        assert len(so_far) < MAX_OCTETS, "bounded"
    return NEED_DATA


def _taken(parse: Callable[[bytes], object], octets: bytes) -> object:
    try:
        return parse(octets)
    except SaslError as error:
        return error.problem


def _goes_on_unchanged(credentials: Credentials) -> None:
    secret = credentials.secret.declassify()
    if not credentials.mechanism.is_bearer:
        again = parse_plain(decode_base64(plain_response(credentials.name, secret)))
        assert (again.name, again.secret.declassify()) == (credentials.name, secret)


LAWS: dict[str, Law] = {
    "imap": lambda pieces: (imap_events(pieces), imap_events(pieces, responses=True), imap_talk(pieces)),
    "smtp": lambda pieces: (
        lines(SmtpReceiver(), pieces),
        lines(SmtpReceiver(), pieces, responses=True),
        smtp_talk(pieces),
    ),
    "pop3": lambda pieces: (
        lines(Pop3Receiver(), pieces),
        lines(Pop3Receiver(), pieces, responses=True),
        pop3_talk(pieces),
    ),
    "sieve": lambda pieces: (sieve_events(pieces), sieve_events(pieces, responses=True), sieve_talk(pieces)),
    "imap_upstream": imap_login,
    "smtp_upstream": smtp_login,
    "pop3_upstream": pop3_login,
    "sieve_upstream": sieve_login,
    "sasl": sasl,
    "proxy_header": proxy_header,
}
"""One for each parser that reads what strangers send."""


def holds(law: Law, octets: bytes) -> None:
    """Check a law on octets; the first decides where the others are cut.

    Raises AssertionError when it does not hold, and whatever a parser raises that should raise nothing.
    """
    first, sent = octets[:1], octets[1:]
    whole = law([sent])
    size = first[0] % 16 if first else 0
    cut = [sent[at : at + size] for at in range(0, len(sent), size)] if size else [sent[:7], sent[7:]]
    # In very small pieces a long stream only repeats itself, at great cost.
    assert len(cut) > 4096 or law(cut) == whole
