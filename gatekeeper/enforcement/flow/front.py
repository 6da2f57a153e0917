"""What all connections of one listener share: settings, the gate, the relay, and the deadlines they run under."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Protocol

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.domain.request import Connection, MailProtocol
from gatekeeper.enforcement.flow.account import AccountSettings, ServiceAccount
from gatekeeper.enforcement.flow.dialogue import DialogueLimits, Farewell, NewDialogue
from gatekeeper.enforcement.flow.introduction import HealthChecks, Network
from gatekeeper.gate.admit import Gate
from gatekeeper.gate.refusals import Refusals, RefusalSettings
from gatekeeper.gate.throttle import Throttle, ThrottleSettings
from gatekeeper.net.crowd import Crowd, CrowdLimits
from gatekeeper.net.deadlines import Deadlines
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.holds import Holds
from gatekeeper.net.poller import Poller
from gatekeeper.net.pool import UpstreamPool
from gatekeeper.net.preconnect import Preconnect
from gatekeeper.net.relay import Relay
from gatekeeper.net.transport import MAX_UNSENT_OCTETS
from gatekeeper.ports.audit import AuditLog
from gatekeeper.ports.clock import Clock


class Waiting(Protocol):
    """A connection that is not admitted yet."""

    def say_goodbye(self, why: Farewell) -> None:
        """End it for a reason of ours."""
        ...

    def handshake_too_slow(self) -> None:
        """End it without a word: the deadline of its TLS handshake passed."""
        ...

    def give_way(self, limit: str) -> bool:
        """End it without a word for one that comes, because of that limit; False: a log-in is under way, it stays."""
        ...

    def fault(self, error: Exception) -> None:
        """End it after an unexpected error, which is logged."""
        ...


class LoggingIn(Protocol):
    """A log-in at the mail server that is under way."""

    def not_greeted(self) -> None:
        """The address that is being tried has not said a word in time."""
        ...

    def too_slow(self) -> None:
        """Its deadline passed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds before admission, each with its precedent."""

    handshake_timeout_s: float = 10.0
    """A TLS handshake; nginx gives 60 s, which a thousand half-open ones would use."""
    login_timeout_s: float = 60.0
    """From accepting to admission, whatever the client sends meanwhile; Dovecot gives 180 s, nginx 60 s."""
    upstream_timeout_s: float = 30.0
    """Connecting and logging in at the mail server, over all of its addresses; Dovecot's login_proxy_timeout."""
    connect_timeout_s: float = 5.0
    """Until one address of several greets; haproxy's documentation has `timeout connect 5s`, nginx waits 60 s."""
    max_attempts: int = 5
    """Log-ins on one connection; nginx's max_errors."""
    max_waiting: int = 4096
    """Connections that are not admitted yet, on one listener. Over it the oldest gives way, as in Dovecot when its
    log-in process is full (client_limit): a flood must come faster than people log in to keep them out."""
    max_handshakes: int = 1024
    """TLS handshakes under way on one listener; over it the oldest gives way. As many as the backlog holds."""
    max_unsent_octets: int = MAX_UNSENT_OCTETS
    """Replies that a client has not read yet."""
    crowd: CrowdLimits = field(default_factory=CrowdLimits)
    dialogue: DialogueLimits = field(default_factory=DialogueLimits)


_LOOKED_AT = 16
"""Of the oldest that wait, when one has to give way."""


def _no_throttle() -> Throttle:
    return Throttle(ThrottleSettings(first_delay_s=0.0))


def _no_refusals() -> Refusals:
    return Refusals(RefusalSettings(remember_for_s=0.0))


def _crowd() -> Crowd:
    return Crowd(CrowdLimits())


@dataclass(slots=True, kw_only=True, eq=False)
class Front:
    """One listener's shared state. Reloading replaces TLS context and upstream; connections use what is there."""

    name: str
    protocol: MailProtocol
    port: int
    tls: TlsMode
    allow_plaintext: bool
    context: ssl.SSLContext | None
    upstream: UpstreamPool
    new_dialogue: NewDialogue
    gate: Gate
    audit: AuditLog
    clock: Clock
    relay: Relay
    poller: Poller
    loop: asyncio.AbstractEventLoop
    monotonic: Callable[[], float] = monotonic
    alpn: str = ""
    """What a client may ask for by ALPN; nothing else, if it asks."""
    revocations_until: datetime | None = None
    """When the list of revoked client certificates expires; None: never, or there is none."""
    last_words: bytes = b""
    """For live sessions that end because we shut down."""
    limits: Limits = field(default_factory=Limits)
    load_balancers: tuple[Network, ...] = ()
    """Whose PROXY header is required and believed."""
    health_checks: HealthChecks = field(init=False)
    accounts: AccountSettings = field(default_factory=AccountSettings)
    service: ServiceAccount | None = None
    """Who logs in at the mail server for phones that have proven themselves by their certificate."""
    crowd: Crowd = field(default_factory=_crowd)
    """These three are the process's: all listeners have the same ones."""
    throttle: Throttle = field(default_factory=_no_throttle)
    refusals: Refusals = field(default_factory=_no_refusals)
    upstream_offers: frozenset[str] = frozenset()
    """What the mail server offered last, before log-in."""
    accepted: int = 0
    turned_away: dict[str, int] = field(default_factory=dict)
    """Connections that a limit ended, counted by the limit."""
    waiting: Deadlines[Waiting] = field(init=False)
    handshakes: Deadlines[Waiting] = field(init=False)
    logins: Deadlines[LoggingIn] = field(init=False)
    dials: Deadlines[LoggingIn] = field(init=False)
    holds: Holds[Waiting] = field(init=False, default_factory=Holds)
    """Log-ins and answers that are held back."""
    preconnect: Preconnect = field(init=False)

    def __post_init__(self) -> None:
        self.health_checks = HealthChecks(self.audit, self.clock)
        self.waiting = Deadlines(self.limits.login_timeout_s, _too_slow)
        self.handshakes = Deadlines(self.limits.handshake_timeout_s, lambda flow: flow.handshake_too_slow())
        self.logins = Deadlines(self.limits.upstream_timeout_s, lambda leg: leg.too_slow())
        self.dials = Deadlines(self.limits.connect_timeout_s, lambda leg: leg.not_greeted())
        self.preconnect = Preconnect(self.poller, self.loop, self.monotonic)

    def tick(self) -> None:
        """Called about every quarter of a second."""
        now = self.monotonic()
        for deadlines in (self.handshakes, self.waiting, self.logins, self.dials):
            deadlines.sweep(now)
        self.health_checks.tick(now)
        self.holds.sweep(now)
        self.preconnect.tick()

    def limit_reached(self, source: str) -> str | None:
        """The limit that one more connection from `source` would break, None when there is room or room was made."""
        limit = self.crowd.refusal(source)
        if limit is None and len(self.waiting) >= self.limits.max_waiting:
            limit = None if self._made_room(self.waiting, "max_waiting") else "max_waiting"
        return limit

    def begin_handshake(self, connection: Waiting) -> None:
        """Its deadline begins; when there are too many under way, the oldest gives way."""
        if len(self.handshakes) >= self.limits.max_handshakes:
            self._made_room(self.handshakes, "max_handshakes")
        self.handshakes.add(connection, self.monotonic())

    def turn_away(self, connection: Connection, limit: str) -> None:
        """Record the end of a connection that a limit left no room for; cheaply, for this is what a flood meets."""
        self.ended_by_limit(limit)
        event = Event(
            code=EventCode.CONNECTION_CLOSED,
            time=self.clock.now(),
            connection=connection,
            message="Connection refused: too many",
            detail={"ended": limit, "attempts": 0},
        )
        self.audit.append(event)

    def ended_by_limit(self, limit: str) -> None:
        """Count a connection that a limit ended."""
        self.turned_away[limit] = self.turned_away.get(limit, 0) + 1

    def _made_room(self, waiting: Deadlines[Waiting], limit: str) -> bool:
        return any(connection.give_way(limit) for connection in waiting.oldest(_LOOKED_AT))

    def take_over(self, other: "Front") -> None:
        """Use another front's settings from now on (reload); connections and deadlines go on."""
        self.context = other.context
        self.revocations_until = other.revocations_until
        self.upstream = other.upstream
        self.new_dialogue = other.new_dialogue
        self.allow_plaintext = other.allow_plaintext
        self.limits = other.limits
        self.load_balancers = other.load_balancers
        self.accounts = other.accounts
        self.service = other.service
        self.waiting.after_s = other.waiting.after_s
        self.handshakes.after_s = other.handshakes.after_s
        self.logins.after_s = other.logins.after_s
        self.dials.after_s = other.dials.after_s

    def say_goodbye(self) -> None:
        """Shutting down: end what is not admitted yet."""
        for flow in self.waiting.owners():
            flow.say_goodbye(Farewell.SHUTTING_DOWN)
        self.health_checks.record()


def _too_slow(connection: Waiting) -> None:
    connection.say_goodbye(Farewell.TIMEOUT)
