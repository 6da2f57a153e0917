"""The language of a message."""

import dataclasses

import pytest

from gatekeeper.decision.decide import decide
from gatekeeper.decision.language import in_language
from gatekeeper.domain.decision import Message

from .samples import NOON, TIKTOK, policy, posture, request, rule, subject

TAGS = ("de", "de-CH", "en", "zh-Hant", "pt-BR")
MESSAGES = {tag: Message(short=tag, fix="f") for tag in TAGS}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["de"], "de"),
        (["de-AT"], "de"),
        (["DE-ch"], "de-CH"),
        (["zh-hant-TW"], "zh-Hant"),
        (["fr", "de"], "de"),
        (["pt"], "en"),
        (["xx"], "en"),
        ([], "en"),
    ],
)
def test_look_up(wanted: list[str], expected: str) -> None:
    """The most special that fits, by preference, then English."""
    found = in_language(MESSAGES, wanted)
    assert found is not None
    assert found.short == expected


def test_without_english_the_first_that_was_written_stands_in() -> None:
    """A policy in one language needs no second; one without texts has none."""
    assert in_language({"fr": MESSAGES["de"], "de": MESSAGES["en"]}, ["it"]) == MESSAGES["de"]
    assert in_language({}, ["de"]) is None


@pytest.mark.parametrize(
    ("defaults", "read", "expected"),
    [
        ("", (), "e"),
        ("", ("de",), "d"),
        ('language = "fr"', (), "f"),
        ('language = "it"', (), "e"),
        ('language = { default = "fr", groups = { berlin = "de" } }', (), "d"),
        ('language = { default = "fr", groups = { rome = "de" } }', (), "f"),
        ('language = { default = "fr", groups = { berlin = "de" } }', ("en",), "e"),
    ],
)
def test_whose_language(defaults: str, read: tuple[str, ...], expected: str) -> None:
    """What the person reads, else their group's, else the policy's, else English."""
    messages = "".join(f'[rule.message.{tag}]\nshort = "{tag[0]}"\nfix = "x"\n' for tag in ("en", "de", "fr"))
    text = f'[defaults]\n{defaults}\n[groups]\nberlin = ["alice@example.com"]\nrome = []\n'
    the_policy = policy(text + rule(f"{{ id = '{TIKTOK.id}' }}", messages))
    asked = dataclasses.replace(request(), languages=read)
    message = decide(the_policy, subject(posture([TIKTOK])), asked, NOON).message
    assert message is not None
    assert (message.short, message.language[0]) == (expected, expected)
