"""The whole configuration as a frozen tree; each part is what one component is given."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from gatekeeper.adapters.groups.settings import AskedSettings
from gatekeeper.adapters.sinks.shipping.settings import ShippingSettings
from gatekeeper.attestation.issuer import Issuer
from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.account import AccountSettings, ServiceAccount
from gatekeeper.enforcement.flow.front import Limits
from gatekeeper.enforcement.flow.introduction import Network
from gatekeeper.enforcement.imap.replies import RefusalCode
from gatekeeper.gate.identify import BindingSettings
from gatekeeper.gate.outage import Existing
from gatekeeper.gate.refusals import RefusalSettings
from gatekeeper.gate.throttle import ThrottleSettings
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.tls import ServerTls
from gatekeeper.publishing.approval import Approvers
from gatekeeper.publishing.break_glass import BreakGlassSettings
from gatekeeper.publishing.breaker import BreakerSettings
from gatekeeper.publishing.rollout import RolloutSettings

CONTROL_SOCKET = "control.sock"
"""Where in the state directory the running process listens to its command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Where phones connect."""

    name: str
    protocol: MailProtocol
    host: str
    port: int
    tls: TlsMode
    allow_plaintext: bool
    proxy_protocol_from: tuple[Network, ...] = ()
    """Whose PROXY header is required and believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """Where a protocol's mail server is."""

    addresses: tuple[tuple[str, int], ...]
    """Hosts and ports, in order of preference."""
    tls: TlsMode
    ca: Path | None
    client_certificate: Path | None
    """What we show to the mail server."""
    client_key: Path | None
    client_address: str
    preconnect: bool
    """Whether a connection may be made before a log-in needs it."""
    service: ServiceAccount | None = None
    """Logs in for phones that have proven themselves by their certificate (EXTERNAL)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """The audit log."""

    directory: Path
    origin: str
    signing_key: Path
    """The file of the key that signs the log's heads; made when absent."""
    full_addresses: bool
    """Whether client addresses are kept whole instead of cut to /24 and /48."""
    is_pseudonymous: bool
    """Whether records have pseudonyms in the place of names."""
    identity_map: Path
    """Whose they are, encrypted; made when absent, as is its key."""
    identity_key: Path
    is_archived: bool
    """Whether what decisions were made on is kept, encrypted; else only its digests are, in the records."""
    archive_file: Path
    archive_key: Path
    retention: timedelta
    """How long records are kept at least; `audit prune` removes older ones."""
    fold: timedelta
    """How long repeats are counted before they are recorded; 0: each is recorded by itself."""
    segment_octets: int
    """A segment of the log ends at this size"""
    segment_age: timedelta
    """or at this age."""
    compress: bool
    """Whether segments are compressed then,"""
    compress_after: timedelta
    """so long after their last record."""
    existing: Existing
    """What open sessions do while it cannot be written."""
    shipping: ShippingSettings = field(default_factory=ShippingSettings)
    """What leaves the machine, and what a session waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSettings:
    """Whose signed evidence is believed."""

    audience: str
    issuers: tuple[Issuer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSettings:
    """Policies come as signed bundles instead of a file."""

    directory: Path
    """Where published ones lie."""
    approvers: Approvers
    breaker: BreakerSettings
    canary: RolloutSettings | None
    """None: a new version is for everybody at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsSettings:
    """Who is in the groups of the directory that the policy names: a file, or a directory that is asked, or nothing."""

    file: Path | None = None
    asked: AskedSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """The admin port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything in `gatekeeper.toml`."""

    source: str
    state_directory: Path
    workers: int
    """Processes that share the listeners' ports."""
    drain_timeout: timedelta
    hostname: str
    check_url: str
    idle_timeout: timedelta
    refusal_code: RefusalCode
    limits: Limits
    throttle: ThrottleSettings
    refusals: RefusalSettings
    tls: ServerTls | None
    listeners: tuple[ListenerSettings, ...]
    upstreams: dict[MailProtocol, UpstreamSettings]
    accounts: AccountSettings
    binding: BindingSettings
    policy_file: Path
    """The policy in force, or with `bundles` the draft that `policy build` takes."""
    bundles: BundleSettings | None
    """None: a single file."""
    groups: GroupsSettings
    break_glass: BreakGlassSettings | None
    """None: nobody can open it."""
    store_url: str
    audit: AuditSettings
    evidence: EvidenceSettings | None
    admin: AdminSettings
    notes: tuple[str, ...]
    """What is accepted but has no effect in this version, for the operator."""

    def first_listener(self, protocol: MailProtocol) -> str:
        """The name of the first listener of a protocol; the protocol's own where there is none."""
        return next((each.name for each in self.listeners if each.protocol is protocol), protocol.value)
