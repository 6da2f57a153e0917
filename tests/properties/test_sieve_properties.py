"""Laws of ManageSieve before log-in: splits change nothing, garbage is harmless and bounded, what we send parses back.

Derandomized: the same examples on every run.
"""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement.sieve.dialogue import SieveDialogue
from gatekeeper.protocols.login import NEED_DATA as NEED_MORE
from gatekeeper.protocols.login import Failed, Send, StartTls, Step
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism, decode_base64, parse_plain
from gatekeeper.protocols.sieve.client import SieveLogin
from gatekeeper.protocols.sieve.server import MAX_COMMAND_OCTETS, NEED_DATA, Command, Event, Fatal, Receiver
from gatekeeper.protocols.sieve.strings import from_client
from testkit.gate_fakes import ScriptedPeer

LAW = settings(max_examples=300, deadline=None, derandomize=True)

PHONE_WORDS = [
    *(b" ", b"  ", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\0", b'"', b'""', b"\\", b'"*"', b"*", b"="),
    *(b"AUTHENTICATE ", b'"PLAIN"', b'"LOGIN"', b'"XOAUTH2"', b"NOOP", b"CAPABILITY", b"STARTTLS", b"LOGOUT", b"X"),
    *(b"{0+}\r\n", b"{1+}\r\n", b"{3+}\r\n", b"{8+}\r\n", b"{3}\r\n", b"{33000+}\r\n", b"{99999999999+}\r\n", b"{1+}"),
    *(b'"AGEAYg=="', b"AGEAYg==", b'"YQ=="', b'"p\\"w"', b"\xc3\xa4", b"x" * 4000, b"A" * 8192),
    *(
        b'AUTHENTICATE "PLAIN" "AGEAYg=="\r\n',
        b'AUTHENTICATE "LOGIN"\r\n',
        b'AUTHENTICATE "PLAIN" {8+}\r\nAGEAYg==\r\n',
    ),
]
SERVER_WORDS = [
    *(b"OK", b"NO", b"BYE", b" ", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\0", b'"', b"(", b")", b"x", b'"eyJ9"\r\n'),
    *(
        b'"SASL" "PLAIN"\r\n',
        b'"STARTTLS"\r\n',
        b'"UNAUTHENTICATE"\r\n',
        b'"XCLIENT"\r\n',
        b"OK\r\n",
        b"NO\r\n",
        b"OK\r\n",
    ),
    *(b"{0}\r\n", b"{3}\r\n", b"{4+}\r\n", b"{70000}\r\n", b"{1}", b' (TRYLATER) "x"', b"y" * 9000, b"\xc3\xa4"),
]


def talk(words: list[bytes]) -> st.SearchStrategy[bytes]:
    """Streams of likely words and unlikely octets."""
    return st.lists(st.one_of(st.sampled_from(words), st.binary(max_size=8)), max_size=40).map(b"".join)


def cut(data: st.DataObject, sent: bytes) -> list[bytes]:
    """The octets in pieces."""
    ends = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=12)) | {0, len(sent)})
    return [sent[a:b] for a, b in pairwise(ends)]


def events(pieces: list[bytes], *, responses: bool = False) -> list[Event]:
    """All events up to the first fatal one; the receiver never keeps more than one command's worth."""
    receiver = Receiver()
    found: list[Event] = []
    for piece in pieces:
        receiver.receive_data(piece)
        while True:
            if responses:
                receiver.expect_response()
            event = receiver.next_event()
            if event is NEED_DATA:
                break
            # Fatal's reason is for a reader of the code: which of two faults is seen first may depend on a cut.
            found.append(Fatal("") if isinstance(event, Fatal) else event)
            if isinstance(event, Fatal):
                return found
        assert len(receiver.trailing_data) <= MAX_COMMAND_OCTETS + 1
        assert sum(len(octets) for octets, _ in receiver._pieces) <= MAX_COMMAND_OCTETS
    return found


@LAW
@given(talk(PHONE_WORDS), st.data())
def test_any_split_of_a_phones_octets_gives_the_same_events(sent: bytes, data: st.DataObject) -> None:
    """Events are those of the whole, in bounded memory, and nothing is raised."""
    assert events(cut(data, sent)) == events([sent])
    assert events(cut(data, sent), responses=True) == events([sent], responses=True)


@LAW
@given(talk(PHONE_WORDS), st.data())
def test_any_split_of_a_phones_octets_gives_the_same_dialogue(sent: bytes, data: st.DataObject) -> None:
    """Replies, log-ins and what goes to the mail server are those of the whole."""
    outcomes = []
    for pieces in ([sent], cut(data, sent)):
        peer = ScriptedPeer(offers_tls=False, upstream_offers=frozenset({"AUTH=XOAUTH2"}))
        dialogue = SieveDialogue(peer)
        for piece in pieces:
            peer.feed(dialogue, piece)
        outcomes.append((peer.told, peer.logins, peer.upstream, peer.closed))
    assert outcomes[0] == outcomes[1]


@LAW
@given(st.binary(max_size=3000))
def test_garbage_is_harmless(sent: bytes) -> None:
    """Any octets at all give events."""
    events([sent])


CREDENTIALS = Credentials(mechanism=Mechanism.LOGIN, name="alice", secret=Secret(b'p"w'))
PLAIN_COMMAND = b'AUTHENTICATE "PLAIN" "AGFsaWNlAHAidw=="\r\n'


def steps(pieces: list[bytes], *, starttls: bool) -> list[Step]:
    """All steps of a log-in."""
    client = SieveLogin(CREDENTIALS, name="alice", starttls=starttls, xclient="ADDR=192.0.2.1")
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
    """Steps are those of the whole, at most one of them is the last, and nothing but our commands is sent."""
    taken = steps([said], starttls=False)

    assert steps(cut(data, said), starttls=False) == taken
    assert all(isinstance(step, Send) for step in taken[:-1])
    ours = (b"XCLIENT ADDR=192.0.2.1\r\n", PLAIN_COMMAND, b"UNAUTHENTICATE\r\n")
    assert all(step.data in ours for step in taken if isinstance(step, Send))


@LAW
@given(talk(SERVER_WORDS))
def test_garbage_never_gets_credentials_without_tls(said: bytes) -> None:
    """With STARTTLS configured nothing but the command goes out before TLS."""
    client = SieveLogin(CREDENTIALS, name="alice", starttls=True)
    client.receive_data(said)
    while (step := client.next_step()) is not NEED_MORE and not isinstance(step, StartTls):
        assert step == Send(b"STARTTLS\r\n") or isinstance(step, Failed)


@LAW
@given(
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=60),
    st.binary(min_size=1, max_size=2000).filter(lambda octets: not set(octets) & set(b"\0\r\n")),
)
def test_what_we_send_upstream_parses_back(name: str, password: bytes) -> None:
    """Our own receiver understands the same name and password."""
    client = SieveLogin(
        Credentials(mechanism=Mechanism.LOGIN, name=name, secret=Secret(password)), name=name, starttls=False
    )
    client.receive_data(b'"SASL" "PLAIN"\r\nOK\r\n')
    step = client.next_step()
    assert isinstance(step, Send)
    receiver = Receiver()
    receiver.receive_data(step.data)
    command = receiver.next_event()
    assert isinstance(command, Command)
    assert (command.name, command.arguments[0]) == (b"AUTHENTICATE", b"PLAIN")
    found = parse_plain(decode_base64(command.arguments[1]))
    assert (found.name, found.secret.declassify()) == (name, password)


@LAW
@given(st.binary(max_size=1100).filter(lambda octets: 0 not in octets))
def test_a_string_parses_back(octets: bytes) -> None:
    """Whatever is in it, quoted or as a literal."""
    receiver = Receiver()
    receiver.receive_data(b"X " + from_client(octets) + b"\r\n")
    assert receiver.next_event() == Command(b"X", (octets,))
