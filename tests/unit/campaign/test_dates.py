"""The dates a plan looks at."""

from datetime import timedelta

from decision.samples import NOON, at, policy, rule

from gatekeeper.campaign.dates import EXACT_REPORTS, MAX_DATES, coming

HOUR = timedelta(hours=1)
DAYS = timedelta(days=1)
FRESH = '[defaults]\nevidence_max_age = "24h"\nstale = { action = "warn", then = "block", after = "72h" }\n'
PHASED = policy(FRESH + rule('{ id = "com.a" }', phases='warn = "2020-07-01", enforce = "2020-07-12T12:00:00Z"'))
EXEMPTION = '[[exemption]]\nid = "ex-1"\nrule = "r"\nusers = ["a@example.com"]\nexpires = "2020-08-01"\nreason = "r"\napproved_by = ["b"]\n'


def test_the_first_is_now_and_what_is_past_is_no_date() -> None:
    """Phases to come, with their names, within a week when nothing is asked for."""
    dates = coming((PHASED, PHASED), NOON, None, ())

    assert [(date.at, date.events) for date in dates] == [
        (NOON, ()),
        (at("2020-07-12T12:00:00Z"), ("r: enforce begins",)),
    ]


def test_the_last_event_of_the_year_is_in_sight() -> None:
    """The end of an exemption, at the first instant it no longer holds."""
    exempted = policy(rule('{ id = "com.a" }') + EXEMPTION)
    *_, last = coming((PHASED, exempted), NOON, None, ())

    assert (last.at, last.events) == (at("2020-08-02T00:00:00Z"), ("r: exemption ex-1 ends",))


def test_few_reports_grow_stale_at_exact_dates() -> None:
    """When they turn stale, and when that has lasted too long."""
    dates = coming((PHASED,), NOON, NOON + 5 * DAYS, (NOON - 2 * HOUR,))

    assert {NOON + 22 * HOUR, NOON + 94 * HOUR} <= {date.at for date in dates}


def test_many_reports_grow_stale_by_the_day() -> None:
    """Until all there are must be stale, not day by day for a year."""
    for collected in (None, tuple(NOON - number * HOUR for number in range(EXACT_REPORTS + 1))):
        dates = [date.at for date in coming((policy(FRESH),), NOON, NOON + 300 * DAYS, collected)]
        assert dates == [NOON + number * DAYS for number in range(6)]


def test_their_number_is_bounded() -> None:
    """Also when a policy has thousands of phases."""
    rules = "".join(
        rule(
            '{ id = "com.a" }',
            rule_id=f"r{number}",
            phases=f'enforce = "2020-07-{11 + number // 60 % 9}T10:{number % 60:02}:{number // 540:02}Z"',
        )
        for number in range(MAX_DATES + 9)
    )
    assert len(coming((policy(rules),), NOON, None, None)) == MAX_DATES
