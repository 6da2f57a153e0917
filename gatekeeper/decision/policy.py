"""The policy: one frozen tree of defaults, rules, exemptions and groups, compiled when it is constructed.

Valid by construction as far as `decide` needs it; `schema.parse_policy` checks everything a person can get wrong.
Instants are aware UTC.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from gatekeeper.decision.index import Index
from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.domain.decision import Message, Phase, Verdict
from gatekeeper.domain.device import DeviceClass, Ownership, Platform
from gatekeeper.domain.request import MailProtocol

_OBSERVE, _WARN, _ENFORCE = Phase  # Python 3.11 calls a function for every look-up of an enum's member


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """The strongest of some verdicts; `allow` of none."""
    return max(verdicts, key=lambda verdict: verdict.strength, default=Verdict.ALLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownDevice:
    """What happens to a device that is not registered; an entry for a protocol or class stands in for `default`."""

    default: Verdict = Verdict.BLOCK
    by_protocol: Mapping[MailProtocol, Verdict] = field(default_factory=lambda: MappingProxyType({}))
    by_class: Mapping[DeviceClass, Verdict] = field(default_factory=lambda: MappingProxyType({}))

    def action(self, protocol: MailProtocol, device_class: DeviceClass | None = None) -> Verdict:
        """The strictest entry that can apply; of an unregistered device the class is not known, so any can."""
        classes = (device_class,) if device_class else tuple(DeviceClass)
        return strictest(self._of(protocol, each) for each in classes)

    def _of(self, protocol: MailProtocol, device_class: DeviceClass) -> Verdict:
        entries = [self.by_protocol.get(protocol), self.by_class.get(device_class)]
        given = [entry for entry in entries if entry is not None]
        return strictest(given) if given else self.default


@dataclass(frozen=True, slots=True, kw_only=True)
class ByOwnership:
    """One action for company devices, one for personal ones."""

    company: Verdict = Verdict.BLOCK
    personal: Verdict = Verdict.BLOCK

    def action(self, ownership: Ownership | None) -> Verdict:
        """Unknown ownership takes the stricter of the two."""
        if ownership is Ownership.COMPANY:
            return self.company
        if ownership is Ownership.PERSONAL:
            return self.personal
        return strictest((self.company, self.personal))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """What happens when evidence is older than `evidence_max_age`: `action`, and `after` that long `then`."""

    action: Verdict = Verdict.BLOCK
    then: Verdict = Verdict.BLOCK
    """Not weaker than `action`."""
    after: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What is not said is the safe choice."""

    unknown_device: UnknownDevice = field(default_factory=UnknownDevice)
    evidence_max_age: timedelta = timedelta(hours=24)
    stale: Stale = field(default_factory=Stale)
    insufficient: ByOwnership = field(default_factory=ByOwnership)
    no_evidence: ByOwnership | None = None
    """For registered devices that never sent evidence; None: the stricter of `unknown_device` and `insufficient`,
    since less is known than of either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleScope:
    """Whom a rule is for: every kind of condition that is given must hold; `users` and `groups` are one kind."""

    device_class: frozenset[DeviceClass] = frozenset()
    ownership: frozenset[Ownership] = frozenset()
    protocols: frozenset[MailProtocol] = frozenset()
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    not_users: frozenset[str] = frozenset()
    not_groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """When each phase of a rule begins; at least one is given, in this order."""

    observe: datetime | None = None
    warn: datetime | None = None
    enforce: datetime | None = None
    enforce_weekday: int | None = field(default=None, compare=False)
    """Of the enforce date as written, in its own time zone (Monday is 0); for a warning only."""
    boundaries: tuple[datetime, ...] = field(init=False, repr=False, compare=False)
    """The instants at which the phase changes."""

    def __post_init__(self) -> None:
        given = [begin for begin in (self.observe, self.warn, self.enforce) if begin is not None]
        object.__setattr__(self, "boundaries", tuple(given))

    def at(self, now: datetime) -> Phase | None:
        """The phase at an instant; None: not yet."""
        if self.enforce is not None and now >= self.enforce:
            return _ENFORCE
        if self.warn is not None and now >= self.warn:
            return _WARN
        return _OBSERVE if self.observe is not None and now >= self.observe else None


VERDICT_OF_PHASE: Mapping[Phase, Verdict] = MappingProxyType(
    {Phase.OBSERVE: Verdict.ALLOW, Phase.WARN: Verdict.WARN, Phase.ENFORCE: Verdict.BLOCK}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One directive."""

    id: str
    title: str
    reason: str = ""
    apps: tuple[AppMatcher, ...]
    scope: RuleScope = field(default_factory=RuleScope)
    phases: Phases
    messages: Mapping[str, Message] = field(default_factory=lambda: MappingProxyType({}))
    """By language tag."""
    message: Message | None = field(init=False, repr=False, compare=False)
    """English, else the first that was written; None: the rule has no words of its own."""

    def __post_init__(self) -> None:
        message = self.messages.get("en") or next(iter(self.messages.values()), None)
        object.__setattr__(self, "message", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """Takes one rule away from the people and devices it names, until it expires.

    `users` and `groups` together say who; `devices` says which; where both are given, both must hold.
    """

    id: str
    rule: str
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    expires: datetime
    """First instant at which it no longer holds."""
    reason: str
    approved_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the policy."""

    sha256: str
    """Lower-case hex, of the file's bytes."""
    source: str = "policy"
    """Where it came from, for warnings."""
    defaults: Defaults = field(default_factory=Defaults)
    rules: tuple[Rule, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    groups: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    """Group name -> canonical accounts."""
    indexes: Mapping[Platform, Index] = field(init=False, repr=False, compare=False)
    exemptions_of: Mapping[str, tuple[Exemption, ...]] = field(init=False, repr=False, compare=False)
    """By rule id."""

    def __post_init__(self) -> None:
        entries = [(position, matcher) for position, rule in enumerate(self.rules) for matcher in rule.apps]
        indexes = {platform: Index(entry for entry in entries if entry[1].covers(platform)) for platform in Platform}
        exemptions_of: dict[str, tuple[Exemption, ...]] = {}
        for exemption in self.exemptions:
            exemptions_of[exemption.rule] = (*exemptions_of.get(exemption.rule, ()), exemption)
        object.__setattr__(self, "indexes", MappingProxyType(indexes))
        object.__setattr__(self, "exemptions_of", MappingProxyType(exemptions_of))

    def __repr__(self) -> str:
        """The fingerprint only: scopes and groups name people."""
        return f"Policy({self.sha256[:12]}, {len(self.rules)} rules)"
