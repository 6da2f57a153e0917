"""Break-glass notes: one key, one gate, one hour at most, and only in their time."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.publishing.break_glass import BreakGlassError, BreakGlassSettings, Opening, opening, parse_opening
from gatekeeper.signing.note import Note, SigningKey
from testkit.publishing import MALLORY, key
from testkit.reports import NOW

GLASS = key("break-glass")
SETTINGS = BreakGlassSettings(key=GLASS.verifier, origin="gatekeeper.example/audit/1")
MINUTE = timedelta(minutes=1)


def note(
    minutes: int = 30, *, origin: str = SETTINGS.origin, by: SigningKey = GLASS, reason: str = "MDM outage"
) -> bytes:
    """A note that begins now."""
    return by.sign(opening(origin, minutes, reason, NOW).note).encode()


def test_a_good_note_says_until_when_and_why() -> None:
    """Also after its time: whoever reads it compares."""
    found = parse_opening(note(), SETTINGS, NOW + 90 * MINUTE)

    assert (found.opened, found.until, found.reason) == (NOW, NOW + 30 * MINUTE, "MDM outage")
    assert found.words == "OPEN until 2020-07-10T16:30:00Z: everybody with a valid password gets mail (MDM outage)"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (note(by=MALLORY), "is not signed by `break-glass`"),
        (note(origin="other.example/audit/1"), "is for `other.example/audit/1`"),
        (note(61), "longer than 60 minutes"),
        (note(0), "or has no length"),
        (note(-5), "or has no length"),
        (note().replace(b"16:30", b"16:59"), "does not fit"),
        (GLASS.sign(Note("break-glass x\n")).encode(), "does not say what"),
        (GLASS.sign(Note("gatekeeper.example/policy\n1\n")).encode(), "does not say what"),
        (b"open sesame", "no empty line"),
    ],
)
def test_what_opens_nothing_is_told_why(data: bytes, words: str) -> None:
    """One reason each."""
    with pytest.raises(BreakGlassError, match=words):
        parse_opening(data, SETTINGS, NOW)


def test_a_note_for_later_opens_nothing() -> None:
    """Two minutes of skew are forgiven."""
    assert parse_opening(note(), SETTINGS, NOW - 2 * MINUTE)
    with pytest.raises(BreakGlassError, match="begins in the future"):
        parse_opening(note(), SETTINGS, NOW - 3 * MINUTE)


@pytest.mark.parametrize("reason", ["", " x", "two\nlines", "x" * 301])
def test_a_reason_is_one_line(reason: str) -> None:
    """It is recorded."""
    with pytest.raises(BreakGlassError):
        opening(SETTINGS.origin, 5, reason, NOW)


@given(st.binary(max_size=200))
def test_any_octets_open_nothing(data: bytes) -> None:
    """Total."""
    with pytest.raises(BreakGlassError):
        parse_opening(data, SETTINGS, NOW)


@given(minutes=st.integers(1, 60), later=st.integers(-200, 200), reason=st.text(min_size=1, max_size=40))
def test_a_note_is_read_as_it_was_written(minutes: int, later: int, reason: str) -> None:
    """For every reason that can be written; never longer than it says."""
    try:
        made = opening(SETTINGS.origin, minutes, reason, NOW)
    except BreakGlassError:
        return
    try:
        found = parse_opening(GLASS.sign(made.note).encode(), SETTINGS, NOW + later * MINUTE)
    except BreakGlassError:
        assert later < -2
        return
    assert found == made
    assert isinstance(found, Opening)
