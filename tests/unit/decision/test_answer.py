"""Why, as one document."""

import dataclasses
import json
from zoneinfo import ZoneInfo

import pytest

from gatekeeper.decision.answer import Depth, answer
from gatekeeper.domain.posture import DeviceFlag

from .samples import TIKTOK, at, policy, posture, request, rule, subject

POLICY = policy(
    rule(
        f"{{ id = '{TIKTOK.id}', version = '<17' }}",
        '[rule.message.en]\nshort = "TikTok is on this phone."\nfix = "Remove {app}: {check_url}"\n',
        phases='zone = "Europe/Berlin", warn = "2020-07-01", enforce = "2020-07-13T09:00:00"',
    )
    + rule("{ id = 'com.other.x' }", rule_id="other")
)
NOW = at("2020-07-10T12:00:00+00:00")
PERSON = {
    "language": "en",
    "what": "TikTok is on this phone.",
    "fix": "Remove TikTok: https://gate.example/why",
    "by": "2020-07-13T03:00:00-04:00",
    "sentences": [
        "TikTok is on this phone.",
        "Remove TikTok: https://gate.example/why",
        "From Monday, 13 July 2020, 03:00 EDT on your mail is paused unless that is done.",
    ],
}


def asked(depth: Depth, *, every_rule: bool = False) -> dict[str, object]:
    phone = posture([TIKTOK], collected_at=at("2020-07-10T11:00:00+00:00"))
    assert phone.result is not None
    phone = dataclasses.replace(
        phone, result=dataclasses.replace(phone.result, flags={DeviceFlag.COMPROMISED: False}, os_version="14")
    )
    return answer(
        POLICY,
        subject(phone),
        request(),
        NOW,
        depth=depth,
        check_url="https://gate.example/why",
        zone=ZoneInfo("America/New_York"),
        every_rule=every_rule,
    )


def test_for_the_person_nothing_of_rules_and_predicates() -> None:
    """What, how, and by when in local time: it can be shown as it is."""
    assert asked(Depth.PERSON) == {
        "user": "alice@example.com",
        "protocol": "imap",
        "at": "2020-07-10T12:00:00Z",
        "verdict": "warn",
        "device": "ph-001",
        "person": PERSON,
    }


def test_for_the_operator_every_predicate_the_evidence_and_the_next_change() -> None:
    """All that `docs/operations.md` promises, in JSON's own types."""
    found = asked(Depth.OPERATOR)
    assert found == json.loads(json.dumps(found))
    assert "person" not in found
    assert (found["deadline"], found["valid_until"]) == ("2020-07-13T07:00:00Z", "2020-07-11T11:00:00Z")
    assert found["operator"] == {
        "devices": [
            {
                "device": "ph-001",
                "state": "denied",
                "verdict": "warn",
                "effects": [{"verdict": "warn", "reason": "app.match"}],
                "changes_at": "2020-07-11T11:00:00Z",
                "evidence": {
                    "source": "mdm",
                    "level": "claimed",
                    "sha256": "0" * 64,
                    "collected_at": "2020-07-10T11:00:00Z",
                    "age_s": 3600,
                    "stale_at": "2020-07-11T11:00:00Z",
                    "is_stale": False,
                    "proves_absence": True,
                    "apps_count": 1,
                    "os_version": "14",
                    "flags": {"compromised": False},
                },
                "rules": [
                    {
                        "rule": "r",
                        "broken": "true",
                        "phase": "warn",
                        "does": "warn",
                        "changes_at": "2020-07-13T07:00:00Z",
                        "exemptions": [],
                        "predicates": [
                            {"name": f"apps[0] {TIKTOK.id}: id", "answer": "true"},
                            {"name": f"apps[0] {TIKTOK.id}: version", "answer": "true"},
                        ],
                    }
                ],
            }
        ]
    }


def test_both_is_both() -> None:
    """The same two depths in one answer."""
    both = asked(Depth.BOTH)
    assert both == {**asked(Depth.OPERATOR), "person": PERSON}


def test_rules_that_are_not_about_the_device_only_when_asked() -> None:
    """With what is false then."""
    assert [rule_["rule"] for rule_ in asked(Depth.OPERATOR, every_rule=True)["operator"]["devices"][0]["rules"]] == [
        "r",
        "other",
    ]


@pytest.mark.parametrize("depth", Depth)
def test_without_evidence_and_without_a_device(depth: Depth) -> None:
    """Nothing is made up."""
    silent = answer(POLICY, subject(posture(None)), request(), NOW, depth=depth)
    nobody = answer(POLICY, subject(), request(), NOW, depth=depth)
    if depth is not Depth.PERSON:
        assert silent["operator"]["devices"][0]["evidence"] is None
        assert nobody["operator"] == {"devices": []}
    if depth is not Depth.OPERATOR:
        assert silent["person"]["by"] is None
        assert nobody["person"]["what"] == "Mail is paused: this device is not registered."
