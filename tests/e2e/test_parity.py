"""Nobody can tell the gate from the server: the same conversation gets the same transcript from both.

Two Dovecots with one configuration; one is spoken to directly, the other through the gate. `VARYING` is taken out on both
sides: it differs between any two servers. `ALLOWED` is what the gate says otherwise on purpose, each with its reason;
every other difference is a fault.
"""

import re
import shutil
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import unified_diff

import pytest

from testkit import dovecot as dovecot_server
from testkit.dovecot import DOMAIN, Dovecot, User
from testkit.gate import GateProcess, policy, upstream
from testkit.imap_conversations import AFTER, BEFORE, Step
from testkit.tls import Authority, KeyPair
from testkit.waiting import eventually
from testkit.wire import Wire

PARITY = User(f"parity@{DOMAIN}", "parity-password")
EXCHANGES = 150
"""At least so many are compared."""

_PLUGINS = """
mail_plugins = quota acl
protocol imap {
  mail_plugins = quota acl imap_quota imap_acl imap_zlib
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=1G
  acl = vfile
}
"""

VARYING = (
    (re.compile(rb"(UIDVALIDITY|APPENDUID|COPYUID) [0-9]+"), rb"\1 n"),
    (re.compile(rb"\([0-9.]+ \+ [0-9.]+( \+ [0-9.]+)? secs\)"), b"(time)"),
)
"""Times and numbers that a server makes up."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """A difference on purpose: both sides are rewritten to the same before they are compared."""

    reason: str
    pattern: re.Pattern[bytes]
    becomes: bytes | Callable[[re.Match[bytes]], bytes]


_FILTERED = re.compile(rb"LOGIN-REFERRALS|AUTH=LOGIN")


def _offer(found: re.Match[bytes]) -> bytes:
    """An offer before log-in as a set, without what is filtered."""
    words = sorted({word for word in found[2].split() if not _FILTERED.fullmatch(word)})
    return found[1] + b" ".join(words)


ALLOWED = (
    Allowed(
        "referrals lead around the gate, and LOGIN is what a phone sends PLAIN for; the order means nothing",
        re.compile(rb"^((?:\* |\* OK \[|TAG OK \[)CAPABILITY )([^\]\n]+)", re.MULTILINE),
        _offer,
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


def _transcript(port: int, context: ssl.SSLContext, steps: Sequence[Step]) -> bytes:
    said: list[bytes] = []
    with Wire(port, context, deadline_s=4) as wire:
        said.append(wire.line())
        for number, step in enumerate(steps):
            tag = b"t%03d" % number
            pieces = [piece.encode() for piece in ([step] if isinstance(step, str) else step)]
            said.append(b"C: " + b" / ".join(pieces))
            answer = _exchange(wire, tag, pieces)
            said += [b"TAG" + line[len(tag) :] if line.startswith(tag) else line for line in answer]
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


def _alike(transcript: bytes, allowed: Sequence[Allowed]) -> list[str]:
    """The lines that must be the same."""
    for pattern, becomes in VARYING:
        transcript = pattern.sub(becomes, transcript)
    for one in allowed:
        transcript = one.pattern.sub(one.becomes, transcript)
    return transcript.decode("latin-1").split("\n")


@pytest.fixture(scope="module")
def servers(mail_certificate: KeyPair) -> Iterator[tuple[Dovecot, Dovecot]]:
    """Run two equal Dovecots."""
    if dovecot_server.PROGRAM is None:
        pytest.skip("Dovecot is not installed")
    started = [Dovecot(mail_certificate, (PARITY,), more=_PLUGINS) for _ in range(2)]
    yield started[0], started[1]
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def gate(
    make_gate_anywhere: Callable[..., GateProcess], servers: tuple[Dovecot, Dovecot], servers_ca: Authority
) -> Iterator[GateProcess]:
    """Run a gate in front of the second Dovecot, whatever the device."""
    gate = make_gate_anywhere(
        {"upstream": {"imap": upstream(servers[1].imap_port), "smtp": upstream(25)}},
        policy_text=policy().replace('unknown_device   = "block"', 'unknown_device   = "allow"'),
    )
    gate.start()
    eventually(lambda: _knows_the_offer(gate, servers_ca), within=10, what="the mail server's mechanisms")
    yield gate
    gate.discard()


def _knows_the_offer(gate: GateProcess, servers_ca: Authority) -> bool:
    with Wire(gate.ports.imaps, servers_ca.client_context()) as wire:
        return b"AUTH=XOAUTH2" in wire.line()


Compare = Callable[[Sequence[Step], Sequence[Allowed]], None]


@pytest.fixture
def compare(gate: GateProcess, servers: tuple[Dovecot, Dovecot], context: ssl.SSLContext) -> Compare:
    """Return what holds a conversation with both and fails on a difference."""

    def both(steps: Sequence[Step], allowed: Sequence[Allowed]) -> None:
        for server in servers:
            shutil.rmtree(server.maildir(PARITY), ignore_errors=True)
        direct = _alike(_transcript(servers[0].imaps_port, context, steps), allowed)
        through = _alike(_transcript(gate.ports.imaps, context, steps), allowed)
        difference = list(unified_diff(direct, through, "direct", "through the gate", n=2, lineterm=""))
        assert difference == [], "\n".join(difference)

    return both


@pytest.mark.parametrize("name", BEFORE)
def test_before_log_in(name: str, compare: Compare) -> None:
    """What the gate answers itself is what the mail server would have answered, but for the list above."""
    compare(BEFORE[name], ALLOWED_BEFORE)


@pytest.mark.parametrize("name", AFTER)
def test_after_log_in(name: str, compare: Compare) -> None:
    """After the log-in not an octet differs."""
    compare(AFTER[name], ALLOWED)


def test_enough_is_compared() -> None:
    """The conversations together have at least 150 exchanges."""
    assert sum(map(len, (*BEFORE.values(), *AFTER.values()))) >= EXCHANGES
