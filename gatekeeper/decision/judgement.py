"""One device by one policy at one instant: every effect that applies, and when time alone can change any of them.

Two laws hold here and make `decide` monotone: an effect is only ever added, never lowered by another one; and what is
not known adds an effect or leaves it as it is.

* Presence does not go stale: rules weigh the apps of evidence of any age; age adds the default for `stale`.
* A registered device without evidence has an effect of its own (`Defaults.no_evidence`).
* A device of another account is, for this account, an unknown device, on top of all it is judged by itself.
* A rule that the list cannot answer (no app named, an attribute it asks for missing) has the default for
  `insufficient` as its effect, but no more than a match would have had.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gatekeeper.decision.index import Match
from gatekeeper.decision.policy import VERDICT_OF_PHASE, Policy, Rule
from gatekeeper.decision.scope import exemptions_for, in_scope, names
from gatekeeper.domain.decision import Phase, Reason, Verdict
from gatekeeper.domain.posture import AttestationResult, Posture, PostureState
from gatekeeper.domain.request import Request

Effect = tuple[Verdict, Reason]


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule in one of its phases that means apps of the device."""

    position: int
    rule: Rule
    phase: Phase
    matches: list[Match]

    @property
    def effect(self) -> Effect:
        """What the rule does now."""
        is_certain = any(match.is_certain for match in self.matches)
        return VERDICT_OF_PHASE[self.phase], Reason.APP_MATCH if is_certain else Reason.APP_MATCH_UNCERTAIN


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
    def verdict(self) -> Verdict:
        """The strongest effect."""
        return max((verdict for verdict, _ in self.effects), key=lambda each: each.strength, default=Verdict.ALLOW)

    @property
    def state(self) -> PostureState:
        """The state of the device: a denied app, then what is not known, strongest first."""
        if self.hits:
            return PostureState.DENIED
        reasons = {reason for _, reason in self.effects}
        return next((state for reason, state in _STATES if reason in reasons), PostureState.CLEAN)

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
    found = _weigh_matches(policy, judgement, result, request, now)
    _weigh_age(policy, judgement, result, now)
    if not result.proves_absence:
        judgement.effects.append((policy.defaults.insufficient.action(device.ownership), Reason.INSUFFICIENT))
    elif result.apps.lacks:
        unanswered = (place for place in policy.indexes[device.platform].blind(result.apps) if place not in found)
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
    policy: Policy, judgement: Judgement, result: AttestationResult, request: Request, now: datetime
) -> Container[int]:
    """The rules that mean an app of the list; returns their positions."""
    found = policy.indexes[judgement.posture.device.platform].find(result.apps)
    for position, matches in found.items():
        rule = policy.rules[position]
        phase = _phase_for(policy, judgement, rule, request, now)
        if phase is None:
            continue
        exemptions = exemptions_for(policy, rule, request.account, judgement.posture.device, now)
        if exemptions:
            judgement.exempted.extend(exemption.id for exemption in exemptions)
            judgement.effects.append((Verdict.ALLOW, Reason.EXEMPT))
            continue
        hit = Hit(position, rule, phase, matches)
        judgement.hits.append(hit)
        judgement.effects.append(hit.effect)
    return found


def _weigh_unanswered(
    policy: Policy, judgement: Judgement, positions: Iterable[int], request: Request, now: datetime
) -> None:
    """The rules that the list cannot answer, until one has the full effect: no other can add to that."""
    device = judgement.posture.device
    insufficient = policy.defaults.insufficient.action(device.ownership)
    for position in positions:
        rule = policy.rules[position]
        phase = _phase_for(policy, judgement, rule, request, now)
        if phase is None or exemptions_for(policy, rule, request.account, device, now):
            continue
        judgement.unanswered.append(rule)
        effect = min(VERDICT_OF_PHASE[phase], insufficient, key=lambda verdict: verdict.strength)
        judgement.effects.append((effect, Reason.INSUFFICIENT))
        if effect is insufficient:
            return


def _phase_for(policy: Policy, judgement: Judgement, rule: Rule, request: Request, now: datetime) -> Phase | None:
    """The phase of a rule for this device; None: not in scope, or not yet. Notes when that, or an exemption, ends."""
    device = judgement.posture.device
    if not in_scope(policy, rule, request.account, device, request.protocol):
        return None
    for begin in rule.phases.boundaries:
        judgement.watch(begin, now)
    for exemption in policy.exemptions_of.get(rule.id, ()):
        if names(policy, exemption, request.account, device):
            judgement.watch(exemption.expires, now)
    return rule.phases.at(now)


def later(instant: datetime, by: timedelta) -> datetime:
    """`instant + by`, or the end of the calendar when that lies beyond it."""
    try:
        return instant + by
    except OverflowError:
        return datetime.max.replace(tzinfo=instant.tzinfo)
