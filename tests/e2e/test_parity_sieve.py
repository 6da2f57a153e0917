"""ManageSieve through the gate is ManageSieve with the mail server: the same conversation, the same transcript.

`ALLOWED` is what the gate says otherwise on purpose, each with its reason; every other difference is a fault, and so is
an entry that is not needed.
"""

import re
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

import pytest

from testkit import dovecot as dovecot_server
from testkit.parity import Allowed, Pair, at_once, stale
from testkit.parity_bed import ParityBed
from testkit.sieve_conversations import AFTER, BEFORE, CLEAR, Pipelined, Step
from testkit.tls import Authority
from testkit.wire import Wire

TALKS = CLEAR | BEFORE | AFTER
EXCHANGES = 130
"""At least so many are compared."""

_CAPABILITIES = re.compile(rb'^"IMPLEMENTATION" .*\n(?:"[A-Z]+".*\n)*', re.MULTILINE)


def _in_any_order(found: re.Match[bytes]) -> bytes:
    return b"".join(sorted(found[0].splitlines(keepends=True)))


ALLOWED = (
    Allowed("the order of an offer means nothing", _CAPABILITIES, _in_any_order),
    Allowed("XCLIENT is for the gate, not for clients", re.compile(rb'^"XCLIENT"\n', re.MULTILINE), b""),
    Allowed(
        "credentials are not taken before TLS, and no mechanism is offered (RFC 5804 §1.7)",
        re.compile(rb'^"SASL" ".*"\n("SIEVE" .*\n"STARTTLS")', re.MULTILINE),
        rb"\1",
    ),
    Allowed(
        "words for people are its own where it answers itself",
        re.compile(rb'^(OK|NO|BYE)((?: \([A-Z/-]+(?: "(?:[^"\\]|\\.)*")?\))?) ".*"$', re.MULTILINE),
        rb'\1\2 "text"',
    ),
    Allowed(
        "the last bad command is answered too, before BYE",
        re.compile(rb'^NO "text"\n(BYE "text")$', re.MULTILINE),
        rb"\1",
    ),
    Allowed(
        "after a wrong response Pigeonhole no longer asks for one: it takes the next exchange's for given",
        re.compile(rb'^(C: AUTHENTICATE "PLAIN" / ".*")\n""\n(NO "text"\nC: AUTH)', re.MULTILINE),
        rb"\1\n\2",
    ),
    Allowed(
        "whoever wants to go may go",
        re.compile(rb'^(C: LOGOUT "now")\n(?:NO "text"\nC: LOGOUT\nOK "text"|OK "text"\nC: LOGOUT)$', re.MULTILINE),
        rb"\1",
    ),
)
"""Before the log-in, where the gate answers itself. Afterwards nothing."""

_LOGGED_IN = b'\nOK "Logged in."'
_LITERAL = re.compile(rb"\{([0-9]+)\}\Z")
_END = re.compile(rb"(?:OK|NO|BYE)(?: |\Z)")
_CHALLENGE = re.compile(rb'"[A-Za-z0-9+/=]*"\Z')


def _transcript(port: int, context: ssl.SSLContext, steps: Sequence[Step], *, in_the_clear: bool) -> bytes:
    """What was said; when not in the clear, from the capabilities under TLS on."""
    said: list[bytes] = []
    with Wire(port, deadline_s=15) as wire:
        said += _answer(wire)
        if not in_the_clear:
            wire.send(b"STARTTLS\r\n")
            _answer(wire)
            wire.start_tls(context)
            said = _answer(wire)
        for step in steps:
            with suppress(OSError):  # the connection may have ended
                said += _step(wire, step)
            if step in ("STARTTLS", "starttls") and in_the_clear:
                wire.start_tls(context)
                said += _answer(wire)
        said += wire.rest(within=10).splitlines()
    return b"\n".join(said)


def _step(wire: Wire, step: Step) -> list[bytes]:
    if isinstance(step, Pipelined):
        commands = [command.encode() for command in step.commands]
        wire.send(b"".join(command + b"\r\n" for command in commands))
        return [line for command in commands for line in (b"C: " + command, *_answer(wire, command))]
    pieces = [piece.encode() for piece in ([step] if isinstance(step, str) else step)]
    lines = [b"C: " + b" / ".join(pieces)]
    for piece in pieces:
        wire.send(piece + b"\r\n")
        lines += _answer(wire, pieces[0])
        if _END.match(lines[-1]):
            break
    return lines


def _answer(wire: Wire, command: bytes = b"") -> list[bytes]:
    """The lines of one answer: up to OK, NO or BYE with its literal, a challenge, or the end of the connection."""
    authenticates = command.upper().startswith(b"AUTHENTICATE")
    lines: list[bytes] = []
    while line := wire.line():
        is_last = _END.match(line) or (authenticates and _CHALLENGE.match(line))
        while literal := _LITERAL.search(line):
            lines += [line, wire.exactly(int(literal[1]))]
            line = wire.line()
        lines.append(line)
        if is_last:
            break
    return lines


Hold = Callable[[str], tuple[Pair, Pair]]


@pytest.fixture(scope="module")
def hold(parity_bed: ParityBed, servers_ca: Authority) -> Hold:
    """Return what holds a conversation with both, once: what came before the log-in, and all from there on.

    Afterwards the same scripts lie on both servers.
    """
    if not dovecot_server.SPEAKS_SIEVE:
        pytest.skip("dovecot-managesieved is not installed")
    context = servers_ca.client_context()

    @cache
    def both(name: str) -> tuple[Pair, Pair]:
        parity_bed.empty()
        transcripts = at_once(
            lambda port: _transcript(port, context, TALKS[name], in_the_clear=name in CLEAR),
            parity_bed.direct["sieve"],
            parity_bed.through["sieve"],
        )
        direct, through = (transcript.partition(_LOGGED_IN) for transcript in transcripts)
        left = parity_bed.stored()
        assert left[0] == left[1]
        return Pair(direct[0], through[0], ALLOWED), Pair(direct[2], through[2], ())

    return both


@pytest.mark.parametrize("name", TALKS)
def test_the_answers_are_the_same(name: str, hold: Hold) -> None:
    """The mail server's from the log-in on, octet for octet; before it, but for the list above."""
    before, after = hold(name)

    assert before.difference() == ""
    assert after.difference() == ""


def test_nothing_is_allowed_without_need(hold: Hold) -> None:
    """Every entry of the list is needed by some conversation: one that no longer is must go."""
    assert stale(pair for name in TALKS for pair in hold(name)) == []


def test_enough_is_compared() -> None:
    """The conversations together have at least 130 exchanges."""
    steps = [step for talk in TALKS.values() for step in talk]
    assert sum(len(step.commands) if isinstance(step, Pipelined) else 1 for step in steps) >= EXCHANGES
