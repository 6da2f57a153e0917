"""The answer of `decide`: a verdict with its reasons (XACML PDP words)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Binding, PostureState


class Verdict(StrEnum):
    """What shall happen with the session; declared weakest first (`strength`)."""

    ALLOW = "allow"
    WARN = "warn"
    QUARANTINE = "quarantine"
    BLOCK = "block"
    UNAVAILABLE = "unavailable"
    """A fault of ours: the client gets a temporary failure. Never comes out of `decide`."""

    @property
    def strength(self) -> int:
        """0 for the weakest."""
        return _STRENGTH[self]

    @property
    def admits(self) -> bool:
        """Whether the session goes through."""
        return self in (Verdict.ALLOW, Verdict.WARN)


_STRENGTH = {verdict: strength for strength, verdict in enumerate(Verdict)}


class Phase(StrEnum):
    """What a rule does at an instant; before its first phase it does nothing."""

    OBSERVE = "observe"
    WARN = "warn"
    ENFORCE = "enforce"


class Reason(StrEnum):
    """The closed list of why a verdict came out; stable names, part of the audit record's `status_code`."""

    CLEAN = "clean"
    APP_MATCH = "app.match"
    APP_MATCH_UNCERTAIN = "app.match.uncertain"
    """The id matches; the version or signer that the rule asks for is not known, which never counts as false."""
    APP_NOT_LISTED = "app.not_listed"
    """An app that is not on the list of the only allowed ones."""
    APP_REQUIRED = "app.required"
    """An app that must be there is not, or it is not known to be the right one."""
    OS_VERSION = "device.os_version"
    """The operating system is older than a rule allows."""
    COMPROMISED = "device.compromised"
    """The evidence speaks against the device itself: rooted, jailbroken, unverified boot."""
    UNKNOWN_DEVICE = "device.unknown"
    DEVICE_OF_ANOTHER_USER = "device.other_user"
    NO_EVIDENCE = "evidence.absent"
    STALE = "evidence.stale"
    INSUFFICIENT = "evidence.insufficient"
    EXEMPT = "exempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What the person at the phone is told, as templates: `{app}`, `{check_url}`, `{deadline}`, `{code}`."""

    short: str
    fix: str
    language: str = "en"
    """Tag (RFC 5646) of the language that it is written in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict and everything needed to explain it; equal inputs give an equal decision until `valid_until`."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    """The reasons of the verdict, strongest first; never empty."""
    posture: PostureState
    """The state of the device that determined the verdict."""
    binding: Binding
    policy_sha256: str
    valid_until: datetime | None
    """The next instant at which time alone can change this decision; None: never."""
    device_id: DeviceId | None = None
    """The device that determined the verdict; None when no device is known."""
    rule_ids: tuple[str, ...] = ()
    """Every rule that matched and is in a phase (also those of weaker effect), in policy order."""
    matched: tuple[str, ...] = ()
    """The denied apps found, as `platform:id`, the first 20; nothing else of an app list ever leaves the decision."""
    phase: Phase | None = None
    """The strongest phase among `rule_ids`."""
    exemptions: tuple[str, ...] = ()
    """Ids of the exemptions that took a matching rule away."""
    message: Message | None = None
    """None when there is nothing to tell."""
    app_name: str | None = None
    """Display name (or id) of the first denied or missing app, for `{app}`."""
    deadline: datetime | None = None
    """When the strongest matching rule that does not block yet will, for this device; in the rule's time zone."""
    evidence_sha256: str | None = None
    evidence_source: str | None = None
    collected_at: datetime | None = None
    apps_count: int | None = None
    judged: tuple[tuple[DeviceId, int], ...] = ()
    """Every device that counted, and the revision of its posture: what the decision can be performed again from."""
    groups: tuple[str, ...] | None = None
    """Groups of a directory that the policy names and the person was in; None: it names none."""
    groups_unknown: tuple[str, ...] = ()
    """Those of them of which it was not known."""
