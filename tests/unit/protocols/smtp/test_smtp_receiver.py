"""The phone's lines: framing, bounds, and what is left for the mail server."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.protocols.lines import MAX_AUTH_OCTETS, Fatal
from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS
from gatekeeper.protocols.smtp.server import MAX_COMMAND_OCTETS, Receiver


def commands(pieces: list[bytes]) -> list[bytes | Fatal]:
    """Feed the pieces and take every command as soon as it is there, up to the first fatal one."""
    receiver = Receiver()
    found: list[bytes | Fatal] = []
    for piece in pieces:
        receiver.receive_data(piece)
        while (line := receiver.next_command()) is not None:
            found.append(line)
            if isinstance(line, Fatal):
                return found
    return found


def one_by_one(data: bytes) -> list[bytes]:
    """Every octet on its own."""
    return [data[at : at + 1] for at in range(len(data))]


@given(st.lists(st.binary(max_size=40).filter(lambda line: not set(line) & set(b"\r\n\0")), max_size=6), st.data())
def test_any_split_gives_the_same_lines(lines: list[bytes], data: st.DataObject) -> None:
    """Lines come out as they were sent, however the octets were cut."""
    sent = b"".join(line + b"\r\n" for line in lines)
    ends = sorted(data.draw(st.sets(st.integers(0, len(sent)))) | {0, len(sent)})

    assert commands([sent[a:b] for a, b in pairwise(ends)]) == lines


@pytest.mark.parametrize("octets", [b"a\n", b"\n", b"EHLO x\nMAIL FROM:<a@b>\n", b"a\rb\r\n", b"a\r\r\n", b"a\0b\r\n"])
def test_octets_that_servers_disagree_on_are_fatal(octets: bytes) -> None:
    """A bare LF, a bare CR and a NUL end the dialogue, whole or octet by octet."""
    assert commands([octets]) == [Fatal.BAD_OCTETS]
    assert commands(one_by_one(octets)) == [Fatal.BAD_OCTETS]


@pytest.mark.parametrize(
    ("start", "limit"), [(b"EHLO ", MAX_COMMAND_OCTETS), (b"AUTH ", MAX_AUTH_OCTETS), (b"auth ", MAX_AUTH_OCTETS)]
)
def test_a_command_is_bounded(start: bytes, limit: int) -> None:
    """The longest command passes, one octet more does not, with or without its end."""
    longest = start + b"x" * (limit - len(start))

    assert commands([longest + b"\r\n"]) == commands([longest, b"\r", b"\n"]) == [longest]
    assert commands([longest + b"x\r\n"]) == commands([longest + b"xx"]) == [Fatal.LINE_TOO_LONG]
    assert commands([longest, b"xx"]) == [Fatal.LINE_TOO_LONG]


def test_a_response_is_bounded() -> None:
    """The longest response passes, one octet more does not."""
    for extra, expected in (0, b"x" * MAX_RESPONSE_OCTETS), (1, Fatal.LINE_TOO_LONG):
        receiver = Receiver()
        receiver.receive_data(b"x" * (MAX_RESPONSE_OCTETS + extra) + b"\r\n")
        assert receiver.next_response() == expected


def test_what_is_not_a_line_stays() -> None:
    """Octets behind the line that was taken are left, in order and whole."""
    receiver = Receiver()
    receiver.receive_data(b"AUTH PLAIN x\r\nMAIL FR")
    receiver.receive_data(b"OM:<a>\r\n\0\n")

    assert receiver.next_command() == b"AUTH PLAIN x"
    assert receiver.trailing_data == b"MAIL FROM:<a>\r\n\0\n"


def test_no_line_is_searched_twice() -> None:
    """After an incomplete line the search goes on where it ended, and finds the LF at the seam."""
    receiver = Receiver()
    for octet in one_by_one(b"NOOP\r"):
        receiver.receive_data(octet)
        assert receiver.next_command() is None
    receiver.receive_data(b"\nQ")

    assert receiver.next_command() == b"NOOP"
    assert receiver.next_command() is None
    assert receiver.trailing_data == b"Q"
