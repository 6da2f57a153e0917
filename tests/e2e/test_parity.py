"""Nobody can tell the gate from the server: the same conversation gets the same transcript from both.

Two Dovecots with one configuration; one is spoken to directly, the other through the gate. `VARYING` is taken out on both
sides: it differs between any two servers. `ALLOWED` is what the gate says otherwise on purpose, each with its reason;
every other difference is a fault.
"""

import re
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

import pytest

from testkit.imap_conversations import AFTER, BEFORE, CLEAR, Step
from testkit.parity import Allowed, Pair, at_once, offer_in_any_order, stale
from testkit.parity_bed import ParityBed
from testkit.tls import Authority
from testkit.wire import Wire

TALKS = CLEAR | BEFORE | AFTER
EXCHANGES = 290
"""At least so many are compared."""

VARYING = (
    (re.compile(rb"(UIDVALIDITY|APPENDUID|COPYUID) [0-9]+"), rb"\1 n"),
    (re.compile(rb"\([0-9.]+ \+ [0-9.]+( \+ [0-9.]+)? secs\)"), b"(time)"),
)
"""Times and numbers that a server makes up."""


ALLOWED = (
    Allowed(
        "referrals lead around the gate", re.compile(rb"^(.*CAPABILITY .*) LOGIN-REFERRALS\b", re.MULTILINE), rb"\1"
    ),
    Allowed(
        "the order of an offer means nothing",
        re.compile(rb"^((?:\* |\* OK \[|TAG OK \[)CAPABILITY )([^\]\n]+)", re.MULTILINE),
        offer_in_any_order,
    ),
    Allowed("the gate does not say which server is behind it", re.compile(rb"\A(\* OK \[[^\]]+\]) .*"), rb"\1 text"),
)
"""Everywhere: the greeting, and how the capabilities are ordered."""
ALLOWED_BEFORE = (
    *ALLOWED,
    Allowed(
        "nor does it in its ID, which RFC 2971 leaves to it", re.compile(rb"^\* ID .*", re.MULTILINE), b"* ID text"
    ),
    Allowed(
        "credentials are not taken before TLS: LOGINDISABLED, and no mechanism is offered (RFC 9051 §6.2.3)",
        re.compile(rb"^.*CAPABILITY [^\]\n]*\bSTARTTLS\b.*$", re.MULTILINE),
        lambda found: re.sub(rb" (?:AUTH=[A-Z0-9]+|LOGINDISABLED)\b", b"", found[0]),
    ),
    Allowed(
        "words for people are its own where it answers itself",
        re.compile(rb"^(TAG|\*) (OK|NO|BAD|BYE)( \[(?!CAPABILITY)[A-Z]+\])? (?!\[).*", re.MULTILINE),
        rb"\1 \2\3 text",
    ),
    Allowed(
        "the last bad command is answered too, before BYE (RFC 9051 §2.2)",
        re.compile(rb"^TAG BAD text\n(\* BYE text)$", re.MULTILINE),
        rb"\1",
    ),
    Allowed(
        "an argument that a command does not have is refused (RFC 9051 §6.1)",
        re.compile(rb"^(C: (?:NOOP|CAPABILITY) x)\n(?:\* CAPABILITY .*\n)?TAG (?:OK|BAD) text", re.MULTILINE),
        rb"\1",
    ),
    Allowed(
        "a response that is not base64 gets BAD (RFC 9051 §6.2.2), not an alert",
        re.compile(rb"^(C: AUTHENTICATE PLAIN / \?\?\?\n\+ ?)\nTAG (?:NO \[ALERT\]|BAD) text", re.MULTILINE),
        rb"\1",
    ),
    Allowed(
        "a mechanism that is not offered is no alert either",
        re.compile(rb"^(C: AUTHENTICATE KERBEROS_V4)\nTAG NO \[[A-Z]+\] text", re.MULTILINE),
        rb"\1",
    ),
)
"""Where the gate answers itself."""


def _transcript(port: int, context: ssl.SSLContext, steps: Sequence[Step], *, in_the_clear: bool) -> bytes:
    said: list[bytes] = []
    with Wire(port, None if in_the_clear else context, deadline_s=15) as wire:
        said.append(wire.line())
        for number, step in enumerate(steps):
            tag = b"t%03d" % number
            pieces = [piece.encode() for piece in ([step] if isinstance(step, str) else step)]
            said.append(b"C: " + b" / ".join(pieces))
            answer = _exchange(wire, tag, pieces)
            said += [b"TAG" + line[len(tag) :] if line.startswith(tag) else line for line in answer]
            if in_the_clear and pieces[0].upper() == b"STARTTLS" and said[-1].startswith(b"TAG OK"):
                wire.start_tls(context)
        said += wire.rest(within=10).splitlines()
    return b"\n".join(said)


def _exchange(wire: Wire, tag: bytes, pieces: Sequence[bytes]) -> list[bytes]:
    """Say the pieces, each when it is asked for, and return the answer."""
    lines: list[bytes] = []
    with suppress(ConnectionError):
        for number, piece in enumerate(pieces):
            wire.send((tag + b" " if number == 0 else b"") + piece + b"\r\n")
            lines += wire.tagged(tag)
            if not lines or not lines[-1].startswith(b"+"):
                break
    return lines


Hold = Callable[[str], Pair]


@pytest.fixture(scope="module")
def hold(parity_bed: ParityBed, servers_ca: Authority) -> Hold:
    """Return what holds a conversation with both, once."""
    context = servers_ca.client_context()

    @cache
    def both(name: str) -> Pair:
        parity_bed.empty()
        door, clear = ("imap", True) if name in CLEAR else ("imaps", False)
        direct, through = at_once(
            lambda port: _transcript(port, context, TALKS[name], in_the_clear=clear),
            parity_bed.direct[door],
            parity_bed.through[door],
        )
        return Pair(direct, through, ALLOWED if name in AFTER else ALLOWED_BEFORE, VARYING)

    return both


@pytest.mark.parametrize("name", CLEAR | BEFORE)
def test_before_log_in(name: str, hold: Hold) -> None:
    """What the gate answers itself is what the mail server would have answered, but for the list above."""
    assert hold(name).difference() == ""


@pytest.mark.parametrize("name", AFTER)
def test_after_log_in(name: str, hold: Hold) -> None:
    """After the log-in not an octet differs."""
    assert hold(name).difference() == ""


def test_nothing_is_allowed_without_need(hold: Hold) -> None:
    """Every entry of the lists is needed by some conversation: one that no longer is must go."""
    assert stale(hold(name) for name in TALKS) == []


def test_enough_is_compared() -> None:
    """The conversations together have at least 290 exchanges."""
    assert sum(map(len, TALKS.values())) >= EXCHANGES
