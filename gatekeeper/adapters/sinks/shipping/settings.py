"""What the configuration says about where audit records and signed heads are sent."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from gatekeeper.adapters.sinks.shipping.quorum import Required
from gatekeeper.audit.cosignature import CosignerKey

DEFAULT_SD_ID = "gatekeeper@32473"
"""32473 is the enterprise number for examples (RFC 5612): whoever has one of their own says so."""


class Start(StrEnum):
    """Where a remote that is new begins."""

    BEGINNING = "beginning"
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a peer proves itself, and we to it; the files are read again for each connection."""

    ca: Path | None = None
    """None: the system's."""
    client_certificate: Path | None = None
    client_key: Path | None = None

    @property
    def files(self) -> tuple[tuple[str, Path], ...]:
        """Those that are named, by the name of their key."""
        named = (
            ("ca", self.ca),
            ("client_certificate", self.client_certificate),
            ("client_key", self.client_key),
        )
        return tuple((key, path) for key, path in named if path is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogPeer:
    """A syslog receiver: RFC 5424 messages in RFC 5425 frames."""

    host: str
    port: int
    tls: Tls | None
    """None: plain TCP, on loopback."""
    sd_id: str = DEFAULT_SD_ID
    hostname: str = "-"
    """HOSTNAME of our messages."""

    @property
    def place(self) -> str:
        """For operators."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPeer:
    """Somebody who takes POST requests."""

    url: str
    tls: Tls | None
    """None: plain HTTP, on loopback."""
    token_file: Path | None = None
    """Holds a bearer token; read again for each connection."""

    @property
    def place(self) -> str:
        """For operators."""
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSettings:
    """Where records are sent."""

    name: str
    peer: SyslogPeer | HttpPeer
    start: Start = Start.BEGINNING
    resend: timedelta = timedelta(seconds=10)
    """Syslog: after a lost connection what was sent for so long before it is sent again."""
    batch: int = 500
    """HTTP: records in a request, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlace:
    """A directory that the gate's administrators should not be able to change."""

    path: Path

    @property
    def place(self) -> str:
        """For operators."""
        return str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSettings:
    """Where signed heads are sent."""

    name: str
    peer: FilePlace | SyslogPeer | HttpPeer
    is_witness: bool = False
    """Of an `HttpPeer`: it takes `add-checkpoint` (c2sp.org/tlog-witness)."""
    witness_key: CosignerKey | None = None
    """Whose cosignature its answer has to be; None: whatever it says is kept, for others to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippingSettings:
    """All of it."""

    required: Required = Required.LOCAL
    timeout: timedelta = timedelta(seconds=5)
    """How long a session waits for the remotes that must have its record."""
    remotes: tuple[RemoteSettings, ...] = ()
    heads: tuple[HeadSettings, ...] = ()
