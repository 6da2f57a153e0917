"""What an enforcement point implements for its protocol, and what it may ask of its flow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gatekeeper.protocols.login import LoggedIn, LoginClient, Rejected
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueLimits:
    """Bounds of one client's dialogue before log-in.

    None: the protocol's own, a constant beside its parser that names its precedent.
    """

    max_line_octets: int | None = None
    """Of a command line."""
    max_literal_octets: int | None = None
    """Of one literal, where the protocol has such."""
    max_response_octets: int | None = None
    """Of one SASL response, base64."""
    max_commands: int | None = None
    max_errors: int | None = None


class Farewell(StrEnum):
    """Why we end a connection."""

    TIMEOUT = "timeout"
    SHUTTING_DOWN = "shutting_down"
    TOO_MANY_ERRORS = "too_many_errors"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    FAULT = "fault"


class Dialogue(Protocol):
    """One client's dialogue before admission.

    INVARIANT: the command set is closed and every size is bounded at its announcement. After `Peer.log_in` nothing
    more is interpreted until the flow answers with exactly one of `admitted`, `rejected`, `refused`, `unavailable`;
    what arrives meanwhile is only kept.
    """

    def greet(self) -> None:
        """The connection is ready (after implicit TLS): say hello."""
        ...

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        ...

    def tls_started(self) -> None:
        """STARTTLS is done: forget everything learnt before."""
        ...

    def login(self, credentials: Credentials, login: "UpstreamLogin") -> LoginClient:
        """The client that logs in upstream with these credentials."""
        ...

    def admitted(self, logged_in: LoggedIn) -> bytes:
        """The reply that tells the client that it is logged in; the dialogue is over."""
        ...

    def rejected(self, rejected: Rejected) -> None:
        """The mail server refused: reply, and go on."""
        ...

    def refused(self, text: str) -> None:
        """The policy refused: reply with the reason, and go on."""
        ...

    def unavailable(self) -> None:
        """A fault of ours: reply with a temporary failure, and go on."""
        ...

    def farewell(self, why: Farewell) -> bytes:
        """The last words before we close."""
        ...

    def unread(self) -> bytes:
        """After `admitted`: what the client sent behind its log-in, for the mail server."""
        ...

    def closed(self) -> None:
        """The connection is gone or handed over: release everything."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLogin:
    """What a log-in client needs to know besides the credentials."""

    name: str
    """Canonical account: the one that the policy sees is the one that is opened."""
    starttls: bool
    tag: str
    """Unguessable for the phone."""
    client_address: str
    client_port: int
    tells_address: str
    """How the mail server learns the phone's address: `id`, `proxy`, `proxy-v2`, `xclient` or `none`."""


class Peer(Protocol):
    """The flow, as a dialogue sees it."""

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is on."""
        ...

    @property
    def offers_tls(self) -> bool:
        """Whether STARTTLS may be used now."""
        ...

    @property
    def takes_credentials(self) -> bool:
        """Whether credentials may be sent now: TLS is on, or the listener is configured to go without."""
        ...

    @property
    def upstream_offers(self) -> frozenset[str]:
        """What the mail server last offered before log-in, upper case."""
        ...

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """What may be used now besides PLAIN and LOGIN: bearer tokens and EXTERNAL, in the order of the offer."""
        ...

    def client_says(self, hint: str) -> None:
        """What the client says of itself, cleaned: a hint for the audit log, which changes nothing. The first stays."""
        ...

    def send(self, data: bytes) -> None:
        """Write to the client."""
        ...

    def start_tls(self, reply: bytes, *, leftover: bytes) -> None:
        """Answer STARTTLS and upgrade. Octets received behind the command close the connection instead."""
        ...

    def log_in(self, credentials: Credentials) -> None:
        """Try these credentials upstream, then ask the gate; answered through the dialogue."""
        ...

    def credentials_exposed(self, mechanism: str) -> None:
        """The client sent credentials where it must not; they were not used. To be recorded."""
        ...

    def close(self, last_words: bytes = b"") -> None:
        """End the connection after these words."""
        ...


NewDialogue = Callable[[Peer], Dialogue]
Capabilities = Sequence[str]
