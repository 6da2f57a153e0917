"""For the operator: which predicate of which rule is true, false or not known, on what evidence, and what changes when.

Says the same as `decide`, because it asks the same judgements. Of the apps of a list it names denied ones, and those
that a matcher is uncertain of; nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from gatekeeper.decision.decide import MAX_MATCHED, judged_by
from gatekeeper.decision.demands import has, has_flag
from gatekeeper.decision.judgement import judge, later
from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.decision.policy import Policy, Rule
from gatekeeper.decision.scope import names, scope_terms
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.decision import Phase, Verdict
from gatekeeper.domain.posture import AttestationResult, EvidenceLevel, Posture, PostureState, Subject
from gatekeeper.domain.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """One question and its answer."""

    name: str
    """As the policy spells it: `scope.protocols`, `apps[0] com.a: version`."""
    holds: bool | None
    """None: not known, which never counts as false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTrace:
    """One rule for one device."""

    rule: str
    predicates: tuple[Predicate, ...]
    is_breached: bool | None
    """Whether the device, if the rule is for it, is in breach; None: the evidence cannot answer."""
    phase: Phase | None
    verdict: Verdict | None
    """What it does now; None: nothing."""
    exemptions: tuple[str, ...]
    """Those that hold now."""
    changes_at: datetime | None
    """When it does something else by time alone; None: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceTrace:
    """What a device is judged on."""

    source: str
    level: EvidenceLevel
    sha256: str
    collected_at: datetime
    age: timedelta
    stale_at: datetime
    proves_absence: bool
    apps_count: int
    os_version: str | None
    flags: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTrace:
    """One device that counts."""

    device_id: str
    state: PostureState
    verdict: Verdict
    effects: tuple[tuple[Verdict, str], ...]
    """Every effect with its reason."""
    evidence: EvidenceTrace | None
    rules: tuple[RuleTrace, ...]
    changes_at: datetime | None
    """The next instant at which time alone can change what it is judged."""


def trace(
    policy: Policy, subject: Subject, request: Request, now: datetime, *, everything: bool = False
) -> tuple[DeviceTrace, ...]:
    """Every device that counts; of the rules those that are about it, or with `everything` all."""
    return tuple(_device(policy, posture, request, now, everything=everything) for posture in judged_by(subject))


def _device(policy: Policy, posture: Posture, request: Request, now: datetime, *, everything: bool) -> DeviceTrace:
    judgement = judge(policy, posture, request, now)
    possible = _possible(policy, posture)
    found: list[RuleTrace] = []
    for position, rule in enumerate(policy.rules):
        conditions = list(_conditions(policy, rule, posture, is_possible=position in possible))
        answers = [answer for _, answer in conditions]
        is_breached = True if True in answers else None if None in answers else False
        if everything or is_breached is not False:
            predicates = [predicate for predicate, _ in conditions]
            found.append(_rule(policy, rule, predicates, is_breached, (posture, request, now)))
    return DeviceTrace(
        device_id=posture.device.device_id,
        state=judgement.state,
        verdict=judgement.verdict,
        effects=tuple((verdict, reason.value) for verdict, reason in judgement.effects),
        evidence=_evidence(policy, posture.result, now),
        rules=tuple(found),
        changes_at=judgement.valid_until,
    )


def _evidence(policy: Policy, result: AttestationResult | None, now: datetime) -> EvidenceTrace | None:
    if result is None:
        return None
    return EvidenceTrace(
        source=result.source,
        level=policy.sources.get(result.source, EvidenceLevel.CLAIMED),
        sha256=result.evidence_sha256,
        collected_at=result.collected_at,
        age=now - result.collected_at,
        stale_at=later(result.collected_at, policy.defaults.evidence_max_age),
        proves_absence=result.proves_absence,
        apps_count=len(result.apps),
        os_version=result.os_version,
        flags=tuple((flag.value, result.flags[flag]) for flag in sorted(result.flags)),
    )


def _possible(policy: Policy, posture: Posture) -> frozenset[int]:
    """Positions of the rules that mean an app of the device, or may: all others need no look at its apps."""
    result = posture.result
    if result is None:
        return frozenset()
    index = policy.index_for(posture.device.platform, result.source)
    return frozenset((*index.find(result.apps), *index.blind(result.apps)))


def _rule(
    policy: Policy,
    rule: Rule,
    conditions: list[Predicate],
    is_breached: bool | None,
    session: tuple[Posture, Request, datetime],
) -> RuleTrace:
    posture, request, now = session
    device = posture.device
    terms = scope_terms(policy, rule.scope, device, request)
    phases = rule.phases_for(device)
    exemptions = [
        each for each in policy.exemptions_of.get(rule.id, ()) if names(policy, each, request.account, device)
    ]
    live = tuple(each.id for each in exemptions if now < each.expires)
    phase = phases.at(now)
    is_meant = all(holds is not False for _, holds in terms)
    is_effective = is_meant and is_breached is True and phase is not None and not live
    coming = [at for at in (*phases.boundaries, *(each.expires for each in exemptions)) if at > now]
    return RuleTrace(
        rule=rule.id,
        predicates=(*(Predicate(name=f"scope.{name}", holds=holds) for name, holds in terms), *conditions),
        is_breached=is_breached,
        phase=phase,
        verdict=rule.verdicts[phase] if is_effective and phase is not None else None,
        exemptions=live,
        changes_at=min(coming, default=None) if is_meant else None,
    )


def _conditions(
    policy: Policy, rule: Rule, posture: Posture, *, is_possible: bool
) -> Iterator[tuple[Predicate, bool | None]]:
    """Each predicate about the device, with whether it alone puts the device in breach of the rule."""
    device, result = posture.device, posture.result
    if result is None:
        return
    if rule.apps and is_possible:
        yield from _denials(policy, rule, posture, result)
    elif rule.apps:
        yield _none_there(holds=False)
    if rule.only_apps:
        unlisted = rule.allow_lists[device.platform].unlisted(result.apps)
        names_ = ", ".join(match.app.id for match in unlisted[:MAX_MATCHED])
        is_clean = not unlisted
        holds = None if unlisted and not any(match.is_certain for match in unlisted) else is_clean
        yield Predicate(name=f"only_apps{f' (not {names_})' if unlisted else ''}", holds=holds), not is_clean
    for number, matcher in enumerate(rule.required_apps):
        if matcher.covers(device.platform):
            is_there = has(result.apps, matcher)
            name = f"required_apps[{number}] {matcher.name or matcher.id or ''}".rstrip()
            yield Predicate(name=name, holds=is_there), not is_there
    bound = rule.oldest_os(device.platform)
    if bound is not None:
        is_older = bound.is_above(result.os_version)
        name = f"min_os {bound} (device: {result.os_version or 'not stated'})"
        yield Predicate(name=name, holds=None if is_older is None else not is_older), is_older
    if rule.flags:
        answer = has_flag(rule, result)
        for flag in sorted(rule.flags):
            yield Predicate(name=f"flags {flag}", holds=result.flags.get(flag)), answer


def _denials(
    policy: Policy, rule: Rule, posture: Posture, result: AttestationResult
) -> Iterator[tuple[Predicate, bool | None]]:
    """The apps that the rule means, condition by condition; that it means none; that it cannot be told."""
    platform = posture.device.platform
    level = policy.sources.get(result.source, EvidenceLevel.CLAIMED)
    is_found = is_open = False
    for number, matcher in enumerate(rule.apps):
        if not matcher.covers(platform):
            continue
        if matcher.min_evidence.rank > level.rank:
            is_open = True
            yield (
                Predicate(name=f"apps[{number}]: min_evidence {matcher.min_evidence} (source: {level})", holds=None),
                None,
            )
            continue
        for app in _candidates(matcher, result.apps):
            conditions = matcher.conditions(app)
            answers = [holds for _, holds in conditions]
            if False in answers or not any(holds for name, holds in conditions if name != "version"):
                is_open = is_open or (False not in answers)
                continue
            is_found = True
            for name, holds in conditions:
                yield Predicate(name=f"apps[{number}] {app.id}: {name}", holds=holds), True
    if not is_found:
        yield _none_there(holds=None if is_open else False)


def _none_there(*, holds: bool | None) -> tuple[Predicate, bool | None]:
    return Predicate(name="apps (none of them is there)", holds=holds), holds


def _candidates(matcher: AppMatcher, apps: AppList) -> tuple[App, ...]:
    """The apps that it can mean: a list of ten thousand ids is not held against every app."""
    if matcher.id is not None and matcher.id.is_exact:
        return apps.by_key.get(matcher.id.text, ())
    return apps.apps
