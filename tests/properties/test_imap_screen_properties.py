"""Laws of what a session passes through after log-in: cuts change nothing, and what is no list is not touched.

Derandomized: the same examples on every run.
"""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.protocols.imap.capabilities import is_hidden
from gatekeeper.protocols.imap.commands import CommandScreen
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


class ObstinateServer:
    """Reads lines as leniently as any server, and takes a literal or not as it is told; notes the commands it sees."""

    def __init__(self, takes: list[bool]) -> None:
        self.commands: list[bytes] = []
        self._takes = takes
        self._turn = 0
        self._buffer = b""
        self._left = 0
        self._is_inside = False

    def receive(self, octets: bytes) -> bytes:
        """What it answers."""
        self._buffer += octets
        said = b""
        while self._buffer:
            if self._left:
                taken = min(self._left, len(self._buffer))
                self._buffer, self._left = self._buffer[taken:], self._left - taken
                continue
            line, found, rest = self._buffer.partition(b"\n")
            if not found:
                break
            self._buffer = rest
            said += self._line(line.removesuffix(b"\r"))
        return said

    def _line(self, line: bytes) -> bytes:
        words = line.split()
        if not self._is_inside:
            self.commands.append(words[1].upper() if len(words) > 1 else b"")
            self._tag = words[0] if words else b"*"
        literal = re.search(rb"\{([0-9]+)(\+?)\}$", line)
        self._turn += 1
        if literal is None or not self._takes[self._turn % len(self._takes)]:
            self._is_inside = False
            return self._tag + b" OK {7}\r\n"
        self._is_inside = True
        self._left = int(literal[1])
        return b"" if literal[2] else b"+ go on\r\n"


_BEFORE = (b"a NOOP ", b"b APPEND INBOX ", b"c IDLE ")
_ANNOUNCED = (b"{18+}\r\n", b"{18}\r\n", b"~{3}\r\n", b"{0+}\r\n")
_LITERALS = tuple(before + announced for before in _BEFORE for announced in _ANNOUNCED)
_LINES = (b"d NOOP\r\n", b"e IDLE\r\n", b"DONE\r\n", b"\r\n", b" {18+}\r\n", b")\r\n", b" x UNAUTHENTICATE\r\n")
_STOPPED = (b"x UNAUTHENTICATE\r\n",) * 8
SAYINGS = st.lists(
    st.sampled_from((*_LITERALS, *_LINES, *_STOPPED, b"abc", b"f LOGIN {18+}\r\n")), min_size=2, max_size=9
)


@settings(LAW, max_examples=1500)
@given(SAYINGS.map(b"".join), CUTS, st.lists(st.booleans(), min_size=1, max_size=6))
def test_no_server_reads_a_stopped_command(octets: bytes, cuts: list[int], takes: list[bool]) -> None:
    """Whatever is said, however it is cut, and whichever literals the server takes."""
    server = ObstinateServer(takes)
    screen = CommandScreen()
    at = turn = 0
    while at < len(octets) and not screen.is_over:
        size = cuts[turn % len(cuts)]
        _, sent = screen.from_client(octets[at : at + size])
        at, turn = at + size, turn + 1
        while sent:
            _, sent = screen.from_upstream(server.receive(bytes(sent)))
    assert not {b"UNAUTHENTICATE"} & set(server.commands)
