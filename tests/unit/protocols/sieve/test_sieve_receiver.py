"""What a client's octets amount to before log-in (RFC 5804 §4), whole, octet by octet, and in two at every place."""

import pytest

from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS
from gatekeeper.protocols.sieve.server import (
    MAX_COMMAND_OCTETS,
    MAX_LINE_OCTETS,
    MAX_LITERALS,
    NEED_DATA,
    Command,
    Event,
    Fatal,
    Malformed,
    Receiver,
    Response,
)
from gatekeeper.protocols.sieve.strings import from_client, from_server
from testkit.gate_fakes import splits

NOOP = b"NOOP\r\n"


def events(pieces: list[bytes], *, response: bool = False) -> list[Event]:
    """All events up to the first fatal one."""
    receiver = Receiver()
    if response:
        receiver.expect_response()
    found: list[Event] = []
    for piece in pieces:
        receiver.receive_data(piece)
        while (event := receiver.next_event()) is not NEED_DATA:
            found.append(event)
            if isinstance(event, Fatal):
                return found
    return found


def both(sent: bytes, *, response: bool = False) -> list[Event]:
    """The events, which are the same for every split."""
    whole = events([sent], response=response)
    for ways in splits(sent).values():
        for pieces in ways:
            assert events(pieces, response=response) == whole
    return whole


@pytest.mark.parametrize(
    ("sent", "event"),
    [
        (b"noop\r\n", Command(b"NOOP", ())),
        (b"NOOP \r\n", Command(b"NOOP", ())),
        (b'X "a" "b\\"c\\\\" ""\r\n', Command(b"X", (b"a", b'b"c\\', b""))),
        (b"X {3+}\r\na\r\n {0+}\r\n\r\n", Command(b"X", (b"a\r\n", b""))),
        (b'X "{3+}"\r\n', Command(b"X", (b"{3+}",))),
        (b"X {6+}\r\nNOOP\r\n\r\n", Command(b"X", (NOOP,))),
        (b"X {3+}\r\n\xc3\xa4\xff\r\n", Command(b"X", (b"\xc3\xa4\xff",))),
        (b"X" * 32 + b"\r\n", Command(b"X" * 32, ())),
        (b"X" * 33 + b"\r\n", Malformed()),
        (b"X  \r\n", Malformed()),
        (b'X"a"\r\n', Malformed()),
        (b'X "a"b\r\n', Malformed()),
        (b'X "a\r\n', Malformed()),
        (b'X "a\\b"\r\n', Malformed()),
        (b"X a\r\n", Malformed()),
        (b"X{1+}\r\na\r\n", Malformed()),
        (b'X "a"{1+}\r\na\r\n', Malformed()),
        (b"X  {1+}\r\na\r\n", Malformed()),
        (b'X "{1+}\r\na\r\n', Malformed()),
        (b"X {1+}\r\na b\r\n", Malformed()),
        (b"1 NOOP\r\n", Malformed()),
        (b" NOOP\r\n", Malformed()),
        (b"{3+}\r\nabc\r\n", Malformed()),
        (b"\r\n", Malformed()),
    ],
)
def test_a_command(sent: bytes, event: Event) -> None:
    """One command is one event, and the next line is the next command."""
    assert both(sent + NOOP) == [event, Command(b"NOOP", ())]


@pytest.mark.parametrize(
    ("sent", "event"),
    [
        (b'"abc"\r\n', Response(b"abc")),
        (b'""\r\n', Response(b"")),
        (b'"*"\r\n', Response(b"*")),
        (b"{3+}\r\na\r\n\r\n", Response(b"a\r\n")),
        (b"{0+}\r\n\r\n", Response(b"")),
        (b"abc\r\n", Malformed()),
        (b"*\r\n", Malformed()),
        (b"\r\n", Malformed()),
        (b'"a" "b"\r\n', Malformed()),
        (b'"a', Malformed()),
        (b"{1+}\r\na {1+}\r\nb\r\n", Malformed()),
    ],
)
def test_a_response(sent: bytes, event: Event) -> None:
    """One string; then commands again."""
    sent = sent if sent.endswith(b"\n") else sent + b"\r\n"
    assert both(sent + NOOP, response=True) == [event, Command(b"NOOP", ())]


@pytest.mark.parametrize(
    "sent",
    [
        b"NOOP\n",
        b"NO\rOP\r\n",
        b"NO\0OP\r\n",
        b"X {1+}\r\n\0\r\n",
        b"X {3}\r\n",
        b"X {99999999999+}\r\n",
        b"X {%b+}\r\n" % (b"9" * 5000),
        b"X {%d+}\r\n" % MAX_COMMAND_OCTETS,
        b"X {17000+}\r\n" + b"a" * 17000 + b" {17000+}\r\n",
        b"X" + b" {1+}\r\na" * (MAX_LITERALS + 1) + b"\r\n",
        b"X" * (MAX_LINE_OCTETS + 1) + b"\r\n",
        b"X" + (b' "%b" {1+}\r\na' % (b"x" * 8100)) * 4 + b' "%b"\r\n' % (b"x" * 8100),
        b"GET / HTTP/1.1\r\n",
    ],
    ids=[
        "LF",
        "CR",
        "NUL",
        "NUL inside",
        "waits",
        "digits",
        "many digits",
        "large",
        "all",
        "many",
        "line",
        "lines in all",
        "HTTP",
    ],
)
def test_what_ends_the_dialogue(sent: bytes) -> None:
    """At the announcement where there is one: nothing of a literal is waited for."""
    assert isinstance(events([sent])[-1], Fatal)
    assert isinstance(events([sent[at : at + 1] for at in range(len(sent))])[-1], Fatal)


def test_a_line_without_end_is_given_up() -> None:
    """As soon as it is over the limit."""
    assert events([b"x" * (MAX_LINE_OCTETS + 1)]) == []
    assert events([b"x" * (MAX_LINE_OCTETS + 2)]) == [Fatal("line too long")]


def test_the_longest_response_fits() -> None:
    """Quoted and as a literal, with the command and alone."""
    longest = b"A" * MAX_RESPONSE_OCTETS
    assert events([b'"' + longest + b'"\r\n'], response=True) == [Response(longest)]
    assert events([b"{%d+}\r\n" % len(longest) + longest + b"\r\n"], response=True) == [Response(longest)]
    command = b'AUTHENTICATE "OAUTHBEARER" {%d+}\r\n' % len(longest) + longest + b"\r\n"
    assert events([command]) == [Command(b"AUTHENTICATE", (b"OAUTHBEARER", longest))]


def test_what_is_behind_the_last_event_is_kept() -> None:
    """For the mail server."""
    receiver = Receiver()
    receiver.receive_data(b"NOOP\r\nPUTSCRIPT {3+}\r\nab")
    assert receiver.next_event() == Command(b"NOOP", ())
    assert receiver.trailing_data == b"PUTSCRIPT {3+}\r\nab"


@pytest.mark.parametrize("octets", [b"", b"a b", b'a"\\', b"a\r\nb", b"\0", b"\x7f", "ä".encode(), b"x" * 1024])
def test_a_string_that_is_written_is_read_again(octets: bytes) -> None:
    """As clients write it; servers write the same without the `+`."""
    if b"\0" not in octets:
        assert events([b"X " + from_client(octets) + b"\r\n"]) == [Command(b"X", (octets,))]
    assert from_server(octets) == from_client(octets).replace(b"+}\r\n", b"}\r\n", 1)
    assert from_server(b"x" * 1025).startswith(b"{1025}\r\n")
