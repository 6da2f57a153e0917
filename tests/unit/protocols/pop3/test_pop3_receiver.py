"""The phone's lines: bounds, and how a line is taken apart."""

import pytest

from gatekeeper.protocols.lines import MAX_AUTH_OCTETS, Fatal
from gatekeeper.protocols.pop3.server import MAX_COMMAND_OCTETS, Command, Receiver, parse_command
from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS


@pytest.mark.parametrize(
    ("start", "limit"), [(b"USER ", MAX_COMMAND_OCTETS), (b"PASS ", MAX_COMMAND_OCTETS), (b"aUtH ", MAX_AUTH_OCTETS)]
)
def test_commands_are_bounded(start: bytes, limit: int) -> None:
    """The longest line passes, with its end or without; one octet more ends the dialogue before its end is there."""
    longest = start.ljust(limit, b"x")
    receiver = Receiver()
    receiver.receive_data(longest + b"\r")
    assert receiver.next_command() is None
    receiver.receive_data(b"\n")
    assert receiver.next_command() == longest

    over = Receiver()
    over.receive_data(longest + b"xx")
    assert over.next_command() is Fatal.LINE_TOO_LONG


def test_responses_have_a_bound_of_their_own() -> None:
    """A line that would be too long for a command is none as a response."""
    receiver = Receiver()
    receiver.receive_data(b"A" * MAX_RESPONSE_OCTETS + b"\r\nQUIT\r\n")
    assert receiver.next_response() == b"A" * MAX_RESPONSE_OCTETS
    assert receiver.trailing_data == b"QUIT\r\n"


@pytest.mark.parametrize("line", [b"CAPA\n", b"CA\rPA\r\n", b"CAPA\0\r\n", b"\n"])
def test_lines_end_in_crlf(line: bytes) -> None:
    """Anything else is read differently by different servers."""
    receiver = Receiver()
    receiver.receive_data(line)
    assert receiver.next_command() is Fatal.BAD_OCTETS


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"capa", Command(b"CAPA", None)),
        (b"PASS  a b ", Command(b"PASS", b" a b ")),
        (b"PASS ", Command(b"PASS", b"")),
        (b"", Command(b"", None)),
        (b"\xff\x01", Command(b"\xff\x01", None)),
        (b"GET / HTTP/1.1", None),
        (b"POST pop3.example.com:110 HTTP/2", None),
    ],
)
def test_a_line_is_taken_apart_at_its_first_space(line: bytes, command: Command | None) -> None:
    """The name in upper case, and every octet behind the space; HTTP is no command."""
    assert parse_command(line) == command
