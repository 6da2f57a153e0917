"""The same submission dialogue gets the same replies from Postfix and through the gate.

`VARYING` differs between any two dialogues; `ALLOWED` is what the gate says otherwise on purpose, each with its reason.
"""

import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import pytest

from testkit.bed import SPARE
from testkit.gate import GateProcess, policy, upstream
from testkit.parity import Allowed, Pair, stale
from testkit.postfix import Postfix
from testkit.sessions import plain, smtp_greeted
from testkit.tls import Authority
from testkit.waiting import eventually
from testkit.wire import Wire

WHO = SPARE[-1]
EXCHANGES = 30
"""At least so many are compared."""

AUTH = f"AUTH PLAIN {plain(WHO).decode()}"
MAIL, RCPT = f"MAIL FROM:<{WHO.login}>", f"RCPT TO:<{WHO.login}>"
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

VARYING = ((re.compile(rb"queued as \w+"), b"queued as n"),)
"""What a server makes up."""

_EHLO = re.compile(rb"^250-.*\n(?:250-.*\n)*250 .*", re.MULTILINE)


def _without(word: bytes) -> Callable[[re.Match[bytes]], bytes]:
    return lambda found: re.sub(rb"\n250[- ]" + word + rb"\b.*", b"", found[0])


def _in_any_order(found: re.Match[bytes]) -> bytes:
    return b"\n".join([b"250-name", *sorted(line[4:] for line in found[0].split(b"\n")[1:])])


ALLOWED = (
    Allowed("VRFY is not understood before the log-in", _EHLO, _without(b"VRFY")),
    Allowed("nor is ETRN", _EHLO, _without(b"ETRN")),
    Allowed("the gate has a name of its own, and the order of an offer means nothing", _EHLO, _in_any_order),
    Allowed(
        "mail before the log-in is refused at its first command",
        re.compile(rb"^(C: (?:MAIL|RCPT) .*)\n[0-9].*", re.MULTILINE),
        rb"\1",
    ),
    Allowed(
        "words for people are its own where it answers itself",
        re.compile(rb"^([2-5][0-9]{2}) ([245]\.[0-9.]+\b)?.*", re.MULTILINE),
        rb"\1 \2 text",
    ),
)
"""Before the log-in, where the gate answers itself."""


def _transcript(port: int, context: ssl.SSLContext | None, steps: Sequence[str]) -> bytes:
    with Wire(port, context) as wire:
        said = wire.smtp_reply()
        for step in steps:
            said += [f"C: {step}".encode(), *wire.smtp(step.encode())]
    return b"\n".join(said)


def _knows_the_offer(gate: GateProcess, context: ssl.SSLContext) -> bool:
    """Whether the gate has asked Postfix, for which a gate that starts does not wait."""
    with smtp_greeted(gate.ports.submissions, context) as wire:
        return b"250-PIPELINING" in wire.smtp(b"EHLO phone.example.com")


@pytest.fixture(scope="module")
def gate(
    make_gate_anywhere: Callable[..., GateProcess], postfix: Postfix, servers_ca: Authority
) -> Iterator[GateProcess]:
    """Run a gate in front of Postfix, whatever the device."""
    gate = make_gate_anywhere(
        {"upstream": {"imap": upstream(143), "smtp": upstream(postfix.clear_port)}},
        policy_text=policy().replace('unknown_device   = "block"', 'unknown_device   = "allow"'),
    )
    gate.start()
    eventually(lambda: _knows_the_offer(gate, servers_ca.client_context()), within=15, what="what Postfix offers")
    yield gate
    gate.discard()


Hold = Callable[[str], tuple[Pair, Pair]]


@pytest.fixture(scope="module")
def hold(gate: GateProcess, postfix: Postfix, servers_ca: Authority) -> Hold:
    """Return what holds a dialogue with both, once: what came before the log-in's 235, and what came from there on."""
    context = servers_ca.client_context()

    @cache
    def both(name: str) -> tuple[Pair, Pair]:
        direct = _transcript(postfix.clear_port, None, TALKS[name]).partition(b"\n235")
        through = _transcript(gate.ports.submissions, context, TALKS[name]).partition(b"\n235")
        return Pair(direct[0], through[0], ALLOWED), Pair(direct[2], through[2], (), VARYING)

    return both


@pytest.mark.parametrize("name", TALKS)
def test_the_replies_are_the_same(name: str, hold: Hold) -> None:
    """Codes and enhanced codes are the mail server's; after the log-in the words are too."""
    before, after = hold(name)

    assert before.difference() == ""
    assert after.difference() == ""


def test_nothing_is_allowed_without_need(hold: Hold) -> None:
    """Every entry of the lists is needed by some dialogue: one that no longer is must go."""
    assert stale(pair for name in TALKS for pair in hold(name)) == []


def test_enough_is_compared() -> None:
    """The dialogues together have at least 30 exchanges."""
    assert sum(map(len, TALKS.values())) >= EXCHANGES
