"""What all connections of one listener share: settings, the gate, the relay, and the deadlines they run under."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Protocol

from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.account import AccountSettings, ServiceAccount
from gatekeeper.enforcement.flow.dialogue import Farewell, NewDialogue
from gatekeeper.enforcement.flow.introduction import HealthChecks, Network
from gatekeeper.gate.admit import Gate
from gatekeeper.net.deadlines import Deadlines
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.poller import Poller
from gatekeeper.net.pool import UpstreamPool
from gatekeeper.net.relay import Relay
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
    """Connections that are not admitted yet, on one listener."""


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
    upstream_offers: frozenset[str] = frozenset()
    """What the mail server offered last, before log-in."""
    accepted: int = 0
    waiting: Deadlines[Waiting] = field(init=False)
    handshakes: Deadlines[Waiting] = field(init=False)
    logins: Deadlines[LoggingIn] = field(init=False)
    dials: Deadlines[LoggingIn] = field(init=False)

    def __post_init__(self) -> None:
        self.health_checks = HealthChecks(self.audit, self.clock)
        self.waiting = Deadlines(self.limits.login_timeout_s, _too_slow)
        self.handshakes = Deadlines(self.limits.handshake_timeout_s, lambda flow: flow.handshake_too_slow())
        self.logins = Deadlines(self.limits.upstream_timeout_s, lambda leg: leg.too_slow())
        self.dials = Deadlines(self.limits.connect_timeout_s, lambda leg: leg.not_greeted())

    def tick(self) -> None:
        """Called about every quarter of a second."""
        now = self.monotonic()
        for deadlines in (self.handshakes, self.waiting, self.logins, self.dials):
            deadlines.sweep(now)
        self.health_checks.tick(now)

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
