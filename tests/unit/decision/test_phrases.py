"""The sentences around a policy's texts."""

import string
from zoneinfo import ZoneInfo

import pytest

from gatekeeper.decision.phrases import PHRASES, in_zone, phrases_in
from gatekeeper.domain.device import Ownership

from .samples import at, posture

NOON = at("2026-02-02T12:00:00+00:00")


@pytest.mark.parametrize("tag", PHRASES)
def test_every_language_can_say_everything(tag: str) -> None:
    """Each sentence names what it is about, and no placeholder is left."""
    phrases = PHRASES[tag]
    device = posture().device
    said = phrases.device(device)
    assert device.device_id in said
    assert device.platform.value in said
    assert phrases.owners.keys() == {*Ownership, None}
    for sentence in (phrases.paused_from, phrases.do_before):
        assert [name for _, name, _, _ in string.Formatter().parse(sentence) if name] == ["when"]
    when = phrases.at(NOON, ZoneInfo("Asia/Tokyo"))
    for part in ("2", "2026", "21:00", "JST"):
        assert part in when
    assert "{" not in when


@pytest.mark.parametrize(
    ("wanted", "found"),
    [((), "en"), (("de-AT",), "de"), (("pt", "FR-ca", "de"), "fr"), (("tlh",), "en"), (("", "it"), "it")],
)
def test_the_first_language_that_there_is(wanted: tuple[str, ...], found: str) -> None:
    """By its primary subtag; else English."""
    assert phrases_in(wanted) == (found, PHRASES[found])


def test_without_a_zone_a_named_one_is_kept() -> None:
    """An offset alone has no name that people know."""
    berlin = NOON.astimezone(ZoneInfo("Europe/Berlin"))
    assert str(in_zone(berlin, None).tzinfo) == "Europe/Berlin"
    assert in_zone(at("2026-02-02T12:00:00+02:00"), None).isoformat() == "2026-02-02T10:00:00+00:00"
