"""Burn-downs as pictures and as text."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

from gatekeeper.campaign.chart import Line, bars, by_day, running, svg

NOW = datetime(2020, 7, 10, tzinfo=UTC)
DAY = timedelta(days=1)
LINE = Line("have <it> & more", "#1f6fb4", ((NOW, 4), (NOW + DAY, 2), (NOW + 2 * DAY, 2), (NOW + 3 * DAY, 0)))


def test_changes_add_up_from_before_the_first_point() -> None:
    """What was before `since` is its value there."""
    changes = [(NOW - DAY, 1), (NOW - DAY, 1), (NOW + DAY, -1)]

    assert running(changes, NOW, NOW + 2 * DAY) == ((NOW, 2), (NOW + DAY, 1), (NOW + 2 * DAY, 1))
    assert running([], NOW, NOW + DAY) == ((NOW, 0), (NOW + DAY, 0))


def test_a_picture_is_well_formed_and_says_what_it_shows() -> None:
    """Titles are text, whatever they contain; a reader without eyes gets the figures."""
    root = ET.fromstring(svg([LINE], title="a < b", now=NOW))
    texts = [element.text for element in root.iter()]

    assert "a < b" in texts
    assert "have <it> & more: from 4 to 0" in texts


def test_one_point_is_a_picture_too() -> None:
    """An empty inventory does not divide by nothing."""
    assert ET.fromstring(svg([Line("none", "#000000", ((NOW, 0),))], title="t", now=NOW)) is not None


def test_bars_are_as_long_as_their_value() -> None:
    """The longest is full, nothing is none, what does not change is said once."""
    assert bars([LINE]) == [
        "have <it> & more",
        f"  2020-07-10 00:00  {'█' * 40} 4",
        f"  2020-07-11 00:00  {'█' * 20} 2",
        "  2020-07-13 00:00  0",
    ]


def test_a_day_has_one_point() -> None:
    """The last of the day, beside the very first."""
    hours = tuple((NOW + timedelta(hours=number), number) for number in range(30))

    assert [value for _, value in by_day(hours)] == [0, 23, 29]
