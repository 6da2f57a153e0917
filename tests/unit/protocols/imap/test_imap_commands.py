"""Sessions whose commands are read: what is stopped, what goes on, and what waits for the mail server."""

import itertools

import pytest

from gatekeeper.protocols.imap.commands import MAX_LINE_OCTETS, MAX_OPEN, MAX_REFUSED, CommandScreen

BAD = b" BAD Not understood, or not available here.\r\n"
BYE = b"* BYE Not understood.\r\n"


class Session:
    """A screen with what it has said so far, to either side."""

    def __init__(self) -> None:
        self.screen = CommandScreen()
        self.told = b""
        self.sent = b""

    def client(self, octets: bytes) -> "Session":
        """The client says."""
        told, sent = self.screen.from_client(octets)
        self.told, self.sent = self.told + bytes(told), self.sent + bytes(sent)
        return self

    def server(self, octets: bytes) -> "Session":
        """The mail server says."""
        told, sent = self.screen.from_upstream(octets)
        self.told, self.sent = self.told + bytes(told), self.sent + bytes(sent)
        return self


WAYS = [b"UNAUTHENTICATE", b"unAuthenticate", b"PROXYAUTH bob", b"ProxyAuth bob", b"STARTTLS", b"COMPRESS DEFLATE"]
WAYS += [b"LOGIN bob secret", b"login {3}", b"AUTHENTICATE PLAIN AGIAYg==", b"AUTHENTICATE PLAIN"]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("way", WAYS)
def test_ways_round_never_reach_the_server(way: bytes, size: int) -> None:
    """However they are written and cut; the session goes on."""
    session = Session()
    said = b"a.1-x " + way + b"\r\nb NOOP\r\n"
    for at in range(0, len(said), size):
        session.client(said[at : at + size])
    assert session.told == b"a.1-x" + BAD
    assert session.sent == b"b NOOP\r\n"


NO_COMMANDS = {
    "two-spaces": b"a  UNAUTHENTICATE\r\n",
    "a-space-before": b" a UNAUTHENTICATE\r\n",
    "a-tab": b"a\tUNAUTHENTICATE\r\n",
    "a-tab-behind": b"a UNAUTHENTICATE\t\r\n",
    "no-tag": b"UNAUTHENTICATE\r\n",
    "a-plus": b"+ UNAUTHENTICATE\r\n",
    "a-star": b"* UNAUTHENTICATE\r\n",
    "a-quoted-tag": b'"a" UNAUTHENTICATE\r\n',
    "a-quoted-name": b'a "UNAUTHENTICATE"\r\n',
    "a-parenthesis": b"a UNAUTHENTICATE(x)\r\n",
    "a-literal-tag": b"{1}\r\n",
    "an-empty-line": b"\r\n",
    "done-out-of-turn": b"DONE\r\n",
}


@pytest.mark.parametrize("line", NO_COMMANDS.values(), ids=NO_COMMANDS)
def test_what_is_no_command_never_reaches_the_server(line: bytes) -> None:
    """A server may read more into a line than the standard does."""
    session = Session().client(line + b"b NOOP\r\n")
    assert session.told.endswith(BAD)
    assert session.sent == b"b NOOP\r\n"


ENDS = {
    "bare-LF": b"a NOOP\nb UNAUTHENTICATE\r\n",
    "bare-CR": b"a NOOP\rb UNAUTHENTICATE\r\n",
    "NUL": b"a NOOP \0\r\n",
    "a-line-without-an-end": b"a SEARCH " + b"1," * MAX_LINE_OCTETS,
    "a-literal-of-too-many-digits": b"a APPEND INBOX {99999999999999999999}\r\n",
    "more-errors-than-a-client-makes": b"x\r\n" * (MAX_REFUSED + 1),
}


@pytest.mark.parametrize("octets", ENDS.values(), ids=ENDS)
def test_what_servers_would_disagree_on_ends_the_session(octets: bytes) -> None:
    """With a word, where none of the server's is in the way."""
    session = Session().client(octets)
    assert session.screen.is_over
    assert session.told.endswith(BYE)
    assert session.sent == b""
    cut = Session().server(b"* 1 FETCH (").client(b"a\n")
    assert (cut.screen.is_over, cut.told) == (True, b"* 1 FETCH (")


def test_a_literal_goes_on_when_the_server_has_asked_for_it() -> None:
    """What looks like commands in it is the message's."""
    message = b"x UNAUTHENTICATE\r\n"
    session = Session().client(b"a APPEND INBOX (\\Seen) {18}\r\n")
    assert session.sent == b"a APPEND INBOX (\\Seen) {18}\r\n"
    session.server(b"+ go on\r\n").client(message + b"\r\nb NOOP\r\n")
    assert session.told == b"+ go on\r\n"
    assert session.sent.endswith(b"{18}\r\n" + message + b"\r\nb NOOP\r\n")


def test_octets_behind_a_literal_that_the_server_refuses_are_commands() -> None:
    """The server never took them for a literal, whatever was announced."""
    session = Session().client(b"a NOOP {18}\r\nx UNAUTHENTICATE\r\nb NOOP\r\n")
    assert session.sent == b"a NOOP {18}\r\n"
    assert session.screen.holds
    session.server(b"a BAD no\r\n")
    assert session.told == b"a BAD no\r\nx" + BAD
    assert session.sent == b"a NOOP {18}\r\nb NOOP\r\n"
    assert not session.screen.holds


@pytest.mark.parametrize("kind", [b"", b"~"])
def test_a_literal_that_does_not_wait_is_made_to(kind: bytes) -> None:
    """The client hears nothing of the server's word, and its octets go on behind it."""
    session = Session().client(b"a APPEND INBOX " + kind + b"{18+}\r\nx UNAUTHENTICATE\r\n\r\nb NOOP\r\n")
    assert session.sent == b"a APPEND INBOX " + kind + b"{18}\r\n"
    assert session.screen.holds
    for octet in b"* 1 EXISTS\r\n+ go on\r\n":
        session.server(bytes([octet]))
    assert session.told == b"* 1 EXISTS\r\n"
    assert session.sent.endswith(b"{18}\r\nx UNAUTHENTICATE\r\n\r\nb NOOP\r\n")


def test_one_that_is_refused_goes_nowhere() -> None:
    """Nor does what follows it in its command, literals included (RFC 7888 §4)."""
    session = Session().client(b"a XYZZY {18+}\r\nx UNAUTHENTICATE\r\n {3+}\r\nabc)\r\nb NOOP\r\n")
    assert session.sent == b"a XYZZY {18}\r\n"
    session.server(b"a BAD what\r\n")
    assert session.told == b"a BAD what\r\n"
    assert session.sent == b"a XYZZY {18}\r\nb NOOP\r\n"


def test_a_stopped_command_takes_its_literals_with_it() -> None:
    """They come all the same."""
    session = Session().client(b"a LOGIN {3+}\r\nbob {3+}\r\nabc\r\nb NOOP\r\n")
    assert session.told == b"a" + BAD
    assert session.sent == b"b NOOP\r\n"


def test_several_literals_in_one_command() -> None:
    """Each waits for its own word: the last may be refused."""
    session = Session().client(b"a SEARCH TEXT {2+}\r\nab OR TEXT {0}\r\n")
    assert session.sent == b"a SEARCH TEXT {2}\r\n"
    session.server(b"+ 1\r\n")
    assert session.sent.endswith(b"{2}\r\nab OR TEXT {0}\r\n")
    session.server(b"+ 2\r\n").client(b" SEEN\r\nb NOOP\r\n")
    assert session.told == b"+ 2\r\n"
    assert session.sent.endswith(b"{0}\r\n SEEN\r\nb NOOP\r\n")


def test_nothing_that_could_be_a_command_follows_a_literal_in_its_line() -> None:
    """A server that has lost interest in the command may read it as the next one."""
    session = Session().client(b"a APPEND INBOX {2}\r\n").server(b"+\r\n").client(b"abx UNAUTHENTICATE\r\n")
    assert session.screen.is_over
    assert session.sent == b"a APPEND INBOX {2}\r\nab"


def test_a_continuation_request_is_what_it_seems_to_be() -> None:
    """Whatever asks for one waits until all before it has ended: IDLE's own must not let a literal go."""
    session = Session().client(b"a NOOP\r\nb IDLE\r\nc APPEND INBOX {18}\r\nx UNAUTHENTICATE\r\n")
    assert session.sent == b"a NOOP\r\n"
    session.server(b"a OK\r\n")
    assert session.sent == b"a NOOP\r\nb IDLE\r\n"
    session.server(b"+ idling\r\n")
    assert session.screen.is_over, "only DONE ends IDLE"
    assert session.sent == b"a NOOP\r\nb IDLE\r\n"


def test_idle() -> None:
    """Ends with DONE in any case, or by the server."""
    session = Session().client(b"a IDLE\r\nDONE\r\nb NOOP\r\n")
    assert session.sent == b"a IDLE\r\n"
    session.server(b"+ idling\r\n* 1 EXISTS\r\n")
    assert session.sent == b"a IDLE\r\nDONE\r\nb NOOP\r\n"
    session.server(b"a OK\r\nb OK\r\n").client(b"c idle\r\nd NOOP\r\n").server(b"c BAD not here\r\n")
    assert session.sent.endswith(b"c idle\r\nd NOOP\r\n")
    session.server(b"d OK\r\n").client(b"e IDLE\r\n").server(b"+\r\ne NO too long\r\n").client(b"f NOOP\r\n")
    assert session.sent.endswith(b"e IDLE\r\nf NOOP\r\n")
    session.server(b"f OK\r\n").client(b"g IDLE\r\n").server(b"+\r\n").client(b"done\r\n")
    assert session.sent.endswith(b"g IDLE\r\ndone\r\n")
    assert not session.screen.is_over


def test_words_for_people_are_no_results() -> None:
    """A message, and a text that repeats the client's words, let nothing go."""
    session = Session().client(b"a FETCH 1 BODY[]\r\nb APPEND x {18}\r\nx UNAUTHENTICATE\r\n")
    session.server(b"* 1 FETCH (BODY[] {14}\r\na OK\r\n+ go\r\n\r\n)\r\n* OK a OK {6}\r\n")
    assert session.sent == b"a FETCH 1 BODY[]\r\n"
    session.server(b"a OK done\r\n").server(b"* NO b NO\r\n* OK +\r\n")
    assert session.sent == b"a FETCH 1 BODY[]\r\nb APPEND x {18}\r\n"
    session.server(b"b NO no mailbox\r\n")
    assert session.told.endswith(b"b NO no mailbox\r\nx" + BAD)


def test_our_answers_fall_between_responses() -> None:
    """Not into a message, and not before the answers to earlier commands."""
    session = Session().client(b"a FETCH 1 BODY[]\r\nb UNAUTHENTICATE\r\nc NOOP\r\n")
    for octet in b"* 1 FETCH (BODY[] {5}\r\nhello)\r\na OK\r":
        session.server(bytes([octet]))
    assert BAD not in session.told
    assert session.sent == b"a FETCH 1 BODY[]\r\n"
    session.server(b"\n")
    assert session.told.endswith(b"a OK\r\nb" + BAD)
    assert session.sent.endswith(b"c NOOP\r\n")


def test_commands_without_results_are_bounded() -> None:
    """And a tag is used once at a time, or its result would be anybody's."""
    session = Session().client(b"".join(b"%d NOOP\r\n" % number for number in range(MAX_OPEN + 5)))
    assert session.sent.count(b"\n") == MAX_OPEN
    session.server(b"3 OK\r\n4 OK\r\n")
    assert session.sent.count(b"\n") == MAX_OPEN + 2
    same = Session().client(b"a NOOP\r\na NOOP\r\n")
    assert same.sent == b"a NOOP\r\n"
    assert same.server(b"a OK\r\n").sent == b"a NOOP\r\n" * 2


def test_large_literals_stream() -> None:
    """The very object goes on, and nothing is kept."""
    session = Session().client(b"a APPEND INBOX {1000000}\r\n").server(b"+\r\n")
    piece = memoryview(bytes(100_000))
    for _ in range(10):
        assert session.screen.from_client(piece)[1] is piece
    assert session.screen._held == b""
    assert session.client(b"\r\nb NOOP\r\n").sent.endswith(b"\r\nb NOOP\r\n")


def test_lists_lose_compression_too() -> None:
    """Compressed commands could not be read."""
    session = Session().server(b"* CAPABILITY IMAP4rev1 UNAUTHENTICATE COMPRESS=DEFLATE IDLE\r\n")
    assert session.told == b"* CAPABILITY IMAP4rev1 IDLE\r\n"


def test_what_came_behind_the_log_in_is_looked_at() -> None:
    """Of both sides."""
    told, sent = CommandScreen().begin(b"* OK [CAPABILITY UNAUTHENTICATE X]\r\n", b"a UNAUTHENTICATE\r\nb NOOP\r\n")
    assert told == b"* OK [CAPABILITY X]\r\na" + BAD
    assert sent == b"b NOOP\r\n"


def test_any_cut_of_a_conversation() -> None:
    """Both sides in all pairs of sizes."""
    client = b"a NOOP\r\nb APPEND INBOX {3+}\r\nabc\r\nc UNAUTHENTICATE\r\nd IDLE\r\nDONE\r\ne NOOP\r\n"
    server = {b"a NOOP\r\n": b"a OK\r\n", b"{3}\r\n": b"+\r\n", b"abc\r\n": b"b OK [CAPABILITY STARTTLS X]\r\n"}
    server |= {b"d IDLE\r\n": b"+ idling\r\n", b"DONE\r\n": b"d OK\r\n", b"e NOOP\r\n": b"e OK\r\n"}
    ends = set()
    for sizes in itertools.product([1, 2, 5, 100], repeat=2):
        session, answered = Session(), 0
        pieces = [client[at : at + sizes[0]] for at in range(0, len(client), sizes[0])]
        for piece in [*pieces, b""]:
            session.client(piece)
            while said := next(
                (
                    word
                    for word in server
                    if session.sent[answered:].startswith(word) or (session.sent[answered:].find(word) >= 0)
                ),
                None,
            ):
                answered = session.sent.find(said, answered) + len(said)
                for at in range(0, len(server[said]), sizes[1]):
                    session.server(server[said][at : at + sizes[1]])
        ends.add((session.told, session.sent))
    assert len(ends) == 1
    assert ends.pop() == (
        b"a OK\r\nb OK [CAPABILITY X]\r\nc" + BAD + b"+ idling\r\nd OK\r\ne OK\r\n",
        b"a NOOP\r\nb APPEND INBOX {3}\r\nabc\r\nd IDLE\r\nDONE\r\ne NOOP\r\n",
    )
