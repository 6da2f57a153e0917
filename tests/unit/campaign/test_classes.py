"""Classes of devices; that they are right is a law in `tests/properties/test_plan_properties.py`."""

from dataclasses import replace
from datetime import timedelta

from decision.samples import NOON, TIKTOK, policy, posture, rule

from gatekeeper.campaign.classes import Asked, Classes, blocked_at
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.request import MailProtocol

HOUR = timedelta(hours=1)
IMAP = Asked(MailProtocol.IMAP, "imaps")
DATES = (NOON, NOON + 24 * HOUR)
STALE = '[defaults]\nevidence_max_age = "30h"\nstale = "block"\n'
POLICY = policy(
    STALE
    + '[groups]\nlab = ["bob@example.com"]\n'
    + rule('{ id = "com.zhiliaoapp.musically" }', 'scope = { not_groups = ["lab"] }')
    + '[[exemption]]\nid = "ex"\nrule = "r"\ndevices = ["ph-9"]\nexpires = "2021-01-01"\nreason = "r"\napproved_by = ["b"]\n'
)


def test_what_no_rule_asks_for_makes_no_class() -> None:
    """Ids, people who are named nowhere, and the minute of a report."""
    classes = Classes([(POLICY, IMAP)], DATES)
    for number in range(100):
        classes.courses(
            posture(device_id=f"ph-1{number}", account=f"u{number}@example.com", collected_at=NOON - number * HOUR / 60)
        )

    assert len(classes) == 1


def test_what_a_rule_asks_for_does() -> None:
    """Groups, devices that an exemption names, apps, and reports that are stale at another date."""
    classes = Classes([(POLICY, IMAP)], DATES)
    for one in (
        posture(),
        posture(account="bob@example.com"),
        posture(device_id="ph-9"),
        posture([TIKTOK]),
        posture(collected_at=NOON - 12 * HOUR),
        posture(collected_at=NOON - 31 * HOUR),
        posture(None),
    ):
        classes.courses(one)

    assert len(classes) == 7


def test_what_goes_on_reporting_does_not_grow_stale() -> None:
    """What is stale stays so; a rule still begins."""
    later = rule('{ id = "com.zhiliaoapp.musically" }', phases='enforce = "2020-07-12"')
    dates = (NOON, NOON + 240 * HOUR)
    classes = Classes([(policy(STALE + later), replace(IMAP, reporting_since=NOON))], dates)
    phones = (posture(), posture([TIKTOK]), posture(collected_at=NOON - 31 * HOUR), posture(None))
    courses = [classes.courses(phone)[0] for phone in phones]

    assert [[course.at(date).verdict for date in (0, 1)] for course in courses] == [
        [Verdict.ALLOW, Verdict.ALLOW],
        [Verdict.ALLOW, Verdict.BLOCK],
        [Verdict.BLOCK, Verdict.BLOCK],
        [Verdict.BLOCK, Verdict.BLOCK],
    ]


def test_a_course_says_when_it_changes() -> None:
    """From fresh to stale between the two dates, at an instant that can be told."""
    phone = posture(collected_at=NOON - 12 * HOUR)
    (course,) = Classes([(POLICY, IMAP)], DATES).courses(phone)

    assert [course.at(date).verdict for date in (0, 1)] == [Verdict.ALLOW, Verdict.BLOCK]
    assert course.blocked_from == 1
    assert blocked_at(POLICY, phone, IMAP, *DATES) == NOON + 18 * HOUR
