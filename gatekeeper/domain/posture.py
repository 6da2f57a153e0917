"""Posture: what is currently known about a device (RFC 9334 attestation result, with its scope, source and age)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from gatekeeper.domain.app import AppList
from gatekeeper.domain.device import Device, DeviceId


class Scope(StrEnum):
    """How much of the device the list's source could see (`inv_scope` of the evidence profile)."""

    FULL = "full"
    MANAGED_ONLY = "managed-only"
    WORK_PROFILE = "work-profile"
    QUERY = "query"
    USER_VISIBLE = "user-visible"


class EvidenceLevel(StrEnum):
    """How far a source of evidence is believed; declared weakest first (`rank`)."""

    CLAIMED = "claimed"
    """Nobody vouches for it."""
    AGENT = "agent"
    """Signed by an app on the device."""
    MDM = "mdm"
    """The device's management says so."""
    HARDWARE = "hardware"
    """Signed with a key that hardware attests."""

    @property
    def rank(self) -> int:
        """0 for the weakest."""
        return _RANK[self]


_RANK = {level: rank for rank, level in enumerate(EvidenceLevel)}


class DeviceFlag(StrEnum):
    """What evidence can say against the device as a whole; not said is not known."""

    COMPROMISED = "compromised"
    """Rooted or jailbroken."""
    UNVERIFIED_BOOT = "unverified_boot"
    """It started something else than its maker signed."""
    DEBUGGABLE = "debuggable"


_NO_FLAGS: Mapping[DeviceFlag, bool] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult:
    """What the verifier made of the last accepted evidence of a device, with older sightings that still stand.

    Presence does not go stale: `apps` holds every app seen and not yet shown to be gone by newer evidence that could
    see it. Absence holds only when `proves_absence`.
    """

    source: str
    """Issuer or connector that vouches for the list: `mdm`, `company-agents`, ..."""
    scope: Scope
    complete: bool
    """The source vouches that nothing within its scope is left out."""
    collected_at: datetime
    """When the operating system was asked (aware UTC); freshness counts from here."""
    evidence_sha256: str
    """Lower-case hex of the accepted evidence's bytes."""
    apps: AppList
    os_version: str | None = None
    flags: Mapping[DeviceFlag, bool] = field(default_factory=lambda: _NO_FLAGS)
    """Those that the evidence speaks of."""

    @property
    def proves_absence(self) -> bool:
        """Whether an app that is not on the list is not on the device."""
        return self.complete and self.scope is Scope.FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Posture:
    """A registered device and what is known about it."""

    device: Device
    result: AttestationResult | None
    """None: registered, but no evidence was ever accepted."""
    revision: int = field(default=0, compare=False)
    """Names this state of the device among all it ever had: microseconds since 1970 of when it was put on record.
    0: not from a store."""


class PostureState(StrEnum):
    """The state of a device as a decision saw it."""

    CLEAN = "clean"
    DENIED = "denied"
    STALE = "stale"
    UNKNOWN = "unknown"
    INSUFFICIENT = "insufficient"
    """The list cannot prove absence: managed apps only, or incomplete."""
    INVALID = "invalid"


class Assurance(StrEnum):
    """How surely a mail session is tied to a device, strongest first."""

    PROVEN = "proven"
    CREDENTIAL = "credential"
    CLAIMED = "claimed"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What ties a session to the devices it is judged by."""

    assurance: Assurance
    method: str
    """The configured method that answered: `client_certificate`, `user`, ..."""
    claimed_device: DeviceId | None = None
    """The device that the method named, registered or not; None when it names no single device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a decision is about: the bound devices with their postures. No postures: an unknown device."""

    binding: Binding
    postures: tuple[Posture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One appraised answer of one source about one device: an inventory line, or one accepted evidence token."""

    device: Device
    result: AttestationResult
    """`apps` holds exactly what this answer lists, nothing carried over."""
