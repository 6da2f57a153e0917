"""Making a plan; the counts are a law in `tests/properties/test_plan_properties.py`."""

from datetime import timedelta

from decision.samples import NOON, TIKTOK, policy, posture, rule

from gatekeeper.campaign.classes import Asked
from gatekeeper.campaign.dates import Date
from gatekeeper.campaign.plan import Plan, Question
from gatekeeper.campaign.planner import Planner
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Reason, Verdict
from gatekeeper.domain.device import DeviceClass
from gatekeeper.domain.posture import Posture
from gatekeeper.domain.request import MailProtocol

ALICE, BOB = "alice@example.com", "bob@example.com"
DAY = timedelta(days=1)
NOTHING = policy('[defaults]\nevidence_max_age = "90d"\n')
LATER = policy(
    '[defaults]\nevidence_max_age = "90d"\n'
    + rule('{ id = "com.zhiliaoapp.musically" }', phases='warn = "2020-07-01", enforce = "2020-07-12T12:00:00Z"')
)
DATES = tuple(Date(NOON + number * DAY) for number in range(4))


def made(
    people: dict[str, list[Posture]],
    *,
    candidate: Policy = LATER,
    watched: tuple[str, ...] = (),
    max_names: int = 9,
) -> Plan:
    """The plan of `candidate` against `NOTHING`."""
    question = Question(
        in_force=NOTHING,
        candidate=candidate,
        asked=Asked(MailProtocol.IMAP, "imaps"),
        dates=DATES,
        watched=frozenset(watched),
    )
    planner = Planner(question, max_names=max_names)
    for account, postures in people.items():
        planner.take(account, postures)
    return planner.plan()


def test_what_a_rule_does_at_each_date() -> None:
    """Warned, then blocked; the policy in force does neither."""
    plan = made({ALICE: [posture([TIKTOK])], BOB: [posture(account=BOB)]})

    assert [tally.verdicts[Verdict.WARN] for tally in plan.candidate] == [1, 1, 0, 0]
    assert [tally.blocked for tally in plan.candidate] == [0, 0, 1, 1]
    assert [tally.blocked_by_rules for tally in plan.candidate] == [0, 0, 1, 1]
    assert [tally.blocked for tally in plan.in_force] == [0, 0, 0, 0]
    assert plan.candidate[3].rules == {("r", Verdict.BLOCK): 1}
    assert [(each.account, each.at, each.by, each.is_new) for each in plan.blocked] == [
        (ALICE, NOON + 2 * DAY, ("r",), True)
    ]


def test_a_person_is_cut_off_when_the_last_device_is() -> None:
    """One clean device is enough to read mail, for sessions that are tied to it."""
    two = [posture([TIKTOK], device_id="ph-1"), posture(device_id="ph-2")]
    plan = made({ALICE: two, BOB: [posture([TIKTOK], account=BOB)]})

    assert [(each.account, each.at, each.is_new) for each in plan.cut_off] == [(BOB, NOON + 2 * DAY, True)]
    # A session that is tied to the person only is judged by all mobile devices.
    assert plan.candidate[3].untied == {Verdict.BLOCK: 2}


def test_laptops_do_not_speak_for_a_person() -> None:
    """Somebody without a registered phone is an unknown device where a session is tied to the person only."""
    plan = made({ALICE: [posture(device_class=DeviceClass.LAPTOP)]})

    assert plan.candidate[0].verdicts == {Verdict.ALLOW: 1}
    assert plan.candidate[0].untied == {Verdict.BLOCK: 1}


def test_names_are_bounded_and_counts_are_not() -> None:
    """But a protected person is always told by name."""
    people = {f"u{number}@example.com": [posture([TIKTOK], account=f"u{number}@example.com")] for number in range(20)}
    plan = made(people, watched=("u19@example.com",), max_names=3)

    assert (len(plan.blocked), plan.blocked_total, plan.newly_blocked, plan.newly_by_rules) == (4, 20, 20, 20)
    assert (len(plan.cut_off), plan.cut_off_total, plan.newly_cut_off) == (3, 20, 20)
    assert plan.is_watched_hit
    assert [each.account for each in plan.watched[0].blocked] == ["u19@example.com"]


def test_evidence_that_cannot_answer_is_told() -> None:
    """Never reported, or by a list that proves nothing."""
    plan = made({ALICE: [posture(None), posture(device_id="ph-2", complete=False)]})

    assert [(each.device_id, each.reasons, each.verdict) for each in plan.unanswered] == [
        ("ph-001", (Reason.NO_EVIDENCE,), Verdict.BLOCK),
        ("ph-2", (Reason.INSUFFICIENT,), Verdict.BLOCK),
    ]


def test_what_a_coming_rule_will_ask_in_vain_is_told_before() -> None:
    """While there is time to let devices report it, not when the rule begins to bite."""
    flags = """
evidence_max_age = "90d"
insufficient = "block"
[[rule]]
id = "rooted"
flags = ["compromised"]
phases = { warn = "2020-07-12", enforce = "2020-07-13" }
"""
    plan = made({ALICE: [posture()]}, candidate=policy(f"[defaults]{flags}"))

    assert [tally.unanswered["rooted"] for tally in plan.candidate] == [0, 0, 1, 1]
    assert plan.unanswered_total == 1
    assert [(each.device_id, each.reasons, each.rules, each.verdict) for each in plan.unanswered] == [
        ("ph-001", (), ("rooted",), Verdict.WARN)
    ]
