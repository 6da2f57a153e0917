"""The bounded line buffer that every log-in client reads a mail server through, and the cleaning of its texts."""

import pytest

from gatekeeper.protocols.login import MAX_LINE_OCTETS, MAX_LINES, LineBuffer, clean_text


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
    lines.receive_data(b"\nc\n")
    assert lines.skip(4)
    assert lines.next_line() == b"c"


@pytest.mark.parametrize(
    ("octets", "text"),
    [(b"fine", "fine"), (b" \x1b[0m\x00\r\n\x7f\xc3\xa4 ", "?[0m??????"), (b"x" * 500, "x" * 400), (b"", "")],
    ids=["clean", "controls", "long", "empty"],
)
def test_texts_are_one_line_of_printable_ascii(octets: bytes, text: str) -> None:
    """Controls, 8-bit octets and length are seen to."""
    assert clean_text(octets) == text
