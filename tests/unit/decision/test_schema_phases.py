"""Grace and rollout as text."""

from datetime import timedelta

import pytest

from gatekeeper.decision.decide import decide
from gatekeeper.decision.message import render
from gatekeeper.domain.decision import Verdict

from .samples import TIKTOK, at, faults, policy, posture, request, rule, subject

GRACE = 'grace = { per_device = "7d", cap = "2020-07-20" }'
ENFORCE = 'enforce = "2020-07-10"'


def test_reads_both() -> None:
    """In the zone of the rule."""
    extra = (
        GRACE + '\nrollout = [{ from = "2020-07-10", percent = 5 }, { from = "2020-07-12T08:00:00", percent = 100 }]'
    )
    found = policy(rule("{ id = 'a' }", extra, phases=f'zone = "Europe/Berlin", {ENFORCE}')).rules[0]
    assert found.grace is not None
    assert (found.grace.per_device, found.grace.cap) == (timedelta(days=7), at("2020-07-20T00:00:00+02:00"))
    assert [(step.begin, step.percent) for step in found.rollout] == [
        (at("2020-07-10T00:00:00+02:00"), 5),
        (at("2020-07-12T08:00:00+02:00"), 100),
    ]


@pytest.mark.parametrize(
    ("phases", "extra", "expected"),
    [
        (ENFORCE, 'grace = { per_device = "7d" }', "grace.cap: is required"),
        (ENFORCE, 'grace = { per_device = "7", cap = "2020-07-20" }', "grace.per_device: `7` is not a duration"),
        (ENFORCE, 'grace = { per_device = "7d", cap = "2020-07-09" }', "grace.cap: lies before `phases.enforce`"),
        ('warn = "2020-07-10"', GRACE, "grace: needs `phases.enforce`: what it puts off"),
        ('warn = "2020-07-10"', 'rollout = [{ from = "2020-07-10", percent = 5 }]', "rollout: needs `phases.enforce`"),
        (ENFORCE, "rollout = []", "rollout: must not be empty"),
        (
            ENFORCE,
            'rollout = [{ from = "2020-07-10", percent = 101 }]',
            "rollout[0].percent: must lie between 0 and 100",
        ),
        (ENFORCE, "rollout = [{ percent = 1 }]", "rollout[0].from: is required"),
        (
            ENFORCE,
            'rollout = [{ from = "2020-07-10", percent = 9 }, { from = "2020-07-10", percent = 10 }]',
            "rollout[1].from: does not come after the step before",
        ),
        (
            ENFORCE,
            'rollout = [{ from = "2020-07-10", percent = 9 }, { from = "2020-07-11", percent = 8 }]',
            "rollout[1].percent: is less than the 9 before: a rollout only adds devices",
        ),
        (
            ENFORCE,
            'action = "quarantine"',
            "action: `quarantine` is not in this version: no front has an answer between `warn` and `block`",
        ),
        (
            ENFORCE,
            'action = "quarantine"\nscope = { protocols = ["http"] }',
            "action: `quarantine` is not in this version",
        ),
    ],
)
def test_faults(phases: str, extra: str, expected: str) -> None:
    """With their keys."""
    found = faults("schema = 1\n" + rule("{ id = 'a' }", extra, phases=phases))
    assert any(f"rule[0].{expected}" in fault for fault in found), found


def test_a_deadline_is_the_device_s_own_and_told_in_the_zone() -> None:
    """And it is the next instant at which time changes the decision."""
    text = rule(
        f"{{ id = '{TIKTOK.id}' }}",
        GRACE + '\n[rule.message.en]\nshort = "s"\nfix = "Until {deadline}, case {code}."',
        phases=f'zone = "Europe/Berlin", warn = "2020-07-01", {ENFORCE}',
    )
    now = at("2020-07-11T00:00:00+00:00")
    phone = posture([TIKTOK], collected_at=now, first_seen=at("2020-07-04T15:00:00+00:00"))
    decision = decide(policy(text), subject(phone), request(), now)
    assert decision.verdict is Verdict.WARN
    assert decision.deadline == decision.valid_until == at("2020-07-11T15:00:00+00:00")
    assert decision.message is not None
    words = render(decision.message, app=None, check_url="", deadline=decision.deadline, code="0123456789abcdef")
    assert words[1] == "Until 2020-07-11 17:00 CEST, case 0123456789abcdef."
