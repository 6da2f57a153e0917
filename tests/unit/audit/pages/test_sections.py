"""Sections of the report."""

from datetime import timedelta

import pytest

from gatekeeper.audit.pages.markup import joined
from gatekeeper.audit.pages.sections import Rule, apps, burn_down, decisions, gaps, minute
from gatekeeper.audit.period import AppUse, Period, Silence
from testkit.audit_log import NOW
from testkit.pages import Page


def words(section: object) -> str:
    return " ".join(Page(joined(section)).text.split())  # type: ignore[arg-type]  # an iterator of markup


@pytest.mark.parametrize(
    ("span", "said", "label"),
    [(1, "for each hour", "07-10 18:00"), (9, "for each 6 hours", "07-10 18:00"), (30, "for each day", "07-11"),
     (300, "for each week", "2020-07-16"), (1500, "for each 28 days", "2020-")],
)  # fmt: skip
def test_buckets_are_named_by_their_length(span: int, said: str, label: str) -> None:
    """A year where it could be another one."""
    period = Period(NOW, NOW + timedelta(days=span))
    for bucket in period.decisions:
        bucket["allow"] = 1
    found = words(decisions(period))
    assert said in found
    assert label in found


def test_the_deadline_stands_in_the_chart_only_when_it_is_in_the_period() -> None:
    """In the table it always stands."""
    period = Period(NOW, NOW + timedelta(days=9))
    period.breaches = {"no-tiktok": [3, 2, 1]}
    rule = Rule(id="no-tiktok", title="No TikTok", reason="", enforce=NOW + timedelta(days=2))
    found = words(burn_down(period, "policy x", [rule]))
    assert "no-tiktok enforced 2020-07-12 17:00" in found
    assert "no-tiktok No TikTok 2020-07-12 17:00 3 1" in found.replace("  ", " ")
    late = Rule(id="no-tiktok", title="No TikTok", reason="", enforce=NOW + timedelta(days=20))
    assert "no-tiktok enforced" not in words(burn_down(period, "policy x", [late]))
    never = Rule(id="other", title="Other", reason="", enforce=None)
    assert "other Other never 0 0" in words(burn_down(period, "policy x", [never]))


def test_long_lists_end_with_how_much_more_there_is() -> None:
    """A page is for reading."""
    period = Period(NOW, NOW)
    period.apps = {f"ios:app{number}": AppUse() for number in range(130)}
    period.silences = [Silence("log", 0, 10**7)] * 33
    assert "And 30 more." in words(apps(period))
    assert "And 13 more." in words(gaps(period))
    assert "2 h 46 min" in words(gaps(period))


def test_instants_are_shown_in_utc() -> None:
    """To the minute."""
    assert minute(NOW) == "2020-07-10 17:00"
