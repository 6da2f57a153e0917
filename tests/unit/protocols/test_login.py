"""The bounded line buffer that every log-in client reads a mail server through, and the cleaning of its texts."""

import pytest

from gatekeeper.domain.secret import Secret
from gatekeeper.protocols.imap.client import ImapLogin
from gatekeeper.protocols.login import MAX_LINE_OCTETS, MAX_LINES, LineBuffer, LoginClient, Send, clean_text
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism
from gatekeeper.protocols.smtp.client import SmtpLogin


def test_lines_end_in_lf_with_or_without_cr() -> None:
    """A line comes out without its end, and only when it is complete."""
    lines = LineBuffer()
    lines.receive_data(b"a\r\nb\nc")
    assert [lines.next_line(), lines.next_line(), lines.next_line()] == [b"a", b"b", None]
    assert lines.rest == b"c"
    lines.receive_data(b"\r\n")
    assert lines.next_line() == b"c"


def test_a_line_is_bounded_with_and_without_its_end() -> None:
    """The longest line passes, one octet more does not."""
    lines = LineBuffer()
    lines.receive_data(b"x" * MAX_LINE_OCTETS + b"\n" + b"x" * MAX_LINE_OCTETS)
    assert lines.next_line() == b"x" * MAX_LINE_OCTETS
    assert lines.next_line() is None
    lines.receive_data(b"x")
    with pytest.raises(OverflowError, match="too long"):
        lines.next_line()

    complete = LineBuffer()
    complete.receive_data(b"x" * (MAX_LINE_OCTETS + 1) + b"\n")
    with pytest.raises(OverflowError, match="too much"):
        complete.next_line()


def test_the_number_of_lines_is_bounded() -> None:
    """One line more than allowed is refused."""
    lines = LineBuffer()
    lines.receive_data(b"\n" * (MAX_LINES + 1))
    for _ in range(MAX_LINES):
        assert lines.next_line() == b""
    with pytest.raises(OverflowError, match="too much"):
        lines.next_line()


def test_a_literal_is_skipped_once_it_is_complete() -> None:
    """Its octets are no lines."""
    lines = LineBuffer()
    lines.receive_data(b"a\nb")
    assert not lines.skip(4)
    assert lines.rest == b"", "what is skipped is not kept meanwhile"
    lines.receive_data(b"\nc\n")
    assert lines.skip(4)
    assert lines.next_line() == b"c"
    lines.receive_data(b"12345d\n")
    assert lines.skip(5)
    assert lines.next_line() == b"d"


@pytest.mark.parametrize(
    ("octets", "text"),
    [(b"fine", "fine"), (b" \x1b[0m\x00\r\n\x7f\xc3\xa4 ", "?[0m??????"), (b"x" * 500, "x" * 400), (b"", "")],
    ids=["clean", "controls", "long", "empty"],
)
def test_texts_are_one_line_of_printable_ascii(octets: bytes, text: str) -> None:
    """Controls, 8-bit octets and length are seen to."""
    assert clean_text(octets) == text


CREDENTIALS = Credentials(mechanism=Mechanism.LOGIN, name="alice", secret=Secret("pass wörd".encode()))


@pytest.mark.parametrize(
    ("client", "said", "bears"),
    [
        (
            ImapLogin(CREDENTIALS, name="alice", starttls=False, tag="t", id_fields=[("x", "y")]),
            [b"* OK hi\r\n", b"* CAPABILITY IMAP4rev1 ID\r\ntc OK\r\n", b"+ go\r\n"],
            [False, True, True],
        ),
        (
            ImapLogin(CREDENTIALS, name="alice", starttls=True, tag="t"),
            [b"* OK [CAPABILITY STARTTLS] hi\r\n"],
            [False],
        ),
        (
            SmtpLogin(CREDENTIALS, name="alice", starttls=False, ehlo_name="gate", client=("192.0.2.1", 1)),
            [
                b"220 hi\r\n",
                b"250-mx\r\n250 XCLIENT ADDR\r\n",
                b"220 again\r\n",
                b"250-mx\r\n250 AUTH LOGIN\r\n",
                b"334 \r\n",
                b"334 \r\n",
            ],
            [False, False, False, True, True, True],
        ),
        (
            SmtpLogin(CREDENTIALS, name="alice", starttls=True, ehlo_name="gate"),
            [b"220 hi\r\n", b"250-mx\r\n250 STARTTLS\r\n"],
            [False, False],
        ),
    ],
    ids=["imap", "imap-starttls", "smtp", "smtp-starttls"],
)
def test_what_bears_credentials_says_so(client: LoginClient, said: list[bytes], bears: list[bool]) -> None:
    """From the first such octets on no other server is tried; what comes before may be said to several."""
    sent = []
    for data in said:
        client.receive_data(data)
        step = client.next_step()
        assert isinstance(step, Send)
        sent.append(step.bears_credentials)
    assert sent == bears


def test_what_does_not_say_otherwise_bears_credentials() -> None:
    """A client that forgets it loses failover, not a password."""
    assert Send(b"x").bears_credentials
