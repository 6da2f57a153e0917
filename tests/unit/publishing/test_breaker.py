"""The breaker: who would newly lose their mail, now and at the dates to come, and when that is too many."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.campaign.classes import Asked
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.app import App
from gatekeeper.domain.posture import Posture
from gatekeeper.domain.request import MailProtocol
from gatekeeper.publishing.breaker import BreakerSettings, Count, Impact, objections
from testkit.publishing import POLICY, policy_text
from testkit.reports import NOW, phone, report

ASKED = [Asked(MailProtocol.IMAP, "imaps")]
OLD = policy_text(no_a="com.a.one")


def policy(text: str) -> Policy:
    """Compiled."""
    return parse_policy(text.encode(), source="p")


def posture(name: str, *ids: str, age: timedelta = timedelta(0)) -> Posture:
    """A person's phone with some apps."""
    apps = [App(id=each) for each in ids]
    found = report(phone(f"ph-{name}", f"{name}@example.com"), *apps, at=NOW - age)
    return Posture(device=found.device, result=found.result)


def impact(new: str, *postures: Posture, old: str = OLD) -> Impact:
    """What a new policy comes to."""
    count = Count(policy(old), policy(new), ASKED, NOW)
    for each in postures:
        count.take(each.device.account, [each])
    return count.impact()


def test_only_who_had_mail_can_newly_lose_it() -> None:
    """Whom the old policy blocks already is not counted, nor who stays as they are."""
    found = impact(
        policy_text(no_a="com.a.one", no_b="com.b.*"),
        posture("a", "com.a.one", "com.b.two"),
        posture("b", "com.b.two"),
        posture("c", "com.c.three"),
    )

    assert (found.people, found.newly_blocked, dict(found.by_rule)) == (3, {"b@example.com"}, {"no-b": 1})


def test_a_rule_that_begins_later_counts_now() -> None:
    """Nobody looks again when its date comes."""
    later = policy_text(no_b="com.b.*").replace('"2020-07-10"', f'"{(NOW + timedelta(days=30)).date()}"')

    assert impact(later, posture("b", "com.b.two")).newly_blocked == {"b@example.com"}


def test_what_only_ages_is_not_the_policys_doing() -> None:
    """In a month everybody's report of today is stale by both policies; and who is stale today is so by both."""
    later = (OLD + policy_text(no_b="com.b.*").removeprefix(POLICY)).replace(
        '"com.b.*" }]\nphases = { enforce = "2020-07-10"',
        f'"com.b.*" }}]\nphases = {{ enforce = "{(NOW + timedelta(days=30)).date()}"',
    )
    assert policy(later).rules[1].phases.at(NOW) is None
    found = impact(
        later, posture("b", "com.b.two"), posture("c", "com.c"), posture("d", "com.b.two", age=timedelta(days=9))
    )

    assert found.newly_blocked == {"b@example.com"}


def test_devices_that_nobody_registered_are_said_to_be_hit() -> None:
    """How many there are, no inventory tells."""
    lax = POLICY.replace('"block"', '"allow"')

    assert impact(POLICY, old=lax).unregistered
    assert not impact(lax, old=POLICY).unregistered
    assert "how many there are is not known" in objections(BreakerSettings(), impact(POLICY, old=lax))[0]


def said(people: int, blocked: int, **settings: object) -> tuple[str, ...]:
    """The objections when so many of so many are newly blocked."""
    names = frozenset(f"u{number}@example.com" for number in range(blocked))
    return objections(BreakerSettings(**settings), Impact(people=people, newly_blocked=names))


@pytest.mark.parametrize(
    ("blocked", "settings", "trips"),
    [
        (10, {}, False),
        (11, {}, True),
        (0, {"max_percent": 0, "max_people": 0}, False),
        (1, {"max_percent": 0}, True),
        (5, {"max_people": 5}, False),
        (6, {"max_people": 5}, True),
        (100, {"max_percent": 100}, False),
    ],
)
def test_the_bounds_are_allowed_and_nothing_above(blocked: int, settings: dict[str, object], trips: bool) -> None:
    """Of a hundred people."""
    assert bool(said(100, blocked, **settings)) is trips


def test_one_protected_person_is_too_many() -> None:
    """Named, however large the site is."""
    (words,) = said(10_000, 3, protected=frozenset({"u1@example.com", "x@example.com"}))

    assert words == "would newly block protected people: u1@example.com"


@given(st.lists(st.sets(st.sampled_from(["com.a.one", "com.b.two", "com.c.three"])), max_size=8), st.booleans())
def test_a_policy_newly_blocks_nobody_against_itself(lists: list[set[str]], wide: bool) -> None:
    """And one more rule never counts fewer."""
    postures = [posture(f"p{number}", *sorted(ids)) for number, ids in enumerate(lists)]
    more = policy_text(no_a="com.a.one", no_b="com.*" if wide else "com.b.two")

    assert not impact(more, *postures, old=more).newly_blocked
    assert impact(OLD, *postures, old=POLICY).newly_blocked <= impact(more, *postures, old=POLICY).newly_blocked
