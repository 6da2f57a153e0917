"""Pseudonyms: what they tell apart."""

from datetime import UTC, datetime

import pytest

from gatekeeper.audit.pseudonyms import PSEUDONYM, Kind, pseudonym, quarter_end_ms, quarter_named, quarter_of

KEY = b"k" * 32


@pytest.mark.parametrize(
    ("month", "quarter"), [(1, "2026q1"), (3, "2026q1"), (4, "2026q2"), (9, "2026q3"), (10, "2026q4"), (12, "2026q4")]
)
def test_a_quarter_has_three_months(month: int, quarter: str) -> None:
    """In UTC, and it ends where the next one begins."""
    assert quarter_of(datetime(2026, month, 28, 23, 59, tzinfo=UTC)) == quarter
    after = datetime.fromtimestamp(quarter_end_ms(quarter) / 1000, UTC)
    assert (after.day, after.hour, after.month % 3) == (1, 0, 1)
    assert quarter_of(after) != quarter


def test_a_pseudonym_is_one_name_s_in_one_quarter_by_one_key() -> None:
    """Anything else gives another one, and none of them has the name in it."""
    found = pseudonym(KEY, "2026q4", Kind.PERSON, "alice")
    assert found == pseudonym(KEY, "2026q4", Kind.PERSON, "alice")
    others = {
        pseudonym(b"o" * 32, "2026q4", Kind.PERSON, "alice"),
        pseudonym(KEY, "2026q3", Kind.PERSON, "alice"),
        pseudonym(KEY, "2026q4", Kind.DEVICE, "alice"),
        pseudonym(KEY, "2026q4", Kind.PERSON, "alice\0"),
        pseudonym(KEY, "2026q4", Kind.PERSON, "\ud800"),
    }
    assert len({one.partition(":")[2] for one in {found, *others}}) == 6
    assert found.startswith("u2026q4:")
    assert quarter_named(found) == "2026q4"


def test_pseudonyms_are_recognised() -> None:
    """As a whole, not as a part of something longer."""
    found = pseudonym(KEY, "2026q4", Kind.DEVICE, "ph-001")
    assert PSEUDONYM.findall(f"user=x {found}@17 {found}, {found}f z{found}") == [found, found]
    assert not PSEUDONYM.fullmatch("u2026q5:" + "0" * 32)


@pytest.mark.parametrize("text", ["", "2026", "2026q5", "2026Q4", "2026q4 "])
def test_what_is_no_quarter_is_refused(text: str) -> None:
    """With a ValueError."""
    with pytest.raises(ValueError):
        quarter_end_ms(text)
