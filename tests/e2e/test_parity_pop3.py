"""POP3 through the gate is POP3 with the mail server: the same conversation gets the same transcript from both.

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
from testkit.pop3_conversations import AFTER, BEFORE, CLEAR, MESSAGES, Pipelined, Step
from testkit.tls import Authority
from testkit.wire import Wire

TALKS = CLEAR | BEFORE | AFTER
EXCHANGES = 200
"""At least so many are compared."""

_CAPABILITIES = re.compile(rb"^CAPA\n((?:[A-Z].*\n)+)\.$", re.MULTILINE)


def _in_any_order(found: re.Match[bytes]) -> bytes:
    return b"\n".join([b"CAPA", *sorted(found[1].splitlines()), b"."])


ALLOWED = (
    Allowed("XCLIENT is for the gate, not for phones", re.compile(rb"\A\+OK \[XCLIENT\]"), b"+OK"),
    Allowed(
        "words for people are its own where it answers itself",
        re.compile(rb"^(\+OK|-ERR)((?: \[[A-Z/-]+\])?) .*", re.MULTILINE),
        rb"\1\2 text",
    ),
    Allowed(
        "credentials are not taken before TLS, and not offered",
        re.compile(rb"^(STLS\n)USER\nSASL .*\n", re.MULTILINE),
        rb"\1",
    ),
    Allowed("the order of an offer means nothing", _CAPABILITIES, _in_any_order),
    Allowed(
        "an argument that a command does not have is refused (RFC 2449 §5)",
        re.compile(rb"^(C: CAPA x)\n(?:\+OK\n(?:[A-Z].*\n)+\.|-ERR text)", re.MULTILINE),
        rb"\1",
    ),
    Allowed(
        "USER has a name (RFC 1939 §7)",
        re.compile(rb"^(C: USER ?)\n(?:\+OK|-ERR text)$", re.MULTILINE),
        rb"\1",
    ),
    Allowed(
        "[AUTH] is said of credentials that were looked at, and of nothing else (RFC 3206 §4)",
        re.compile(
            rb"^(C: (?:PASS|AUTH KERBEROS_V4|AUTH PLAIN [^/\n]+ x|AUTH PLAIN / \?\?\?\n\+ )\n-ERR) \[AUTH\]",
            re.MULTILINE,
        ),
        rb"\1",
    ),
    Allowed(
        "a command has one answer: the last bad one's are the last words",
        re.compile(rb"^(-ERR text)\n-ERR text\Z", re.MULTILINE),
        rb"\1",
    ),
)
"""Before the log-in, where the gate answers itself. Afterwards nothing."""

_LOGGED_IN = b"\n+OK Logged in."
_LISTS = re.compile(rb"(?:LIST|UIDL|CAPA(?: .*)?|AUTH|RETR .*|TOP .*)\Z", re.IGNORECASE)


def _transcript(port: int, context: ssl.SSLContext, steps: Sequence[Step], *, in_the_clear: bool) -> bytes:
    said: list[bytes] = []
    with Wire(port, None if in_the_clear else context, deadline_s=15) as wire:
        said.append(wire.line())
        for step in steps:
            with suppress(OSError):  # the connection may have ended
                said += _step(wire, step)
            if step in ("STLS", "stls") and in_the_clear and said[-1].startswith(b"+OK"):
                wire.start_tls(context)
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
        lines += _answer(wire, piece)
        if not lines[-1].startswith(b"+ "):
            break
    return lines


def _answer(wire: Wire, command: bytes) -> list[bytes]:
    """The lines of one answer; [b""] when the connection has ended."""
    lines = [wire.line()]
    if _LISTS.match(command) and lines[0].startswith(b"+OK"):
        while lines[-1] not in (b".", b""):
            lines.append(wire.line())
    return lines


Hold = Callable[[str], tuple[Pair, Pair]]


@pytest.fixture(scope="module")
def hold(parity_bed: ParityBed, servers_ca: Authority) -> Hold:
    """Return what holds a conversation with both, once: what came before the log-in, and all from there on.

    Afterwards the same messages lie on both servers.
    """
    if not dovecot_server.SPEAKS_POP3:
        pytest.skip("dovecot-pop3d is not installed")
    context = servers_ca.client_context()

    @cache
    def both(name: str) -> tuple[Pair, Pair]:
        parity_bed.empty(*MESSAGES)
        door, clear = ("pop3", True) if name in CLEAR else ("pop3s", False)
        transcripts = at_once(
            lambda port: _transcript(port, context, TALKS[name], in_the_clear=clear),
            parity_bed.direct[door],
            parity_bed.through[door],
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
    """The conversations together have at least 200 exchanges."""
    steps = [step for talk in TALKS.values() for step in talk]
    assert sum(len(step.commands) if isinstance(step, Pipelined) else 1 for step in steps) >= EXCHANGES
