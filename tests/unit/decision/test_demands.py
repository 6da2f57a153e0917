"""What a rule asks besides the absence of apps."""

import dataclasses

import pytest

from gatekeeper.decision.decide import MAX_MATCHED, decide
from gatekeeper.decision.demands import breaches
from gatekeeper.decision.explain import explain
from gatekeeper.domain.app import App
from gatekeeper.domain.decision import Reason, Verdict
from gatekeeper.domain.device import Platform
from gatekeeper.domain.posture import DeviceFlag, Posture, PostureState, Scope

from .samples import NOON, NOTES, TIKTOK, policy, posture, request, subject

AGENT = App(id="com.example.agent", name="Agent", version="2.0", installer="com.android.vending")


def demand(keys: str, *, phases: str = 'enforce = "2020-01-01"') -> str:
    return f'[[rule]]\nid = "r"\n{keys}\nphases = {{ {phases} }}\n'


def found(keys: str, device: Posture) -> tuple[list[Reason], bool]:
    assert device.result is not None
    result = breaches(policy(demand(keys)).rules[0], device.device, device.result)
    return [reason for reason, _, _ in result.hits], result.is_unanswered


def stated(*, os_version: str | None = None, flags: dict[DeviceFlag, bool] | None = None, **facts: object) -> Posture:
    base = posture([NOTES], **facts)
    assert base.result is not None
    return dataclasses.replace(base, result=dataclasses.replace(base.result, os_version=os_version, flags=flags or {}))


@pytest.mark.parametrize(
    ("wanted", "apps", "is_missing"),
    [
        ("{ id = 'com.example.agent' }", [AGENT], False),
        ("{ id = 'com.example.*' }", [AGENT], False),
        ("{ id = 'com.example.agent' }", [NOTES], True),
        ("{ id = 'com.example.agent', version = '>=2' }", [AGENT], False),
        ("{ id = 'com.example.agent', version = '>=3' }", [AGENT], True),
        ("{ id = 'com.example.agent', version = '>=2' }", [App(id="com.example.agent")], True),
        ("{ id = 'com.example.agent', installer = 'com.android.vending' }", [AGENT], False),
        ("{ platform = 'ios', id = 'com.example.agent' }", [NOTES], False),
        ("{ id = 'com.example.agent' }, { id = 'com.example.notes' }", [AGENT], True),
    ],
)
def test_required_apps(wanted: str, apps: list[App], is_missing: bool) -> None:
    """Each must certainly be there, on the platforms that it is for."""
    assert found(f"required_apps = [{wanted}]", posture(apps)) == ([Reason.APP_REQUIRED] if is_missing else [], False)


def test_a_required_app_that_an_incomplete_list_lacks_is_missing() -> None:
    """What is not known to be there is not."""
    decision = decide(
        policy('[defaults]\ninsufficient = "allow"\n' + demand("required_apps = [{ name = 'Agent' }]")),
        subject(posture([NOTES], complete=False, scope=Scope.MANAGED_ONLY)),
        request(),
        NOON,
    )
    assert decision.verdict is Verdict.BLOCK
    assert decision.reasons[0] is Reason.APP_REQUIRED
    assert (decision.app_name, decision.matched, decision.rule_ids) == ("agent", (), ("r",))


@pytest.mark.parametrize(
    ("platform", "version", "expected"),
    [
        (Platform.ANDROID, "14", ([], False)),
        (Platform.ANDROID, "13.9", ([Reason.OS_VERSION], False)),
        (Platform.ANDROID, None, ([], True)),
        (Platform.ANDROID, "Vanilla", ([], True)),
        (Platform.IOS, "17.4", ([], False)),
        (Platform.IOS, "17.3.9", ([Reason.OS_VERSION], False)),
        (Platform.IPADOS, "17.3.9", ([Reason.OS_VERSION], False)),
        (Platform.VISIONOS, "1.0", ([], False)),
        (Platform.WINDOWS, None, ([], False)),
    ],
)
def test_min_os(platform: Platform, version: str | None, expected: tuple[list[Reason], bool]) -> None:
    """By platform, iPadOS like iOS; a version that is not known leaves the rule without an answer."""
    assert found('min_os = { android = "14", ios = "17.4" }', stated(os_version=version, platform=platform)) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, ([], True)),
        ({"compromised": False}, ([], True)),
        ({"compromised": False, "unverified_boot": False}, ([], False)),
        ({"unverified_boot": True}, ([Reason.COMPROMISED], False)),
        ({"compromised": True, "unverified_boot": False}, ([Reason.COMPROMISED], False)),
        ({"debuggable": True, "compromised": False, "unverified_boot": False}, ([], False)),
    ],
)
def test_flags(flags: dict[str, bool], expected: tuple[list[Reason], bool]) -> None:
    """One is enough; clean only when all that are asked about are stated."""
    device = stated(flags={DeviceFlag(name): value for name, value in flags.items()})
    assert found('flags = ["compromised", "unverified_boot"]', device) == expected


def test_what_the_evidence_does_not_state_is_insufficient() -> None:
    """By ownership, but no more than the rule in its phase."""
    asked = '[defaults]\ninsufficient = { company = "block", personal = "allow" }\n'
    enforced, warned = (
        demand("min_os = { android = '14' }"),
        demand("flags = ['compromised']", phases='warn = "2020-01-01"'),
    )
    for text, verdict in ((enforced, Verdict.BLOCK), (warned, Verdict.WARN)):
        decision = decide(policy(asked + text), subject(posture()), request(), NOON)
        assert (decision.verdict, decision.reasons) == (verdict, (Reason.INSUFFICIENT,))
        assert decision.posture is PostureState.INSUFFICIENT


def test_an_allow_list_names_at_most_twenty_apps() -> None:
    """A whole phone is not written into the log."""
    apps = [App(id=f"org.other.a{number:03}") for number in range(200)]
    decision = decide(policy(demand("only_apps = [{ id = 'com.example.*' }]")), subject(posture(apps)), request(), NOON)
    assert decision.verdict is Verdict.BLOCK
    assert decision.reasons == (Reason.APP_NOT_LISTED,)
    assert len(decision.matched) == MAX_MATCHED
    assert decision.matched[0] == "android:org.other.a000"


def test_one_rule_may_ask_several_things() -> None:
    """It is broken when any of them is, and told once."""
    text = demand("apps = [{ id = 'com.zhiliaoapp.musically' }]\nonly_apps = [{ id = 'com.example.*' }]")
    decision = decide(policy(text), subject(posture([TIKTOK, NOTES])), request(), NOON)
    assert decision.rule_ids == ("r",)
    assert decision.reasons == (Reason.APP_MATCH, Reason.APP_NOT_LISTED)
    assert decision.matched == ("android:com.zhiliaoapp.musically",)


def test_explained_in_words() -> None:
    """Each kind of demand in a sentence."""
    keys = (
        "only_apps = [{ id = 'com.else.*' }]\nrequired_apps = [{ name = 'Agent' }]\n"
        "min_os = { android = '14' }\nflags = ['compromised', 'debuggable']"
    )
    device = stated(os_version="12", flags={DeviceFlag.COMPROMISED: True})
    lines = explain(policy(demand(keys)), subject(device), request(), NOON)
    assert "  Rule r allows only the apps on its list, and not com.example.notes (Notes)." in lines
    assert "  Rule r requires agent, which is not there or not known to be the right one." in lines
    assert "  Rule r requires android 14 or newer, and the device reports 12." in lines
    assert "  Rule r excludes devices of which the evidence says: compromised." in lines
    silent = explain(policy(demand("min_os = { android = '14' }")), subject(posture()), request(), NOON)
    assert "  Rule r asks for what the evidence does not say: the version of the operating system." in silent
