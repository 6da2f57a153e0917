"""The policy: one frozen tree of defaults, rules, exemptions and groups, compiled when it is constructed.

Valid by construction as far as `decide` needs it; `schema.parse_policy` checks everything a person can get wrong.
Instants are aware UTC. Compiled once: `with_groups` exchanges the groups and keeps what was compiled.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType

from gatekeeper.decision.allowlist import AllowList
from gatekeeper.decision.defaults import ByOwnership, Defaults, Stale, UnknownDevice, strictest
from gatekeeper.decision.index import Entry, Index
from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.decision.phases import Grace, Phases, Step, phases_for
from gatekeeper.decision.versions import Bound
from gatekeeper.domain.decision import Message, Phase, Verdict
from gatekeeper.domain.device import Device, DeviceClass, Ownership, Platform
from gatekeeper.domain.posture import DeviceFlag, EvidenceLevel
from gatekeeper.domain.request import MailProtocol

__all__ = [
    "ByOwnership",
    "Defaults",
    "Exemption",
    "Grace",
    "Phases",
    "Policy",
    "Rule",
    "RuleScope",
    "Stale",
    "Step",
    "UnknownDevice",
    "strictest",
]

Network = IPv4Network | IPv6Network

_CLAIMED = EvidenceLevel.CLAIMED
_NO_PEOPLE: Mapping[str, frozenset[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleScope:
    """Whom a rule is for: every kind of condition that is given must hold; `users` and `groups` are one kind."""

    device_class: frozenset[DeviceClass] = frozenset()
    ownership: frozenset[Ownership] = frozenset()
    platforms: frozenset[Platform] = frozenset()
    protocols: frozenset[MailProtocol] = frozenset()
    listeners: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    not_networks: tuple[Network, ...] = ()
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    not_users: frozenset[str] = frozenset()
    not_groups: frozenset[str] = frozenset()


_VERDICT_OF_PHASE: Mapping[Phase, Verdict] = MappingProxyType(
    {Phase.OBSERVE: Verdict.ALLOW, Phase.WARN: Verdict.WARN, Phase.ENFORCE: Verdict.BLOCK}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One directive: a device is in breach when any of the conditions that are given is."""

    id: str
    title: str
    reason: str = ""
    apps: tuple[AppMatcher, ...] = ()
    """None of these may be there."""
    only_apps: tuple[AppMatcher, ...] = ()
    """Nothing but these may be there."""
    required_apps: tuple[AppMatcher, ...] = ()
    """Each of these must be there, on the platforms that it covers."""
    min_os: Mapping[Platform, Bound] = field(default_factory=lambda: MappingProxyType({}))
    """The oldest operating system that is good."""
    flags: frozenset[DeviceFlag] = frozenset()
    """The device must have none of these."""
    action: Verdict = Verdict.BLOCK
    """The most that the rule does, whatever the phase."""
    scope: RuleScope = field(default_factory=RuleScope)
    phases: Phases
    grace: Grace | None = None
    rollout: tuple[Step, ...] = ()
    messages: Mapping[str, Message] = field(default_factory=lambda: MappingProxyType({}))
    """By language tag."""
    verdicts: Mapping[Phase, Verdict] = field(init=False, repr=False, compare=False)
    """What it does in each phase."""
    allow_lists: Mapping[Platform, AllowList] = field(init=False, repr=False, compare=False)
    is_for_all_at_once: bool = field(init=False, repr=False, compare=False)
    """Its phases are the same for every device."""

    def __post_init__(self) -> None:
        verdicts = {
            phase: min(verdict, self.action, key=lambda each: each.strength)
            for phase, verdict in _VERDICT_OF_PHASE.items()
        }
        allow_lists = {platform: AllowList(self.only_apps, platform) for platform in Platform if self.only_apps}
        object.__setattr__(self, "verdicts", MappingProxyType(verdicts))
        object.__setattr__(self, "allow_lists", MappingProxyType(allow_lists))
        object.__setattr__(self, "is_for_all_at_once", self.grace is None and not self.rollout)

    def phases_for(self, device: Device) -> Phases:
        """Its phases for one device."""
        if self.is_for_all_at_once:
            return self.phases
        return phases_for(self.id, self.phases, self.grace, self.rollout, device)

    def oldest_os(self, platform: Platform) -> Bound | None:
        """The bound for a platform; iPadOS counts like iOS where it is not named itself."""
        bound = self.min_os.get(platform)
        return self.min_os.get(Platform.IOS) if bound is None and platform is Platform.IPADOS else bound

    def asks_of(self, platform: Platform) -> bool:
        """Whether it asks more of a device of that platform than that `apps` are not there."""
        return bool(
            self.only_apps
            or self.flags
            or self.oldest_os(platform) is not None
            or any(matcher.covers(platform) for matcher in self.required_apps)
        )


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
    text: bytes = field(default=b"", repr=False, compare=False)
    """The file's bytes, to be archived; empty: not from a file."""
    defaults: Defaults = field(default_factory=Defaults)
    rules: tuple[Rule, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    groups: Mapping[str, frozenset[str]] = field(default_factory=lambda: _NO_PEOPLE)
    """Group name -> canonical accounts; a group that is not in here has members who are not known."""
    directory_groups: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Group name -> what the directory calls it, for groups whose members `with_groups` brings."""
    sources: Mapping[str, EvidenceLevel] = field(default_factory=lambda: MappingProxyType({}))
    """How far each source of evidence is believed; the others are only claims."""
    indexes: Mapping[Platform, Index] = field(init=False, repr=False, compare=False)
    """Every matcher of `apps`."""
    indexes_at: Mapping[EvidenceLevel, Mapping[Platform, Index]] | None = field(init=False, repr=False, compare=False)
    """By the level of the evidence; None: no matcher asks for one."""
    demanding: Mapping[Platform, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    """Positions of the rules that ask for more (`Rule.asks_of`), on the platforms where there are any."""
    exemptions_of: Mapping[str, tuple[Exemption, ...]] = field(init=False, repr=False, compare=False)
    """By rule id."""

    def __post_init__(self) -> None:
        entries = [(position, matcher) for position, rule in enumerate(self.rules) for matcher in rule.apps]
        indexes = {platform: Index(entry for entry in entries if entry[1].covers(platform)) for platform in Platform}
        demanding = {
            platform: positions
            for platform in Platform
            if (positions := tuple(position for position, rule in enumerate(self.rules) if rule.asks_of(platform)))
        }
        exemptions_of: dict[str, tuple[Exemption, ...]] = {}
        for exemption in self.exemptions:
            exemptions_of[exemption.rule] = (*exemptions_of.get(exemption.rule, ()), exemption)
        object.__setattr__(self, "indexes", MappingProxyType(indexes))
        object.__setattr__(self, "indexes_at", _indexes_at(entries))
        object.__setattr__(self, "demanding", MappingProxyType(demanding))
        object.__setattr__(self, "exemptions_of", MappingProxyType(exemptions_of))

    def index_for(self, platform: Platform, source: str) -> Index:
        """The matchers that evidence from `source` can answer, and which rules it cannot."""
        if self.indexes_at is None:
            return self.indexes[platform]
        return self.indexes_at[self.sources.get(source, _CLAIMED)][platform]

    def with_groups(self, members: Mapping[str, frozenset[str]]) -> "Policy":
        """The same policy with the members of the directory's groups, by the directory's names."""
        brought = {name: members[place] for name, place in self.directory_groups.items() if place in members}
        own = {name: people for name, people in self.groups.items() if name not in self.directory_groups}
        changed = copy.copy(self)
        object.__setattr__(changed, "groups", MappingProxyType({**own, **brought}))
        return changed

    def __repr__(self) -> str:
        """The fingerprint only: scopes and groups name people."""
        return f"Policy({self.sha256[:12]}, {len(self.rules)} rules)"


def _indexes_at(entries: list[Entry]) -> Mapping[EvidenceLevel, Mapping[Platform, Index]] | None:
    if all(matcher.min_evidence is _CLAIMED for _, matcher in entries):
        return None
    found: dict[EvidenceLevel, Mapping[Platform, Index]] = {}
    before: int | None = None
    indexes: Mapping[Platform, Index] = {}
    for level in EvidenceLevel:
        answered = [entry for entry in entries if entry[1].min_evidence.rank <= level.rank]
        if len(answered) != before:  # a level more often than not answers what the one below it does
            beyond = [entry for entry in entries if entry[1].min_evidence.rank > level.rank]
            indexes = {platform: _index(answered, beyond, platform) for platform in Platform}
            before = len(answered)
        found[level] = indexes
    return MappingProxyType(found)


def _index(answered: Iterable[Entry], beyond: Iterable[Entry], platform: Platform) -> Index:
    return Index(
        (entry for entry in answered if entry[1].covers(platform)),
        beyond=(position for position, matcher in beyond if matcher.covers(platform)),
    )
