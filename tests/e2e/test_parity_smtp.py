"""The same submission dialogue gets the same replies from Postfix and through the gate.

`VARYING` differs between any two dialogues; `ALLOWED` is what the gate says otherwise on purpose, each with its reason.
"""

import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff

import pytest

from testkit.bed import SPARE
from testkit.gate import GateProcess, policy, upstream
from testkit.postfix import Postfix
from testkit.sessions import plain
from testkit.wire import Wire

WHO = SPARE[-1]
EXCHANGES = 30
"""At least so many are compared."""

AUTH = f"AUTH PLAIN {plain(WHO).decode()}"
MAIL, RCPT = f"MAIL FROM:<{WHO.login}>", f"RCPT TO:<{WHO.login}>"
EHLO = re.compile(r"^250-.*\n(?:250-.*\n)*250 .*", re.MULTILINE)
TALKS: dict[str, Sequence[str]] = {
    "before": (
        "NOOP",
        "EHLO phone.example.com",
        "NOOP",
        "RSET",
        "AUTH",
        MAIL,
        "RCPT TO:<x@example.com>",
        "QUIT",
    ),
    "unknown": ("EHLO phone.example.com", "XYZZY", "QUIT"),
    "wrong password": ("EHLO phone.example.com", "AUTH PLAIN AGFsaWNlQGV4YW1wbGUuY29tAHdyb25n", "QUIT"),
    "cancelled": ("EHLO phone.example.com", "AUTH PLAIN", "*", AUTH, "QUIT"),
    "asked": ("EHLO phone.example.com", "AUTH PLAIN", plain(WHO).decode(), "QUIT"),
    "after": (
        "EHLO phone.example.com",
        AUTH,
        "EHLO phone.example.com",
        "NOOP",
        AUTH,
        "RCPT TO:<x@example.com>",
        "DATA",
        "MAIL FROM:<broken",
        f"{MAIL} SIZE=999999999999",
        MAIL,
        MAIL,
        "RCPT TO:<nobody-here@example.com>",
        "RCPT TO:<x@elsewhere.example.net>",
        RCPT,
        "RSET",
        MAIL,
        RCPT,
        "DATA",
        "Subject: x\r\n\r\n..dot\r\n.",
        "VRFY x",
        "HELP",
        "XYZZY",
        "STARTTLS",
        "EHLO",
        "QUIT",
    ),
}

VARYING = ((re.compile(r"queued as \w+"), "queued as n"),)
"""What a server makes up."""


def _offer(found: re.Match[str]) -> str:
    """The lines of an EHLO reply as a set, without what is not understood before the log-in."""
    words = {line[4:] for line in found[0].splitlines()[1:]} - {"VRFY", "ETRN"}
    return "\n".join(["250-name", *sorted(words)])


@dataclass(frozen=True, slots=True)
class Allowed:
    """A difference on purpose: both sides are rewritten to the same before they are compared."""

    reason: str
    pattern: re.Pattern[str]
    becomes: str | Callable[[re.Match[str]], str]


ALLOWED = (
    Allowed("offers are a subset of what is understood (VRFY, ETRN are not), in any order", EHLO, _offer),
    Allowed(
        "mail before the log-in is refused at its first command",
        re.compile(r"^(C: (?:MAIL|RCPT) .*)\n[0-9].*", re.MULTILINE),
        r"\1",
    ),
    Allowed(
        "words for people are its own where it answers itself",
        re.compile(r"^([2-5][0-9]{2}) ([245]\.[0-9.]+\b)?.*", re.MULTILINE),
        r"\1 \2 text",
    ),
)
"""Before the log-in, where the gate answers itself."""


def _transcript(port: int, context: ssl.SSLContext | None, steps: Sequence[str]) -> str:
    with Wire(port, context) as wire:
        said = wire.smtp_reply()
        for step in steps:
            said += [f"C: {step}".encode(), *wire.smtp(step.encode())]
    return b"\n".join(said).decode("latin-1")


@pytest.fixture(scope="module")
def gate(make_gate_anywhere: Callable[..., GateProcess], postfix: Postfix) -> Iterator[GateProcess]:
    """Run a gate in front of Postfix, whatever the device."""
    gate = make_gate_anywhere(
        {"upstream": {"imap": upstream(143), "smtp": upstream(postfix.clear_port)}},
        policy_text=policy().replace('unknown_device   = "block"', 'unknown_device   = "allow"'),
    )
    gate.start()
    yield gate
    gate.discard()


@pytest.mark.parametrize("name", TALKS)
def test_the_replies_are_the_same(name: str, gate: GateProcess, postfix: Postfix, context: ssl.SSLContext) -> None:
    """Codes and enhanced codes are the mail server's; after the log-in the words are too."""
    direct = _alike(_transcript(postfix.clear_port, None, TALKS[name]))
    through = _alike(_transcript(gate.ports.submissions, context, TALKS[name]))
    difference = list(unified_diff(direct, through, "direct", "through the gate", n=2, lineterm=""))

    assert difference == [], "\n".join(difference)


def _alike(transcript: str) -> list[str]:
    """The lines that must be the same: from the log-in's 235 on, all."""
    before, _, after = transcript.partition("\n235")
    for one in ALLOWED:
        before = one.pattern.sub(one.becomes, before)
    for pattern, becomes in VARYING:
        after = pattern.sub(becomes, after)
    return [*before.split("\n"), *after.split("\n")]


def test_enough_is_compared() -> None:
    """The dialogues together have at least 30 exchanges."""
    assert sum(map(len, TALKS.values())) >= EXCHANGES
