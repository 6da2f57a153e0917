"""One device by one policy: effects, state, and the next instant that matters."""

from datetime import UTC, datetime, timedelta

import pytest

from gatekeeper.decision.judgement import judge, later
from gatekeeper.domain.app import App
from gatekeeper.domain.decision import Reason, Verdict
from gatekeeper.domain.device import DeviceClass, Ownership
from gatekeeper.domain.posture import PostureState, Scope

from .samples import NOON, NOTES, SIGNER, TIKTOK, at, policy, posture, request, rule

ALLOW, WARN, BLOCK = Verdict.ALLOW, Verdict.WARN, Verdict.BLOCK
DEFAULTS = """
[defaults]
evidence_max_age = "24h"
stale = { action = "warn", then = "block", after = "72h" }
insufficient = { company = "block", personal = "warn" }
"""
SIGNED = App(id="com.example.notes", name="Notes", signer_sha256=("cd" * 32,))


@pytest.mark.parametrize(
    ("age", "effects", "valid_until"),
    [
        (timedelta(hours=-1), [], timedelta(hours=24)),
        (timedelta(0), [], timedelta(hours=24)),
        (timedelta(hours=24, microseconds=-1), [], timedelta(hours=24)),
        (timedelta(hours=24), [(WARN, Reason.STALE)], timedelta(hours=96)),
        (timedelta(hours=95), [(WARN, Reason.STALE)], timedelta(hours=96)),
        (timedelta(hours=96), [(BLOCK, Reason.STALE)], None),
    ],
)
def test_evidence_ages(age: timedelta, effects: list[tuple[Verdict, Reason]], valid_until: timedelta | None) -> None:
    """Fresh for a day, then stale, then stale enough to block; the next boundary is known."""
    judgement = judge(policy(DEFAULTS), posture(collected_at=NOON), request(), NOON + age)
    assert judgement.effects == effects
    assert judgement.valid_until == (NOON + valid_until if valid_until else None)


@pytest.mark.parametrize(
    ("scope", "complete", "ownership", "effects"),
    [
        (Scope.FULL, True, None, []),
        (Scope.FULL, False, Ownership.COMPANY, [(BLOCK, Reason.INSUFFICIENT)]),
        (Scope.MANAGED_ONLY, True, Ownership.PERSONAL, [(WARN, Reason.INSUFFICIENT)]),
        (Scope.WORK_PROFILE, True, None, [(BLOCK, Reason.INSUFFICIENT)]),
    ],
)
def test_a_list_that_cannot_prove_absence(
    scope: Scope, complete: bool, ownership: Ownership | None, effects: list[tuple[Verdict, Reason]]
) -> None:
    """By ownership; unknown ownership takes the stricter."""
    found = judge(policy(DEFAULTS), posture(scope=scope, complete=complete, ownership=ownership), request(), NOON)
    assert found.effects == effects
    assert found.state is (PostureState.INSUFFICIENT if effects else PostureState.CLEAN)


@pytest.mark.parametrize(
    ("defaults", "expected"),
    [
        ('unknown_device = "warn"\ninsufficient = "allow"', WARN),
        ('unknown_device = "allow"\ninsufficient = { company = "block", personal = "allow" }', BLOCK),
        ('unknown_device = { mobile = "warn", default = "block" }\ninsufficient = "allow"', WARN),
        ('unknown_device = "block"\ninsufficient = "block"\nno_evidence = "allow"', ALLOW),
        ('no_evidence = { company = "warn" }', WARN),
    ],
)
def test_a_registered_device_without_evidence(defaults: str, expected: Verdict) -> None:
    """Its own default, or the stricter of the two for less and for more knowledge."""
    found = judge(policy(f"[defaults]\n{defaults}"), posture(None), request(), NOON)
    assert found.effects == [(expected, Reason.NO_EVIDENCE)]
    assert found.state is PostureState.UNKNOWN
    assert found.valid_until is None


def test_a_device_of_another_account_is_an_unknown_device_too() -> None:
    """On top of everything the device is judged by itself."""
    found = judge(policy(rule(f"{{ id = '{TIKTOK.id}' }}")), posture([TIKTOK]), request("bob@example.com"), NOON)
    assert found.effects == [(BLOCK, Reason.DEVICE_OF_ANOTHER_USER), (BLOCK, Reason.APP_MATCH)]
    assert found.state is PostureState.DENIED
    own_class = policy('[defaults]\nunknown_device = { laptop = "warn" }')
    laptop = posture(device_class=DeviceClass.LAPTOP)
    found = judge(own_class, laptop, request("bob@example.com"), NOON)
    assert found.effects == [(WARN, Reason.DEVICE_OF_ANOTHER_USER)]
    assert found.state is PostureState.UNKNOWN


@pytest.mark.parametrize(
    ("phases", "ownership", "effects"),
    [
        ('enforce = "2020-01-01"', Ownership.COMPANY, [(BLOCK, Reason.INSUFFICIENT)]),
        ('enforce = "2020-01-01"', Ownership.PERSONAL, [(WARN, Reason.INSUFFICIENT)]),
        ('warn = "2020-01-01"', Ownership.COMPANY, [(WARN, Reason.INSUFFICIENT)]),
        ('observe = "2020-01-01"', Ownership.COMPANY, [(ALLOW, Reason.INSUFFICIENT)]),
        ('enforce = "2021-01-01"', Ownership.COMPANY, []),
    ],
)
def test_a_rule_that_the_list_cannot_answer(
    phases: str, ownership: Ownership, effects: list[tuple[Verdict, Reason]]
) -> None:
    """Is insufficient evidence, and never worse than a match would be."""
    text = DEFAULTS + rule(f"{{ signer_sha256 = '{SIGNER}' }}", phases=phases)
    found = judge(policy(text), posture([NOTES, SIGNED], ownership=ownership), request(), NOON)
    assert found.effects == effects
    assert [each.id for each in found.unanswered] == (["r"] if effects else [])
    assert found.hits == []
    assert judge(policy(text), posture([SIGNED], ownership=ownership), request(), NOON).effects == []


def test_unanswered_rules_stop_at_the_first_with_full_effect() -> None:
    """Weaker ones before it are noted, later ones cannot add anything."""
    signer = f"{{ signer_sha256 = '{SIGNER}' }}"
    text = DEFAULTS + "".join(
        rule(signer, rule_id=rule_id, phases=phases)
        for rule_id, phases in (
            ("a", 'warn = "2020-01-01", enforce = "2020-07-11"'),
            ("b", 'enforce = "2020-01-01"'),
            ("c", 'warn = "2020-01-01", enforce = "2020-07-10T13:00:00Z"'),
        )
    )
    found = judge(policy(text), posture(), request(), NOON)
    assert [each.id for each in found.unanswered] == ["a", "b"]
    assert found.verdict is BLOCK
    assert found.valid_until == at("2020-07-11T00:00:00Z")


def test_an_exemption_also_answers_what_the_list_cannot() -> None:
    """A rule that was taken away asks nothing."""
    exemption = (
        '[[exemption]]\nid = "ex"\nrule = "r"\nusers = ["alice@example.com"]\nexpires = "2020-07-10"\n'
        'reason = "x"\napproved_by = ["y"]\n'
    )
    text = DEFAULTS + rule(f"{{ signer_sha256 = '{SIGNER}' }}") + exemption
    found = judge(policy(text), posture(), request(), NOON)
    assert found.effects == []
    assert found.valid_until == at("2020-07-11T00:00:00Z"), "then the exemption is over"


def test_the_calendar_has_an_end() -> None:
    """Ages past the last year count as its last instant."""
    assert later(datetime(9999, 12, 31, tzinfo=UTC), timedelta(days=2)) == datetime.max.replace(tzinfo=UTC)
