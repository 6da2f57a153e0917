"""Laws of what a session passes through after log-in: cuts change nothing, and what is no list is not touched.

Derandomized: the same examples on every run.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.protocols.imap.capabilities import is_hidden
from gatekeeper.protocols.imap.responses import Responses

LAW = settings(max_examples=300, deadline=None, derandomize=True)

WORDS = ("IMAP4rev1", "IDLE", "AUTH=PLAIN", "auth=x", "STARTTLS", "Login-Referrals", "UNAUTHENTICATE", "X" * 1100)
ENDS = st.sampled_from([b"\r\n", b"\n"])
_LAYOUT = (b"* ", b"+ ", b"a ", b"]", b" ", b"\r\n", b"\n", b"{3}", b"~{0}", b"{12}\r\n", b")", b'"', b"\0", b"\r")
_WORDS = (b"OK ", b"BYE ", b"CAPABILITY", b"[CAPABILITY", b" AUTH=PLAIN", b" IDLE", b" STARTTLS", b"1 FETCH (", b"x")
FRAGMENTS = st.sampled_from(_LAYOUT + _WORDS)
SOUP = st.lists(FRAGMENTS, max_size=30).map(b"".join)


@st.composite
def literals(draw: st.DrawFn) -> bytes:
    """A literal with its announcement, that may hold what looks like responses."""
    octets = draw(SOUP | st.binary(max_size=40))
    return draw(st.sampled_from([b"", b"~"])) + b"{%d}" % len(octets) + draw(ENDS) + octets


@st.composite
def data(draw: st.DrawFn) -> bytes:
    """An untagged response with literals and quoted strings."""
    quoted = st.sampled_from([b'"{3}"', b'"* CAPABILITY AUTH=X"', b"NIL", b"[CAPABILITY AUTH=X]", b"{3} "])
    items = draw(st.lists(quoted | literals(), max_size=4))
    return b"* 1 FETCH (" + b" ".join(items) + b")" + draw(ENDS)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A status response whose text is anybody's words, or a continuation."""
    begins = draw(st.sampled_from([b"* OK ", b"a NO ", b"b BAD [ALERT] ", b"+ ", b"* BYE ", b"* OK [UNSEEN 1] "]))
    words = draw(
        st.sampled_from([b"hi", b"{5}", b"no mailbox x{99}", b"see [CAPABILITY AUTH=X]", b"* CAPABILITY STARTTLS"])
    )
    return begins + words + draw(ENDS)


@st.composite
def lists(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A list of capabilities: as it is said, and as it is to be told."""
    words = draw(st.lists(st.sampled_from(WORDS), max_size=6))
    begins, ends = draw(
        st.sampled_from(
            [
                (b"* CAPABILITY", b""),
                (b"* capability", b" "),
                (b"* OK [CAPABILITY", b" ] hi"),
                (b"t OK [Capability", b" ] {3}"),
            ]
        )
    )
    end = draw(ENDS)
    kept = [word for word in words if not is_hidden(word) and len(word) < 1024]
    return tuple(begins + b"".join(b" " + word.encode() for word in each) + ends + end for each in (words, kept))  # type: ignore[return-value]  # two


def told(octets: bytes, cuts: list[int]) -> bytes:
    """What a client is told when the octets come in pieces of these sizes, over and over."""
    responses = Responses()
    found, at, turn = b"", 0, 0
    while at < len(octets):
        size = cuts[turn % len(cuts)] if cuts else len(octets)
        found += bytes(responses.edit(octets[at : at + size]))
        at, turn = at + size, turn + 1
    return found


CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@LAW
@given(SOUP, CUTS)
def test_cuts_change_nothing(octets: bytes, cuts: list[int]) -> None:
    """Whatever the octets are, a client is told the same however they come."""
    assert told(octets, cuts) == told(octets, [])


@LAW
@given(st.lists(data() | texts(), max_size=6).map(b"".join), CUTS)
def test_a_conversation_without_lists_passes_as_it_is(octets: bytes, cuts: list[int]) -> None:
    """Octet for octet, however it is cut."""
    assert told(octets, cuts) == octets


@LAW
@given(st.lists((data() | texts()).map(lambda said: (said, said)) | lists(), max_size=8), CUTS)
def test_lists_lose_exactly_what_is_hidden(conversation: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    """Between all kinds of other responses."""
    said = b"".join(said for said, _ in conversation)
    assert told(said, cuts) == b"".join(wanted for _, wanted in conversation)
