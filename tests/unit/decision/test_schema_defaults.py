"""Defaults as text: what `test_schema` does not cover."""

from gatekeeper.decision.defaults import Defaults, strictest
from gatekeeper.domain.decision import Verdict

from .samples import policy


def test_saying_nothing_is_the_safe_choice() -> None:
    """Every default blocks."""
    assert policy("").defaults == Defaults()
    assert Defaults().unknown_device.default is Verdict.BLOCK


def test_the_language_of_last_resort() -> None:
    """A text, or a table with languages of groups."""
    assert policy('[defaults]\nlanguage = "pt-BR"').defaults.language == "pt-BR"
    found = policy('[groups]\nb = []\n[defaults]\nlanguage = { default = "de", groups = { b = "fr" } }').defaults
    assert (found.language, found.languages) == ("de", {"b": "fr"})


def test_the_strictest_of_none_is_allow() -> None:
    """Nothing applies."""
    assert strictest([]) is Verdict.ALLOW
    assert strictest([Verdict.WARN, Verdict.QUARANTINE]) is Verdict.QUARANTINE
