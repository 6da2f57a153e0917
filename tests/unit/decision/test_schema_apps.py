"""App matchers as text."""

import pytest

from gatekeeper.decision.decide import decide
from gatekeeper.domain.app import App
from gatekeeper.domain.decision import Reason, Verdict
from gatekeeper.domain.posture import EvidenceLevel

from .samples import NOON, NOTES, TIKTOK, faults, policy, posture, request, rule, subject

SOURCES = '[sources]\nmdm = "agent"\nserver = "mdm"\n'


def test_reads_installers_and_levels() -> None:
    """One installer may be a text."""
    (matcher,) = (
        policy(rule("{ installer = 'Com.A', not_installer = ['b', 'c'], min_evidence = 'hardware' }")).rules[0].apps
    )
    assert (matcher.installer, matcher.not_installer) == ({"com.a"}, {"b", "c"})
    assert matcher.min_evidence is EvidenceLevel.HARDWARE
    assert matcher.blind_without == {"installer"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("apps = [{ installer = '' }]", "apps[0].installer: `` is not the id of an installer"),
        ("apps = [{ installer = [] }]", "apps[0].installer: must not be empty"),
        ("apps = [{ not_installer = 'a\\u0007' }]".replace("'", '"'), "is not the id of an installer"),
        ("apps = [{ id = 'a', min_evidence = 'mdn' }]", "min_evidence: `mdn` is not one of claimed, agent, mdm"),
        ("only_apps = [{ id = 'a', min_evidence = 'mdm' }]", "only_apps[0].min_evidence: is for denied apps"),
        ("only_apps = []", "only_apps: must not be empty"),
        ("required_apps = [{ }]", "required_apps[0]: names no app"),
    ],
)
def test_faults(keys: str, expected: str) -> None:
    """Each says what a matcher may be."""
    found = faults(f'schema = 1\n[[rule]]\nid = "r"\n{keys}\nphases = {{ enforce = "2020-01-01" }}\n')
    assert any(expected in fault for fault in found), found


@pytest.mark.parametrize(
    ("level", "apps", "verdict", "reason"),
    [
        ("claimed", [TIKTOK], Verdict.BLOCK, Reason.APP_MATCH),
        ("agent", [TIKTOK], Verdict.BLOCK, Reason.APP_MATCH),
        ("mdm", [TIKTOK], Verdict.WARN, Reason.INSUFFICIENT),
        ("mdm", [NOTES], Verdict.WARN, Reason.INSUFFICIENT),
        ("agent", [NOTES], Verdict.ALLOW, Reason.CLEAN),
    ],
)
def test_weaker_evidence_cannot_answer(level: str, apps: list[App], verdict: Verdict, reason: Reason) -> None:
    """Neither that the app is there nor that it is not: the rule is unanswered, and `insufficient` says what follows."""
    the_policy = policy(
        '[defaults]\ninsufficient = "warn"\n' + SOURCES + rule(f"{{ id = '{TIKTOK.id}', min_evidence = '{level}' }}")
    )
    decision = decide(the_policy, subject(posture(apps)), request(), NOON)
    assert (decision.verdict, decision.reasons) == (verdict, (reason,))


def test_a_source_that_is_not_listed_only_claims() -> None:
    """The safe reading."""
    the_policy = policy(rule(f"{{ id = '{TIKTOK.id}', min_evidence = 'agent' }}, {{ id = 'com.other.app' }}"))
    decision = decide(the_policy, subject(posture([TIKTOK])), request(), NOON)
    assert (decision.verdict, decision.reasons) == (Verdict.BLOCK, (Reason.INSUFFICIENT,))


def test_another_matcher_of_the_rule_may_answer() -> None:
    """What is denied for certain is not also unanswered."""
    the_policy = policy(rule(f"{{ id = '{TIKTOK.id}', min_evidence = 'mdm' }}, {{ id = 'com.zhiliaoapp.*' }}"))
    decision = decide(the_policy, subject(posture([TIKTOK])), request(), NOON)
    assert decision.reasons == (Reason.APP_MATCH,)
