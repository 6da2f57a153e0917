"""The words for the phone's owner."""

import unicodedata

import pytest

from gatekeeper.decision.message import (
    MAX_LINE_OCTETS,
    ascii_line,
    clean,
    default_message,
    octets_needed,
    render,
    template_fault,
)
from gatekeeper.domain.decision import Message, Reason, Verdict

from .samples import at

URL = "https://gate.example.com/why"
RULE_TEXT = Message(short="Mail is paused: {app} is on this phone.", fix="Remove it by {deadline}, open {check_url}.")


def test_fills_the_placeholders() -> None:
    """The app, the date in UTC, and where to check."""
    assert render(RULE_TEXT, app="TikTok", check_url=URL, deadline=at("2020-07-10T17:00:00-07:00")) == (
        "Mail is paused: TikTok is on this phone.",
        "Remove it by 2020-07-11 00:00 UTC, open https://gate.example.com/why.",
    )


def test_says_something_sensible_when_a_value_is_missing() -> None:
    """No braces reach a phone."""
    assert render(RULE_TEXT, app=None, check_url="", deadline=None) == (
        "Mail is paused: a denied app is on this phone.",
        "Remove it by the announced date, open the device check page.",
    )


@pytest.mark.parametrize(
    ("app", "shown"),
    [
        ("Tik\r\nTok", "Tik Tok"),
        ("a\x00b\x1b[31m", "a b [31m"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\u2028b\u0085c", "a b c"),
        ("  much   room ", "much room"),
        ("{check_url}", "{check_url}"),
        ("\\1{app}", "\\1{app}"),
        ("\ud800x", "x"),
        ("抖音", "抖音"),
        ("A" * 60, "A" * 37 + "..."),
        ("音" * 60, "音" * 12 + "..."),
        ("\u200b", "a denied app"),
    ],
)
def test_an_apps_name_is_only_a_name(app: str, shown: str) -> None:
    """It cannot break the line, hide, reverse, be expanded again, or take all the room."""
    assert render(Message(short="{app}", fix="f"), app=app, check_url=URL, deadline=None)[0] == shown


@pytest.mark.parametrize(
    ("message", "app", "url"),
    [
        (Message(short="s" * 1000, fix="f" * 1000), "a", URL),
        (Message(short="s" * 1000, fix="f"), "a", URL),
        (Message(short="s", fix="f" * 1000), "a", URL),
        (Message(short="ä" * 300, fix="ö" * 300), "a", URL),
        (Message(short="{app}" * 50, fix="{check_url}" * 50), "音" * 100, URL * 20),
    ],
)
def test_always_fits_one_line(message: Message, app: str, url: str) -> None:
    """Even a text that the schema would have refused is cut, and the fix keeps its half."""
    short, fix = render(message, app=app, check_url=url, deadline=None)
    line = f"{short} {fix}"
    assert len(line.encode()) <= MAX_LINE_OCTETS
    assert len(fix.encode()) >= min(len(message.fix.encode()), MAX_LINE_OCTETS // 2 - 4)
    assert all(unicodedata.category(char)[0] != "C" for char in line)


@pytest.mark.parametrize("verdict", [Verdict.WARN, Verdict.QUARANTINE, Verdict.BLOCK])
@pytest.mark.parametrize("reason", [each for each in Reason if each not in (Reason.CLEAN, Reason.EXEMPT)])
def test_every_reason_has_words_that_fit(reason: Reason, verdict: Verdict) -> None:
    """The default texts follow the rules that a policy's texts follow, and do not claim more than is so."""
    message = default_message(reason, verdict)
    assert message is not None
    assert template_fault(message.short) is None
    assert template_fault(message.fix) is None
    assert octets_needed(message) <= MAX_LINE_OCTETS
    assert message.short.isascii()
    assert message.fix.isascii()
    assert ("paused" in message.short) is (verdict is not Verdict.WARN)


def test_nothing_to_tell() -> None:
    """An allow is silent."""
    assert default_message(Reason.STALE, Verdict.ALLOW) is None
    assert default_message(Reason.CLEAN, Verdict.BLOCK) is None


def test_octets_needed_counts_room_for_placeholders() -> None:
    """Octets, not characters; 40 for an app, 80 for an address, 20 for a date."""
    assert octets_needed(Message(short="ä", fix="b")) == 4
    assert octets_needed(Message(short="{app}", fix="{check_url}{deadline}")) == 1 + 40 + 80 + 20


def test_clean_and_ascii() -> None:
    """For protocols that carry ASCII only."""
    assert clean("a\tb\nc") == "a b c"
    assert ascii_line("Straße \u201cMüller\u201d \u2013 抖音\r\n\u2026") == 'Strasse "Muller" - ?? ...'
