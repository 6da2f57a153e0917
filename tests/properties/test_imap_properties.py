"""Laws of IMAP before log-in: splits change nothing, garbage is harmless and bounded, what we send parses back.

Derandomized: the same examples on every run.
"""

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement.imap.dialogue import ImapDialogue
from gatekeeper.enforcement.imap.replies import RefusalCode
from gatekeeper.protocols.imap.client import ImapLogin
from gatekeeper.protocols.imap.server import (
    MAX_COMMAND_OCTETS,
    MAX_LINE_OCTETS,
    NEED_DATA,
    Command,
    Event,
    Fatal,
    LiteralExpected,
    Receiver,
    Response,
)
from gatekeeper.protocols.login import NEED_DATA as NEED_MORE
from gatekeeper.protocols.login import Failed, Send, StartTls, Step
from gatekeeper.protocols.sasl.mechanisms import (
    MAX_RESPONSE_OCTETS,
    Credentials,
    Mechanism,
    SaslError,
    decode_base64,
    parse_bearer,
    parse_plain,
    password_credentials,
)
from testkit.gate_fakes import ScriptedPeer

LAW = settings(max_examples=300, deadline=None, derandomize=True)

PHONE_WORDS = [
    *(
        b"a",
        b"b1",
        b" ",
        b"  ",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b'"',
        b"\\",
        b"(",
        b")",
        b"*",
        b"+",
        b"=",
    ),
    *(b" LOGIN ", b" AUTHENTICATE PLAIN", b" ID ", b" NOOP", b" CAPABILITY", b" STARTTLS", b" LOGOUT", b" X", b" NIL"),
    *(b"{0}\r\n", b"{3}\r\n", b"{3+}\r\n", b"{0+}\r\n", b"{8192+}\r\n", b"{99999999999}\r\n", b"{1}", b"{", b"}"),
    *(b"alice", b'"alice"', b'"p\\"w"', b"AGEAYg==", b"\xc3\xa4", b"x" * 4000, b"A" * 8192),
]
SERVER_WORDS = [
    *(
        b"* OK ",
        b"* ",
        b"+ ",
        b"+",
        b"Tl OK ",
        b"Tl NO ",
        b"Tl ",
        b"Tc OK",
        b"Ts OK",
        b"OK",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
    ),
    *(
        b"[CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN]",
        b"[CAPABILITY STARTTLS]",
        b"* CAPABILITY IMAP4rev1",
        b"[ALERT]",
        b"]",
    ),
    *(
        b"* BYE",
        b"* PREAUTH",
        b"{3}\r\n",
        b"{0}\r\n",
        b"{999999}\r\n",
        b"\0",
        b"\x1b",
        b"\xff",
        b"UNAUTHENTICATE",
        b"x" * 5000,
    ),
]


def talk(words: list[bytes]) -> st.SearchStrategy[bytes]:
    """Octets that look enough like the protocol to get deep into the parser, or none of it."""
    return st.lists(st.one_of(st.sampled_from(words), st.binary(max_size=8)), max_size=40).map(b"".join)


def cut(data: st.DataObject, sent: bytes) -> list[bytes]:
    """The octets in pieces."""
    ends = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=12)) | {0, len(sent)})
    return [sent[a:b] for a, b in pairwise(ends)]


def events(pieces: list[bytes], *, responses: bool = False) -> list[Event]:
    """All events up to the first fatal one; the receiver never keeps more than one command's worth."""
    receiver = Receiver()
    found: list[Event] = []
    if responses:
        receiver.expect_response(MAX_RESPONSE_OCTETS)
    for piece in pieces:
        receiver.receive_data(piece)
        while (event := receiver.next_event()) is not NEED_DATA:
            found.append(event)
            if isinstance(event, Fatal):
                return found
            if responses:
                receiver.expect_response(MAX_RESPONSE_OCTETS)
        limit = MAX_RESPONSE_OCTETS if responses else MAX_LINE_OCTETS
        assert len(receiver.trailing_data) <= limit + 1
        kept = sum(len(octets) for octets, _ in receiver._pieces)
        assert kept <= MAX_COMMAND_OCTETS + MAX_LINE_OCTETS
    return found


def names_of(fatal: list[Event]) -> list[Event]:
    """Fatal's reason is for nobody but a reader of the code: which of two faults is seen first may depend on a cut."""
    return [Fatal("") if isinstance(event, Fatal) else event for event in fatal]


@LAW
@given(talk(PHONE_WORDS), st.data())
def test_any_split_of_a_phones_octets_gives_the_same_events(sent: bytes, data: st.DataObject) -> None:
    """Events are those of the whole, in bounded memory, and nothing is raised."""
    assert names_of(events(cut(data, sent))) == names_of(events([sent]))
    assert names_of(events(cut(data, sent), responses=True)) == names_of(events([sent], responses=True))


@LAW
@given(talk(PHONE_WORDS), st.data())
def test_any_split_of_a_phones_octets_gives_the_same_dialogue(sent: bytes, data: st.DataObject) -> None:
    """Replies, log-ins and what goes to the mail server are those of the whole."""
    outcomes = []
    for pieces in ([sent], cut(data, sent)):
        peer = ScriptedPeer(offers_tls=False)
        dialogue = ImapDialogue(peer, RefusalCode.UNAVAILABLE)
        for piece in pieces:
            peer.feed(dialogue, piece)
        outcomes.append((peer.told, peer.logins, peer.upstream, peer.closed))
    assert outcomes[0] == outcomes[1]


@LAW
@given(st.binary(max_size=3000))
def test_garbage_is_harmless(sent: bytes) -> None:
    """Any octets at all give events."""
    events([sent])


@LAW
@given(st.binary(max_size=200))
def test_garbage_in_sasl_raises_nothing_else(response: bytes) -> None:
    """Any octets give credentials or a SaslError."""
    parsers = (
        decode_base64,
        parse_plain,
        lambda octets: parse_bearer(Mechanism.XOAUTH2, octets),
        lambda octets: parse_bearer(Mechanism.OAUTHBEARER, octets),
        lambda octets: parse_bearer(Mechanism.OAUTHBEARER, b"n,a=" + octets + b"\x01auth=Bearer t\x01\x01"),
        lambda octets: password_credentials(Mechanism.LOGIN, octets, octets),
    )
    for parse in parsers:
        try:
            parse(response)
        except SaslError:
            continue


CREDENTIALS = Credentials(mechanism=Mechanism.LOGIN, name="alice", secret=Secret(b'p"w'))


def steps(pieces: list[bytes], *, starttls: bool) -> list[Step]:
    """All steps of a log-in."""
    client = ImapLogin(CREDENTIALS, name="alice", starttls=starttls, tag="T")
    taken: list[Step] = []
    for piece in pieces:
        client.receive_data(piece)
        while (step := client.next_step()) is not NEED_MORE:
            taken.append(step)
            if isinstance(step, StartTls):
                client.tls_started()
    return taken


@LAW
@given(talk(SERVER_WORDS), st.data())
def test_any_split_of_a_servers_octets_gives_the_same_steps(said: bytes, data: st.DataObject) -> None:
    """Steps are those of the whole, at most one of them is the last, and no line carries what was not meant."""
    taken = steps([said], starttls=False)

    assert steps(cut(data, said), starttls=False) == taken
    assert all(isinstance(step, Send) for step in taken[:-1])
    lines = [step.data for step in taken if isinstance(step, Send)]
    assert all(line.count(b"\n") == 1 and line.endswith(b"\r\n") and b"\0" not in line for line in lines)


@LAW
@given(talk(SERVER_WORDS))
def test_garbage_never_gets_credentials_without_tls(said: bytes) -> None:
    """With STARTTLS configured nothing but the command goes out before TLS."""
    client = ImapLogin(CREDENTIALS, name="alice", starttls=True, tag="T")
    client.receive_data(said)
    while (step := client.next_step()) is not NEED_MORE and not isinstance(step, StartTls):
        if isinstance(step, Send):
            assert step.data in (b"Tc CAPABILITY\r\n", b"Ts STARTTLS\r\n")
        else:
            assert isinstance(step, Failed)


NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=60)
PASSWORDS = st.binary(min_size=1, max_size=600).filter(lambda octets: not set(octets) & set(b"\0\r\n"))
SERVERS = {
    "LOGIN": b"* OK [CAPABILITY IMAP4rev1] hi\r\n",
    "PLAIN-IR": b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n",
    "PLAIN": b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n",
}
_ANNOUNCED = re.compile(rb"\{([0-9]+)\}\r\n\Z")


def understood(response: bytes) -> tuple[str, bytes]:
    credentials = parse_plain(decode_base64(response))
    return credentials.name, credentials.secret.declassify()


def heard(server: str, name: str, password: bytes) -> tuple[str, bytes]:
    """Log in at our own receiver; returns the name and password that it understood."""
    client = ImapLogin(
        Credentials(mechanism=Mechanism.LOGIN, name=name, secret=Secret(password)), name=name, starttls=False, tag="T"
    )
    receiver = Receiver()
    client.receive_data(SERVERS[server])
    literal = 0
    while True:
        step = client.next_step()
        assert isinstance(step, Send)
        line = step.data[literal:]
        assert not set(line.removesuffix(b"\r\n")) & set(b"\r\n\0"), "a line is one line"
        announced = _ANNOUNCED.search(line)
        literal = int(announced[1]) if announced else 0
        receiver.receive_data(step.data)
        event = receiver.next_event()
        match event:
            case LiteralExpected():
                client.receive_data(b"+ go on\r\n")
            case Command(_, b"LOGIN", (bytes(found), bytes(secret))):
                return found.decode(), secret
            case Command(_, b"AUTHENTICATE", (mechanism, bytes(response))):
                assert mechanism == b"PLAIN"
                return understood(response)
            case Command(_, b"AUTHENTICATE", _):
                receiver.expect_response(MAX_RESPONSE_OCTETS)
                client.receive_data(b"+ \r\n")
            case Response(response):
                return understood(response)
            case _:
                raise AssertionError(event)


@LAW
@given(NAMES, PASSWORDS)
def test_what_we_send_upstream_parses_back(name: str, password: bytes) -> None:
    """LOGIN with quoted strings and literals, and PLAIN in both ways, mean the same name and password."""
    for server in SERVERS:
        assert heard(server, name, password) == (name, password)


@LAW
@given(
    st.text(st.sampled_from('ab\\" {}()*%+\x7fé'), min_size=1, max_size=12),
    st.text('\\"{1}+ x\t', min_size=1, max_size=12),
)
def test_syntax_in_names_and_passwords_parses_back(name: str, password: str) -> None:
    """Quotes, backslashes and what looks like a literal are data."""
    for server in SERVERS:
        if "\x7f" not in name or server == "LOGIN":
            assert heard(server, name, password.encode()) == (name, password.encode())
