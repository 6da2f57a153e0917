"""Phases of one device: grace and rollout."""

from datetime import UTC, datetime, timedelta

import pytest

from gatekeeper.decision.phases import BUCKETS, Grace, Phases, Step, bucket, phases_for
from gatekeeper.domain.decision import Phase
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Platform

from .samples import at

WARN, ENFORCE = at("2020-07-01T00:00:00+00:00"), at("2020-07-10T00:00:00+00:00")
CAP = at("2020-07-20T00:00:00+00:00")
PHASES = Phases(warn=WARN, enforce=ENFORCE)
WEEK = Grace(per_device=timedelta(days=7), cap=CAP)


def device(first_seen: datetime | None = None, device_id: str = "ph-001") -> Device:
    return Device(
        device_id=DeviceId(device_id),
        account="alice@example.com",
        platform=Platform.ANDROID,
        device_class=DeviceClass.MOBILE,
        first_seen=first_seen,
    )


@pytest.mark.parametrize(
    ("first_seen", "expected"),
    [
        (None, ENFORCE),
        ("2020-06-01T00:00:00+00:00", ENFORCE),
        ("2020-07-03T00:00:00+00:00", ENFORCE),
        ("2020-07-05T12:00:00+00:00", at("2020-07-12T12:00:00+00:00")),
        ("2020-07-18T00:00:00+00:00", CAP),
        ("2021-01-01T00:00:00+00:00", CAP),
    ],
)
def test_grace(first_seen: str | None, expected: datetime) -> None:
    """The rule's date, or a week after the device was first seen, at most the cap; unknown: the rule's date."""
    found = phases_for("r", PHASES, WEEK, (), device(at(first_seen) if first_seen else None))
    assert found.enforce == expected
    assert found.at(expected - timedelta(microseconds=1)) is Phase.WARN
    assert found.at(expected) is Phase.ENFORCE


def test_a_device_that_waits_is_warned() -> None:
    """Also by a rule that has no phase of warning."""
    found = phases_for("r", Phases(observe=WARN, enforce=ENFORCE), WEEK, (), device(at("2020-07-09T00:00:00+00:00")))
    assert found.at(ENFORCE - timedelta(seconds=1)) is Phase.OBSERVE
    assert found.at(ENFORCE) is Phase.WARN
    assert found.boundaries == (WARN, ENFORCE, at("2020-07-16T00:00:00+00:00"))


def test_grace_beyond_the_calendar_is_cut_at_the_cap() -> None:
    """No overflow."""
    endless = Grace(per_device=timedelta(days=3_000_000), cap=CAP)
    assert phases_for("r", PHASES, endless, (), device(ENFORCE)).enforce == CAP


def test_the_bucket_is_fixed_for_ever() -> None:
    """Known answers: another value would move every rollout that is under way."""
    assert bucket("no-tiktok", "ph-001") == 9279
    assert bucket("no-tiktok", "ph-002") != bucket("other", "ph-002")
    assert all(0 <= bucket("r", f"ph-{number}") < BUCKETS for number in range(200))


def test_a_rollout_reaches_about_its_share_and_only_adds() -> None:
    """Each device by the first step that reaches it; the last stay warned when no step does."""
    steps = (Step(begin=ENFORCE, percent=5), Step(begin=CAP, percent=50))
    found = [phases_for("r", PHASES, None, steps, device(device_id=f"ph-{number}")) for number in range(2000)]
    first = sum(each.enforce == ENFORCE for each in found)
    second = sum(each.enforce == CAP for each in found)
    assert 60 < first < 140
    assert 820 < second < 980
    assert first + second + sum(each.enforce is None for each in found) == 2000
    assert {each.at(datetime(2030, 1, 1, tzinfo=UTC)) for each in found} == {Phase.WARN, Phase.ENFORCE}


def test_grace_and_rollout_together_take_the_later() -> None:
    """Neither shortens the other."""
    steps = (Step(begin=ENFORCE, percent=0), Step(begin=at("2020-07-11T00:00:00+00:00"), percent=100))
    late = device(at("2020-07-08T00:00:00+00:00"))
    assert phases_for("r", PHASES, WEEK, steps, late).enforce == at("2020-07-15T00:00:00+00:00")
    assert phases_for("r", PHASES, WEEK, steps, device()).enforce == at("2020-07-11T00:00:00+00:00")


def test_without_enforcement_nothing_is_put_off() -> None:
    """A rule that only warns is the same for all."""
    warns = Phases(warn=WARN)
    assert phases_for("r", warns, WEEK, (Step(begin=CAP, percent=1),), device()) is warns
