"""Laws of POP3 before log-in: splits change nothing, garbage is harmless and bounded, what we send parses back.

Derandomized: the same examples on every run.
"""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement.pop3.dialogue import Pop3Dialogue
from gatekeeper.protocols.lines import MAX_AUTH_OCTETS
from gatekeeper.protocols.login import NEED_DATA, Failed, Send, StartTls, Step
from gatekeeper.protocols.pop3.client import MAX_COMMAND_OCTETS, Pop3Login
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism
from testkit.gate_fakes import ScriptedPeer, fault, refuse, reject

LAW = settings(max_examples=300, deadline=None, derandomize=True)

PHONE_WORDS = [
    *(b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\0", b" ", b"*", b"=", b"\xc3\xa4", b"x" * 240, b"A" * 8192),
    *(b"USER alice\r\n", b"PASS pw\r\n", b"USER ", b"PASS ", b"CAPA\r\n", b"QUIT\r\n", b"STAT\r\n", b"NOOP\r\n"),
    *(b"AUTH\r\n", b"AUTH PLAIN\r\n", b"AUTH PLAIN ", b"AUTH LOGIN\r\n", b"AUTH XOAUTH2\r\n", b"AGEAYg==", b"YQ==\r\n"),
    *(b"auth ", b"STLS\r\n", b"APOP a b\r\n", b"GET / HTTP/1.1\r\n", b"dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\r\n"),
]
SERVER_WORDS = [
    *(b"+OK", b"-ERR", b"+ ", b"+", b" ", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b".\r\n", b".\r\n", b"+OK hi\r\n"),
    *(b"[XCLIENT]", b"[AUTH]", b"[SYS/TEMP]", b"]", b"SASL PLAIN\r\n", b"USER\r\n", b"STLS\r\n", b"TOP\r\n"),
    *(
        b"+OK\r\nSASL PLAIN\r\n.\r\n",
        b"+OK\r\nUSER\r\n.\r\n",
        b"+OK\r\nSTLS\r\n.\r\n",
        b"\0",
        b"\x1b",
        b"\xff",
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


def heard(pieces: list[bytes]) -> ScriptedPeer:
    """What comes of a dialogue in which most log-ins fail; no more than one line is kept while it goes on."""
    peer = ScriptedPeer(upstream_offers=frozenset({"AUTH=XOAUTH2"}), outcomes=(reject, fault, refuse))
    dialogue = Pop3Dialogue(peer)
    for piece in pieces:
        peer.feed(dialogue, piece)
        if not peer.closed and not peer.admitted:
            assert len(dialogue.unread()) < MAX_AUTH_OCTETS + 2
    return peer


@LAW
@given(talk(PHONE_WORDS), st.data())
def test_any_split_of_a_phones_octets_gives_the_same_dialogue(sent: bytes, data: st.DataObject) -> None:
    """Replies, log-ins and what goes to the mail server are those of the whole."""
    whole, parts = heard([sent]), heard(cut(data, sent))

    assert (parts.told, parts.logins, parts.closed) == (whole.told, whole.logins, whole.closed)
    assert parts.upstream == whole.upstream
    assert all(line.isascii() and line.isprintable() for line in whole.told.decode("latin-1").split("\r\n"))


@LAW
@given(st.binary(max_size=3000))
def test_garbage_is_harmless(sent: bytes) -> None:
    """Any octets at all get answers, and no log-in of nothing."""
    assert all(name and secret for _, name, secret in heard([sent]).logins)


def password(secret: bytes) -> Credentials:
    """A name and a password."""
    return Credentials(mechanism=Mechanism.LOGIN, name="alice", secret=Secret(secret))


def steps(pieces: list[bytes], *, starttls: bool) -> list[Step]:
    """All steps of a log-in."""
    client = Pop3Login(password(b"p w"), name="alice", starttls=starttls, client=("192.0.2.7", 4711))
    taken: list[Step] = []
    for piece in pieces:
        client.receive_data(piece)
        while (step := client.next_step()) is not NEED_DATA:
            taken.append(step)
            if isinstance(step, StartTls):
                client.tls_started()
    return taken


@LAW
@given(talk(SERVER_WORDS), st.data())
def test_any_split_of_a_servers_octets_gives_the_same_steps(said: bytes, data: st.DataObject) -> None:
    """Steps are those of the whole, at most one of them is the last, and each sends one line."""
    taken = steps([said], starttls=False)

    assert steps(cut(data, said), starttls=False) == taken
    assert all(isinstance(step, Send) for step in taken[:-1])
    lines = [step.data for step in taken if isinstance(step, Send)]
    assert all(line.count(b"\n") == 1 and line.endswith(b"\r\n") and b"\0" not in line for line in lines)


@LAW
@given(talk(SERVER_WORDS))
def test_garbage_never_gets_credentials_without_tls(said: bytes) -> None:
    """With STLS configured nothing but the commands for it goes out before TLS."""
    client = Pop3Login(password(b"p w"), name="alice", starttls=True, client=("192.0.2.7", 4711))
    client.receive_data(said)
    while (step := client.next_step()) is not NEED_DATA and not isinstance(step, StartTls):
        if isinstance(step, Send):
            assert step.data in (b"CAPA\r\n", b"STLS\r\n")
        else:
            assert isinstance(step, Failed)


PASSWORDS = st.binary(min_size=1, max_size=600).filter(lambda octets: not set(octets) & set(b"\0\r\n"))


@LAW
@given(PASSWORDS, st.sampled_from([b"SASL PLAIN", b"USER"]))
def test_what_we_send_upstream_parses_back(secret: bytes, way: bytes) -> None:
    """PLAIN in both ways, and USER with PASS, mean the same name and password to our own dialogue."""
    client = Pop3Login(password(secret), name="alice", starttls=False)
    peer = ScriptedPeer()
    dialogue = Pop3Dialogue(peer)
    client.receive_data(b"+OK hi\r\n")
    assert client.next_step() == Send(b"CAPA\r\n")
    client.receive_data(b"+OK\r\n" + way + b"\r\n.\r\n")
    while isinstance(step := client.next_step(), Send):
        assert len(step.data) <= MAX_COMMAND_OCTETS or not step.data.startswith((b"USER ", b"PASS ", b"AUTH "))
        before = len(peer.told)
        peer.feed(dialogue, step.data)
        client.receive_data(peer.told[before:])

    if isinstance(step, Failed):
        assert way == b"USER", "PLAIN carries everything"
        assert len(secret) > MAX_COMMAND_OCTETS - len(b"PASS \r\n") or any(
            octet < 0x20 or octet == 0x7F for octet in secret
        )
    else:
        assert [found[1:] for found in peer.logins] == [("alice", secret)]
