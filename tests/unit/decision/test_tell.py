"""What the person is told."""

import dataclasses
from zoneinfo import ZoneInfo

import pytest

from gatekeeper.decision.tell import Told, tell
from gatekeeper.domain.device import Ownership, Platform
from gatekeeper.domain.posture import Assurance

from .samples import NOTES, TIKTOK, at, policy, posture, request, rule, subject

TEXTS = """
[rule.message.en]
short = "TikTok is on this phone."
fix = "Remove {app}, then open {check_url}."
[rule.message.de]
short = "TikTok ist auf diesem Telefon."
fix = "{app} entfernen, dann {check_url} aufrufen."
"""
POLICY = policy(
    rule(
        f"{{ id = '{TIKTOK.id}' }}",
        TEXTS,
        phases='zone = "Europe/Berlin", warn = "2020-07-01", enforce = "2020-07-13T09:00:00"',
    )
)
WARNED, BLOCKED = at("2020-07-10T12:00:00+00:00"), at("2020-07-13T12:00:00+00:00")
URL = "https://gate.example.com/why"


@pytest.mark.parametrize(
    ("zone", "when"),
    [(None, "Monday, 13 July 2020, 09:00 CEST"), ("America/New_York", "Monday, 13 July 2020, 03:00 EDT")],
)
def test_what_how_and_by_when(zone: str | None, when: str) -> None:
    """In the person's time zone, else in the rule's."""
    phone = posture([TIKTOK], collected_at=WARNED)
    found = tell(POLICY, subject(phone), request(), WARNED, check_url=URL, zone=ZoneInfo(zone) if zone else None)
    assert found.sentences == (
        "TikTok is on this phone.",
        f"Remove TikTok, then open {URL}.",
        f"From {when} on your mail is paused unless that is done.",
    )
    assert (found.language, found.what, found.fix) == ("en", *found.sentences[:2])
    assert found.by == at("2020-07-13T09:00:00+02:00")
    assert str(found.by.tzinfo) == (zone or "Europe/Berlin")


def test_in_the_language_that_they_read() -> None:
    """Of several devices, which one it is about."""
    phone = posture([TIKTOK], collected_at=BLOCKED)
    tablet = posture(
        [NOTES], device_id="tab-1", platform=Platform.IPADOS, ownership=Ownership.PERSONAL, collected_at=BLOCKED
    )
    asked = dataclasses.replace(request(), languages=("de-AT",))
    both = subject(phone, tablet, assurance=Assurance.USER)
    found = tell(POLICY, both, asked, BLOCKED, check_url=URL)
    assert found.sentences == (
        "TikTok ist auf diesem Telefon.",
        f"TikTok entfernen, dann {URL} aufrufen.",
        "Es geht um Ihr dienstliches Gerät ph-001 (android).",
    )
    assert (found.language, found.by) == ("de", None)


def test_nothing_is_the_matter() -> None:
    """And nothing else of the phone is told."""
    clean = subject(posture(collected_at=BLOCKED))
    found = tell(POLICY, clean, request(), BLOCKED)
    assert found == Told(
        language="en", what="Your mail goes through.", fix=None, by=None, sentences=("Your mail goes through.",)
    )
    french = dataclasses.replace(request(), languages=("pt", "fr-CA"))
    assert tell(POLICY, clean, french, BLOCKED).what == "Votre messagerie fonctionne."


def test_a_warning_of_a_default_ends_when_it_is_looked_at_again() -> None:
    """Stale evidence blocks later."""
    the_policy = policy('[defaults]\nstale = { action = "warn", then = "block", after = "72h" }')
    found = tell(the_policy, subject(posture(collected_at=at("2020-07-09T06:00:00+00:00"))), request(), WARNED)
    assert found.sentences[0] == "Mail still works, but the last report of this device's apps is too old."
    assert found.sentences[2] == "Do it before Monday, 13 July 2020, 06:00 UTC: then it is looked at again."
