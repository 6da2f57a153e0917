"""Predicate by predicate."""

import dataclasses
from datetime import timedelta

import pytest

from gatekeeper.decision.decide import decide
from gatekeeper.decision.trace import RuleTrace, trace
from gatekeeper.domain.app import App
from gatekeeper.domain.decision import Phase, Verdict
from gatekeeper.domain.posture import DeviceFlag, EvidenceLevel, Posture

from .samples import NOON, NOTES, TIKTOK, at, policy, posture, request, rule, subject


def traced(text: str, device: Posture, *, everything: bool = False) -> list[RuleTrace]:
    (found,) = trace(policy(text), subject(device), request(), NOON, everything=everything)
    return list(found.rules)


def answers(rules: list[RuleTrace]) -> dict[str, bool | None]:
    return {predicate.name: predicate.holds for each in rules for predicate in each.predicates}


def test_every_condition_of_an_app_that_is_meant() -> None:
    """True, or unknown; of the others nothing is told."""
    text = rule(
        "{ id = 'com.zhiliaoapp.*', name = 'Tik*', version = '<20', not_installer = ['store'] }, { id = 'com.other.x' }",
        'scope = { ownership = ["company"], networks = ["192.0.2.0/24"] }',
    )
    (found,) = traced(text, posture([App(id="com.zhiliaoapp.musically", name="TikTok"), NOTES]))
    assert answers([found]) == {
        "scope.ownership": True,
        "scope.networks": None,
        "apps[0] com.zhiliaoapp.musically: id": True,
        "apps[0] com.zhiliaoapp.musically: name": True,
        "apps[0] com.zhiliaoapp.musically: installer": None,
        "apps[0] com.zhiliaoapp.musically: version": None,
    }
    assert (found.is_breached, found.phase, found.verdict) == (True, Phase.ENFORCE, Verdict.BLOCK)


def test_rules_that_are_not_about_the_device_only_when_asked() -> None:
    """What is false then."""
    text = rule("{ id = 'com.other.x' }", rule_id="a") + rule("{ signer_sha256 = '" + "ab" * 32 + "' }", rule_id="b")
    assert [each.rule for each in traced(text, posture())] == ["b"]
    every = traced(text, posture(), everything=True)
    assert [(each.rule, each.is_breached, each.verdict) for each in every] == [("a", False, None), ("b", None, None)]
    assert answers(every[:1]) == {"apps (none of them is there)": False}
    assert answers(every[1:]) == {"apps (none of them is there)": None}


def test_demands() -> None:
    """Each with what the device has."""
    text = (
        '[[rule]]\nid = "r"\nonly_apps = [{ id = "com.else.*" }]\nrequired_apps = [{ id = "com.a.b" }]\n'
        'min_os = { android = "14" }\nflags = ["compromised", "debuggable"]\nphases = { enforce = "2020-01-01" }\n'
    )
    base = posture()
    assert base.result is not None
    device = dataclasses.replace(
        base, result=dataclasses.replace(base.result, os_version="13", flags={DeviceFlag.COMPROMISED: False})
    )
    assert answers(traced(text, device)) == {
        "only_apps (not com.example.notes)": False,
        "required_apps[0] com.a.b": False,
        "min_os 14 (device: 13)": False,
        "flags compromised": False,
        "flags debuggable": None,
    }


def test_evidence_that_is_too_weak() -> None:
    """Is named with its level, and the rule is unanswered."""
    text = '[sources]\nmdm = "agent"\n' + rule(f"{{ id = '{TIKTOK.id}', min_evidence = 'mdm' }}")
    (found,) = trace(policy(text), subject(posture([TIKTOK])), request(), NOON)
    assert found.evidence is not None
    assert (found.evidence.level, found.evidence.age) == (EvidenceLevel.AGENT, timedelta(0))
    assert found.rules[0].is_breached is None
    assert answers(list(found.rules))["apps[0]: min_evidence mdm (source: agent)"] is None


def test_exemptions_and_the_next_change() -> None:
    """An exempt device is in breach, and nothing follows until the exemption ends."""
    exemption = (
        '[[exemption]]\nid = "e"\nrule = "r"\ndevices = ["ph-001"]\nexpires = "2020-07-20T00:00:00Z"\n'
        'reason = "x"\napproved_by = ["y"]\n'
    )
    text = rule(f"{{ id = '{TIKTOK.id}' }}", phases='warn = "2020-07-01", enforce = "2020-08-01"') + exemption
    (found,) = traced(text, posture([TIKTOK]))
    assert (found.is_breached, found.verdict, found.exemptions) == (True, None, ("e",))
    assert found.changes_at == at("2020-07-20T00:00:00+00:00")


@pytest.mark.parametrize("apps", [None, [], [TIKTOK]])
def test_says_what_the_decision_says(apps: list[App] | None) -> None:
    """The verdict of the device, and when that changes."""
    the_policy = policy(
        rule(f"{{ id = '{TIKTOK.id}' }}", phases='warn = "2020-07-01", enforce = "2020-07-10T15:00:00Z"')
    )
    who = subject(posture(apps))
    decision = decide(the_policy, who, request(), NOON)
    (found,) = trace(the_policy, who, request(), NOON)
    assert (found.verdict, found.state, found.changes_at) == (decision.verdict, decision.posture, decision.valid_until)
