"""One device by one policy at one instant: every effect that applies, and when time alone can change any of them.

Two laws hold here and make `decide` monotone: an effect is only ever added, never lowered by another one; and what is
not known adds an effect or leaves it as it is.

* Presence does not go stale: rules weigh the apps of evidence of any age; age adds the default for `stale`.
* A registered device without evidence has an effect of its own (`Defaults.no_evidence`).
* A device of another account is, for this account, an unknown device, on top of all it is judged by itself.
* A rule that the evidence cannot answer (no app named and an attribute it asks for missing, a version of the operating
  system or a flag not stated, evidence weaker than it asks for) has the default for `insufficient` as its effect, but
  no more than a match would have had.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from types import MappingProxyType

from gatekeeper.decision.demands import breaches
from gatekeeper.decision.index import Match
from gatekeeper.decision.phases import Phases
from gatekeeper.decision.policy import Policy, Rule
from gatekeeper.decision.scope import exemptions_for, in_scope, names
from gatekeeper.domain.decision import Phase, Reason, Verdict
from gatekeeper.domain.device import Platform
from gatekeeper.domain.posture import AttestationResult, Posture, PostureState
from gatekeeper.domain.request import Request

Effect = tuple[Verdict, Reason]

_DENIED = PostureState.DENIED  # Python 3.11 calls a function for every look-up of an enum's member
_MATCH, _UNCERTAIN = Reason.APP_MATCH, Reason.APP_MATCH_UNCERTAIN
_NO_EFFECT: Effect = (Verdict.ALLOW, Reason.CLEAN)

_REASONS = (
    Reason.APP_MATCH,
    Reason.APP_MATCH_UNCERTAIN,
    Reason.APP_NOT_LISTED,
    Reason.COMPROMISED,
    Reason.OS_VERSION,
    Reason.APP_REQUIRED,
    Reason.DEVICE_OF_ANOTHER_USER,
    Reason.UNKNOWN_DEVICE,
    Reason.NO_EVIDENCE,
    Reason.STALE,
    Reason.INSUFFICIENT,
    Reason.EXEMPT,
    Reason.CLEAN,
)
EFFECT_ORDER: Mapping[Effect, int] = MappingProxyType(
    {effect: order for order, effect in enumerate(product(reversed(Verdict), _REASONS))}
)
"""Of every possible effect, 0 for the strongest; effects of one verdict in the order in which reasons are told."""


@dataclass(slots=True)
class Hit:
    """A rule in one of its phases that the device is in breach of."""

    position: int
    rule: Rule
    phase: Phase
    phases: Phases
    """As they are for this device."""
    platform: Platform
    reason: Reason
    matches: Sequence[Match] = ()
    """The apps that are not allowed, certain ones first; none where it is not about an app that is there."""
    missing: str | None = None
    """The name or id of a required app."""


@dataclass(slots=True)
class Judgement:
    """Filled by `judge`, read by everybody else."""

    posture: Posture
    effects: list[Effect] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    """In policy order."""
    exempted: list[str] = field(default_factory=list)
    unanswered: list[Rule] = field(default_factory=list)
    """Rules in a phase that the list cannot answer; ends with the first that has the full effect of `insufficient`."""
    valid_until: datetime | None = None

    @property
    def strongest(self) -> Effect:
        """The strongest effect; `clean` when nothing applies."""
        if len(self.effects) == 1:
            return self.effects[0]
        return min(self.effects, key=EFFECT_ORDER.__getitem__, default=_NO_EFFECT)

    @property
    def verdict(self) -> Verdict:
        """Of the strongest effect."""
        return self.strongest[0]

    @property
    def state(self) -> PostureState:
        """The state of the device: a denied app, then what is not known, strongest first."""
        if self.hits:
            return _DENIED
        reasons = [reason for _, reason in self.effects]
        for reason, state in _STATES:
            if reason in reasons:
                return state
        return PostureState.CLEAN

    def watch(self, instant: datetime, now: datetime) -> None:
        """Something changes at `instant`."""
        if instant > now and (self.valid_until is None or instant < self.valid_until):
            self.valid_until = instant


_STATES = (
    (Reason.DEVICE_OF_ANOTHER_USER, PostureState.UNKNOWN),
    (Reason.NO_EVIDENCE, PostureState.UNKNOWN),
    (Reason.STALE, PostureState.STALE),
    (Reason.INSUFFICIENT, PostureState.INSUFFICIENT),
)


def judge(policy: Policy, posture: Posture, request: Request, now: datetime) -> Judgement:
    """Weigh one device."""
    judgement = Judgement(posture)
    device, result = posture.device, posture.result
    if device.account != request.account:
        action = policy.defaults.unknown_device.action(request.protocol, device.device_class)
        judgement.effects.append((action, Reason.DEVICE_OF_ANOTHER_USER))
    if result is None:
        judgement.effects.append((_no_evidence(policy, posture, request), Reason.NO_EVIDENCE))
        return judgement
    platform = device.platform
    index = policy.indexes[platform] if policy.indexes_at is None else policy.index_for(platform, result.source)
    found = index.find(result.apps)
    _weigh_matches(policy, judgement, found, request, now)
    if policy.demanding:
        _weigh_demands(policy, judgement, policy.demanding.get(platform, ()), request, now)
    _weigh_age(policy, judgement, result, now)
    if not result.proves_absence:
        judgement.effects.append((policy.defaults.insufficient.action(device.ownership), Reason.INSUFFICIENT))
    elif index.may_be_blind(result.apps):
        unanswered = (place for place in index.blind(result.apps) if place not in found)
        _weigh_unanswered(policy, judgement, unanswered, request, now)
    return judgement


def _no_evidence(policy: Policy, posture: Posture, request: Request) -> Verdict:
    defaults, device = policy.defaults, posture.device
    if defaults.no_evidence is not None:
        return defaults.no_evidence.action(device.ownership)
    unknown = defaults.unknown_device.action(request.protocol, device.device_class)
    return max(unknown, defaults.insufficient.action(device.ownership), key=lambda verdict: verdict.strength)


def _weigh_age(policy: Policy, judgement: Judgement, result: AttestationResult, now: datetime) -> None:
    defaults = policy.defaults
    stale_at = later(result.collected_at, defaults.evidence_max_age)
    if now < stale_at:
        judgement.watch(stale_at, now)
        return
    then_at = later(stale_at, defaults.stale.after)
    judgement.watch(then_at, now)
    judgement.effects.append((defaults.stale.then if now >= then_at else defaults.stale.action, Reason.STALE))


def _weigh_matches(
    policy: Policy, judgement: Judgement, found: Mapping[int, list[Match]], request: Request, now: datetime
) -> None:
    """The rules that mean an app of the list."""
    platform = judgement.posture.device.platform
    for position, matches in found.items():
        rule = policy.rules[position]
        phases = _phases_for(policy, judgement, rule, request, now)
        phase = phases.at(now) if phases else None
        if phase is None or phases is None:
            continue
        if rule.id in policy.exemptions_of and _is_exempt(policy, judgement, rule, request, now):
            continue
        reason = _MATCH if matches[0].is_certain else _UNCERTAIN
        judgement.hits.append(Hit(position, rule, phase, phases, platform, reason, matches))
        judgement.effects.append((rule.verdicts[phase], reason))


def _weigh_demands(
    policy: Policy, judgement: Judgement, positions: Iterable[int], request: Request, now: datetime
) -> None:
    """The rules that ask for more than the absence of an app."""
    device, result = judgement.posture.device, judgement.posture.result
    if result is None:
        return
    hits_before = len(judgement.hits)
    for position in positions:
        rule = policy.rules[position]
        if not in_scope(policy, rule, device, request):
            continue
        found = breaches(rule, device, result)
        if not found.hits and not found.is_unanswered:
            continue
        phases = _phases_for(policy, judgement, rule, request, now)
        phase = phases.at(now) if phases else None
        if phase is None or phases is None or _is_exempt(policy, judgement, rule, request, now):
            continue
        for reason, matches, missing in found.hits:
            judgement.hits.append(Hit(position, rule, phase, phases, device.platform, reason, matches, missing))
            judgement.effects.append((rule.verdicts[phase], reason))
        if found.is_unanswered:
            _add_unanswered(policy, judgement, rule, phase)
    if hits_before and len(judgement.hits) > hits_before:
        judgement.hits.sort(key=lambda hit: hit.position)


def _weigh_unanswered(
    policy: Policy, judgement: Judgement, positions: Iterable[int], request: Request, now: datetime
) -> None:
    """The rules that the list cannot answer, until one has the full effect: no other can add to that."""
    for position in positions:
        rule = policy.rules[position]
        phases = _phases_for(policy, judgement, rule, request, now)
        phase = phases.at(now) if phases else None
        if phase is None or exemptions_for(policy, rule, request.account, judgement.posture.device, now):
            continue
        if _add_unanswered(policy, judgement, rule, phase):
            return


def _add_unanswered(policy: Policy, judgement: Judgement, rule: Rule, phase: Phase) -> bool:
    """The effect of a rule that cannot be answered; whether it is the full one of `insufficient`."""
    insufficient = policy.defaults.insufficient.action(judgement.posture.device.ownership)
    effect = min(rule.verdicts[phase], insufficient, key=lambda verdict: verdict.strength)
    judgement.unanswered.append(rule)
    judgement.effects.append((effect, Reason.INSUFFICIENT))
    return effect is insufficient


def _is_exempt(policy: Policy, judgement: Judgement, rule: Rule, request: Request, now: datetime) -> bool:
    """Whether an exemption takes a rule away that the device is in breach of; it is noted then."""
    exemptions = exemptions_for(policy, rule, request.account, judgement.posture.device, now)
    if not exemptions:
        return False
    judgement.exempted.extend(exemption.id for exemption in exemptions)
    judgement.effects.append((Verdict.ALLOW, Reason.EXEMPT))
    return True


def _phases_for(policy: Policy, judgement: Judgement, rule: Rule, request: Request, now: datetime) -> Phases | None:
    """The phases of a rule for this device; None: not in scope. Notes when the next begins, or an exemption ends."""
    device = judgement.posture.device
    if not in_scope(policy, rule, device, request):
        return None
    phases = rule.phases if rule.is_for_all_at_once else rule.phases_for(device)
    for begin in phases.boundaries:
        if begin > now:
            judgement.watch(begin, now)
    for exemption in policy.exemptions_of.get(rule.id, ()):
        if names(policy, exemption, request.account, device):
            judgement.watch(exemption.expires, now)
    return phases


def later(instant: datetime, by: timedelta) -> datetime:
    """`instant + by`, or the end of the calendar when that lies beyond it."""
    try:
        return instant + by
    except OverflowError:
        return datetime.max.replace(tzinfo=instant.tzinfo)
