"""`explain`: a decision in plain sentences for a help desk, with every rule that touched the device.

Says the same as `decide`, because it asks the same judgements. It names denied apps and conditions of rules, never
another app of the list.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from gatekeeper.decision.decide import MAX_MATCHED, decide, judged_by
from gatekeeper.decision.index import Match
from gatekeeper.decision.judgement import Hit, Judgement, judge, later
from gatekeeper.decision.message import render
from gatekeeper.decision.policy import Exemption, Phases, Policy, Rule
from gatekeeper.decision.scope import names, scope_terms
from gatekeeper.decision.versions import Bound
from gatekeeper.domain.decision import Decision, Phase, Reason, Verdict
from gatekeeper.domain.posture import Assurance, AttestationResult, EvidenceLevel, Posture, Subject
from gatekeeper.domain.request import Request

_VERDICTS = {
    Verdict.ALLOW: "goes through",
    Verdict.WARN: "goes through with a warning",
    Verdict.QUARANTINE: "is quarantined",
    Verdict.BLOCK: "is blocked",
    Verdict.UNAVAILABLE: "cannot be judged now",
}
_REASONS = {
    Reason.CLEAN: "no rule and no default applies",
    Reason.APP_MATCH: "a denied app is on the device",
    Reason.APP_MATCH_UNCERTAIN: "an app is on the device that may be a denied one; what is not known counts as yes",
    Reason.APP_NOT_LISTED: "an app is on the device that is not one of the only allowed ones",
    Reason.APP_REQUIRED: "a required app is missing",
    Reason.OS_VERSION: "the operating system is too old",
    Reason.COMPROMISED: "the evidence speaks against the device itself",
    Reason.UNKNOWN_DEVICE: "no registered device is known for this session",
    Reason.DEVICE_OF_ANOTHER_USER: "the device is registered to another account",
    Reason.NO_EVIDENCE: "the device never sent any evidence",
    Reason.STALE: "the evidence is too old to prove that an app is absent",
    Reason.INSUFFICIENT: "the list cannot prove that an app is absent",
    Reason.EXEMPT: "an exemption takes a matching rule away",
}
_PHASES = {
    Verdict.ALLOW: "is only recorded",
    Verdict.WARN: "warns",
    Verdict.QUARANTINE: "quarantines",
    Verdict.BLOCK: "blocks",
}
_OF_APPS = (Reason.APP_MATCH, Reason.APP_MATCH_UNCERTAIN)
_TERMS = {
    "device_class": "the class of the device",
    "ownership": "whose the device is",
    "platforms": "the platform of the device",
    "protocols": "the protocol",
    "listeners": "the listener",
    "networks": "the network that it comes from",
    "not_networks": "the network that it comes from",
}
"""What the conditions of a scope look at; all others at who the person is."""


def explain(
    policy: Policy, subject: Subject, request: Request, now: datetime, *, check_url: str = ""
) -> tuple[str, ...]:
    """Sentences: the outcome and what to do, then device by device with evidence, rules and exemptions."""
    decision = decide(policy, subject, request, now)
    lines = list(_outcome(decision, subject, request, check_url))
    postures = judged_by(subject)
    for posture in postures:
        lines.extend(_device(policy, judge(policy, posture, request, now), request, now))
    left_out = [posture.device.device_id for posture in subject.postures if posture not in postures]
    if left_out:
        lines.append(
            f"Not judged, because a session that is tied to a user only is judged by mobile devices: {_list(left_out)}."
        )
    return tuple(lines)


def _outcome(decision: Decision, subject: Subject, request: Request, check_url: str) -> Iterator[str]:
    reasons = _list(_REASONS[reason] for reason in decision.reasons)
    yield f"{request.account} over {request.protocol} {_VERDICTS[decision.verdict]}: {reasons}."
    binding = subject.binding
    if binding.assurance is Assurance.USER:
        yield "The session is tied to the user only, so all mobile devices of that user count."
    else:
        yield f"The session is tied to a device by {binding.method} ({binding.assurance})."
    if decision.reasons == (Reason.UNKNOWN_DEVICE,):
        named = f"device `{decision.device_id}`" if decision.device_id else "mobile device"
        yield f"No {named} is registered for this user."
    if decision.deadline is not None:
        yield f"From {_at(decision.deadline)} on mail is blocked unless that changes."
    if decision.message is not None:
        fix = render(decision.message, app=decision.app_name, check_url=check_url, deadline=decision.deadline)[1]
        yield f"What to do: {fix}"
    if decision.valid_until is not None:
        yield f"Time alone can change this at {_at(decision.valid_until)}."


def _device(policy: Policy, judgement: Judgement, request: Request, now: datetime) -> Iterator[str]:
    device = judgement.posture.device
    ownership = device.ownership or "ownership not known"
    yield (
        f"Device {device.device_id} of {device.account} ({device.platform}, {device.device_class}, {ownership})"
        f" is {judgement.state}, which alone {_VERDICTS[judgement.verdict]}."
    )
    result = judgement.posture.result
    if result is None:
        yield "  It has never sent any evidence."
        return
    yield from _evidence(policy, result, now)
    found = policy.index_for(device.platform, result.source).find(result.apps)
    for position, matches in found.items():
        rule = policy.rules[position]
        yield f"  Rule {_named(rule)} means {_list(map(_match, matches))}."
        yield from _rule(policy, rule, judgement.posture, request, now)
    demands = [hit for hit in judgement.hits if hit.reason not in _OF_APPS]
    for hit in demands:
        yield f"  Rule {_named(hit.rule)} {_demand(hit, result)}."
        yield from _rule(policy, hit.rule, judgement.posture, request, now)
    for rule in judgement.unanswered:
        yield f"  Rule {_named(rule)} asks for what the evidence does not say: {_asked(policy, rule, result)}."
    if not found and not demands and not judgement.unanswered:
        yield "  No rule means any app on its list."


def _evidence(policy: Policy, result: AttestationResult, now: datetime) -> Iterator[str]:
    stale_at = later(result.collected_at, policy.defaults.evidence_max_age)
    freshness = f"stale since {_at(stale_at)}" if now >= stale_at else f"fresh until {_at(stale_at)}"
    age = _age(now - result.collected_at)
    apps = "1 app" if len(result.apps) == 1 else f"{len(result.apps)} apps"
    yield (
        f"  Evidence from {result.source}, collected {_at(result.collected_at)} ({age} ago), is {freshness};"
        f" {apps}, scope {result.scope}, {'complete' if result.complete else 'incomplete'}."
    )
    if not result.proves_absence:
        yield "  Such a list shows what is there, but cannot prove that an app is absent."


def _rule(policy: Policy, rule: Rule, posture: Posture, request: Request, now: datetime) -> Iterator[str]:
    if rule.reason:
        yield f"    Reason of the rule: {rule.reason}."
    terms = scope_terms(policy, rule.scope, posture.device, request)
    speak_against = [name for name, holds in terms if holds is False]
    if speak_against:
        yield f"    It is not for this session, by {_and(_term(name) for name in speak_against)}."
        return
    unknown = [name for name, holds in terms if holds is None]
    if unknown:
        yield f"    It counts as being for this session, for it is not known otherwise: {_and(map(_term, unknown))}."
    elif terms:
        yield f"    It is for this session, by {_and(_term(name) for name, _ in terms)}."
    yield f"    {_phase(rule.phases_for(posture.device), rule, now)}"
    for exemption in policy.exemptions_of.get(rule.id, ()):
        if names(policy, exemption, request.account, posture.device):
            yield f"    {_exemption(exemption, now)}"


def _named(rule: Rule) -> str:
    return f"{rule.id} ({rule.title})" if rule.title != rule.id else rule.id


def _match(match: Match) -> str:
    app = match.app
    label = f"{app.id} ({app.name})" if app.name else app.id
    if match.is_certain or match.matcher is None:
        return label
    return f"{label}, whose {' and '.join(match.matcher.unknowns(app))} is not known"


def _demand(hit: Hit, result: AttestationResult) -> str:
    """In what the device fails a rule that asks for more than the absence of an app."""
    match hit.reason:
        case Reason.APP_NOT_LISTED:
            return f"allows only the apps on its list, and not {_list(map(_match, hit.matches[:MAX_MATCHED]))}"
        case Reason.APP_REQUIRED:
            return f"requires {hit.missing}, which is not there or not known to be the right one"
        case Reason.OS_VERSION:
            bound = hit.rule.oldest_os(hit.platform)
            return f"requires {hit.platform} {bound} or newer, and the device reports {result.os_version}"
        case _:
            flags = sorted(flag for flag in hit.rule.flags if result.flags.get(flag))
            return f"excludes devices of which the evidence says: {_list(flags)}"


def _asked(policy: Policy, rule: Rule, result: AttestationResult) -> str:
    """What of the facts that a rule needs is missing."""
    asked = sorted({attribute for each in rule.apps for attribute in each.blind_without} & result.apps.lacks)
    if rule.min_os and Bound.parse("0").is_above(result.os_version) is None:
        asked.append("the version of the operating system")
    asked += sorted(rule.flags - result.flags.keys())
    level = policy.sources.get(result.source, EvidenceLevel.CLAIMED)
    wanted = {each.min_evidence: None for each in rule.apps if each.min_evidence.rank > level.rank}
    asked += [f"the word of a source of the level {each}" for each in wanted]
    return ", ".join(asked)


def _phase(phases: Phases, rule: Rule, now: datetime) -> str:
    phase = phases.at(now)
    begins = {Phase.OBSERVE: phases.observe, Phase.WARN: phases.warn, Phase.ENFORCE: phases.enforce}
    does = {each: _PHASES[verdict] for each, verdict in rule.verdicts.items()}
    coming = [f"{does[each]} from {_at(begin)} on" for each, begin in begins.items() if begin and begin > now]
    begin = begins[phase] if phase else None
    present = f"It {does[phase]} since {_at(begin)}" if phase and begin else "It does nothing yet"
    return f"{present}; it {_list(coming)}." if coming else f"{present}."


def _exemption(exemption: Exemption, now: datetime) -> str:
    approved = f"approved by {_list(exemption.approved_by)}: {exemption.reason}"
    if now < exemption.expires:
        return f"Exemption {exemption.id} takes it away until {_at(exemption.expires)} ({approved})."
    return f"Exemption {exemption.id} expired at {_at(exemption.expires)} ({approved})."


def _term(name: str) -> str:
    return _TERMS.get(name, f"who the person is (`{name}`)")


def _and(parts: Iterable[str]) -> str:
    *others, last = dict.fromkeys(parts)
    return f"{', '.join(others)} and {last}" if others else last


def _list(parts: Iterable[str]) -> str:
    return "; ".join(parts)


def _at(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _age(age: timedelta) -> str:
    minutes = max(int(age.total_seconds()) // 60, 0)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
