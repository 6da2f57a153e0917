"""What stands around the gate's front in a test: an audit log, a clock, a peer for dialogues; all driven by hand."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gatekeeper.audit.event import TERMINAL, Event, EventCode
from gatekeeper.enforcement.flow.account import offered
from gatekeeper.enforcement.flow.dialogue import Dialogue
from gatekeeper.protocols.login import LoggedIn, Rejected
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism
from testkit.reports import NOW

WELCOME = LoggedIn("Logged in")


class Changes:
    """Something that a test waits on: `until` looks again after every `tell`."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Say that something changed."""
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once `condition` holds."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()


class FakeAuditLog(Changes):
    """Implements `ports.audit.AuditLog`; with `holds` set, the test decides when a record is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.writable = True
        self.durable = True
        """What whoever waits for a record is told."""
        self.holds = False
        self.held: list[Callable[[bool], None]] = []

    def append(self, event: Event, recorded: Callable[[bool], None] | None = None) -> None:
        """Take an event; answer on the loop, never within the call."""
        self.events.append(event)
        if recorded is not None:
            if self.holds:
                self.held.append(recorded)
            else:
                asyncio.get_running_loop().call_soon(recorded, self.durable)
        self.tell()

    def release(self, *, durable: bool = True) -> None:
        """Answer everybody who waits."""
        held, self.held = self.held, []
        for recorded in held:
            recorded(durable)

    def codes(self) -> list[EventCode]:
        """The codes in order."""
        return [event.code for event in self.events]

    def terminal(self) -> list[Event]:
        """The events that end a connection."""
        return [event for event in self.events if event.code in TERMINAL]


class ManualClock:
    """Implements `ports.clock.Clock`, and the monotonic seconds beside it."""

    def __init__(self) -> None:
        self._now = NOW
        self._monotonic_s = 1000.0

    def now(self) -> datetime:
        """The present instant."""
        return self._now

    def monotonic(self) -> float:
        """Monotonic seconds."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds


Outcome = Callable[[Dialogue], None]
"""What a log-in comes to: the one call on the dialogue that answers it."""


def refuse(dialogue: Dialogue) -> None:
    """The policy says no."""
    dialogue.refused("TikTok is on this phone.")


def reject(dialogue: Dialogue) -> None:
    """The mail server says no."""
    dialogue.rejected(Rejected(None, "no", is_temporary=False))


NOT_ANOTHER = Rejected(None, "not another's", is_temporary=False, is_delegation=True)


def asks_for_another(credentials: Credentials) -> bool:
    """Whether a flow without delegation rules would not even try them."""
    return credentials.authzid.lower() not in ("", credentials.name.lower())


def fault(dialogue: Dialogue) -> None:
    """We cannot say."""
    dialogue.unavailable()


@dataclass(eq=False)
class ScriptedPeer:
    """Implements `dialogue.Peer`; log-ins are answered by `outcomes` in order, and then admitted."""

    is_encrypted: bool = True
    offers_tls: bool = False
    takes_credentials: bool = True
    upstream_offers: frozenset[str] = frozenset()
    takes_certificate: bool = False
    hints: list[str] = field(default_factory=list)
    outcomes: Sequence[Outcome] = ()
    logged_in: LoggedIn = WELCOME
    told: bytes = b""
    """All that the client got."""
    logins: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Mechanism, name and secret of every log-in."""
    exposed: list[str] = field(default_factory=list)
    tls: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Reply and leftover of every STARTTLS."""
    closed: bool = False
    admitted: bool = False
    upstream: bytes = b""
    """What goes to the mail server after admission."""
    busy: bool = False
    _dialogue: Dialogue | None = None
    _is_another: bool = False

    def send(self, data: bytes) -> None:
        assert not self.closed, "a dialogue says nothing after its last words"
        self.told += data

    def start_tls(self, reply: bytes, *, leftover: bytes) -> None:
        self.tls.append((reply, leftover))
        if leftover and self._dialogue is not None:
            self._dialogue.closed()

    def log_in(self, credentials: Credentials) -> None:
        assert not self.busy, "one log-in at a time"
        self.busy = True
        self._is_another = asks_for_another(credentials)
        if self._is_another:
            return
        self.logins.append((credentials.mechanism.value, credentials.name, credentials.secret.declassify()))

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        return offered(self.upstream_offers, takes_certificate=self.takes_certificate)

    def client_says(self, hint: str) -> None:
        self.hints.append(hint)

    def credentials_exposed(self, mechanism: str) -> None:
        self.exposed.append(mechanism)

    def close(self, last_words: bytes = b"") -> None:
        assert not self.closed
        self.send(last_words)
        self.closed = True

    def feed(self, dialogue: Dialogue, data: bytes) -> None:
        """Let the client send; a log-in is answered after the octets that came with it."""
        self._dialogue = dialogue
        if self.closed:
            return
        if self.admitted:
            self.upstream += data
            return
        dialogue.receive(data)
        while self.busy:
            self.busy = False
            if self._is_another:
                dialogue.rejected(NOT_ANOTHER)
                continue
            attempt = len(self.logins) - 1
            if attempt < len(self.outcomes):
                self.outcomes[attempt](dialogue)
            else:
                self.told += dialogue.admitted(self.logged_in)
                self.upstream += dialogue.unread()
                self.admitted = True


def splits(stream: bytes) -> dict[str, list[list[bytes]]]:
    """The three ways a stream is fed: whole, octet by octet, and in two at every place (long ones: near both ends)."""
    near = 40
    places = list(range(1, len(stream)))
    if len(stream) > 10 * near:
        places = [*places[:near], len(stream) // 2, *places[-near:]]
    return {
        "whole": [[stream]],
        "octet by octet": [[stream[at : at + 1] for at in range(len(stream))]],
        "in two": [[stream[:at], stream[at:]] for at in places],
    }
