"""`decide`: the policy, whom it is about, what is asked, and the instant, to a `Decision`. Pure and total.

* The verdict is the strongest effect over all devices the session is judged by (`judgement` weighs one).
* A session tied to one device (certificate, credential, claim) is judged by that device, whatever its class.
* A session tied to a user only is judged by all *mobile* devices of that user. With none of those the device is
  unknown, even when laptops are registered: an unregistered phone would look the same.
* Nothing but the phases, exemptions and evidence ages that `valid_until` is made of depends on `now`, so the same
  inputs give an equal decision at every instant before it.

What holds for every policy: adding a rule never weakens the verdict, and no block turns into an admission when version,
signer, ownership or completeness of the evidence become unknown, when its scope narrows, or when it ages. Where a rule
names no app id, taking name, publisher or signer away keeps a block if `insufficient` blocks; taking all evidence or
every device away keeps a block if `no_evidence` or `unknown_device` blocks. Forgetting one of several devices of a user
is no loss of knowledge but a change of what is registered, and can lift a block.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, tzinfo

from gatekeeper.decision.judgement import EFFECT_ORDER, Effect, Hit, Judgement, judge
from gatekeeper.decision.language import in_language, languages
from gatekeeper.decision.message import default_message
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Message, Phase, Reason, Verdict
from gatekeeper.domain.device import DeviceClass, DeviceId
from gatekeeper.domain.posture import Assurance, Posture, PostureState, Subject
from gatekeeper.domain.request import Request

_STATE_ORDER = {
    state: order
    for order, state in enumerate(
        (
            PostureState.CLEAN,
            PostureState.INSUFFICIENT,
            PostureState.STALE,
            PostureState.UNKNOWN,
            PostureState.INVALID,
            PostureState.DENIED,
        )
    )
}
_OF_A_RULE = frozenset(
    {
        Reason.APP_MATCH,
        Reason.APP_MATCH_UNCERTAIN,
        Reason.APP_NOT_LISTED,
        Reason.APP_REQUIRED,
        Reason.OS_VERSION,
        Reason.COMPROMISED,
    }
)
MAX_MATCHED = 20
"""Denied apps that a decision names: a list of the only allowed apps can deny a whole phone."""
_PHASE_ORDER = {phase: order for order, phase in enumerate(Phase)}
_CLEAN = (Reason.CLEAN,)
# Python 3.11 calls a function for every look-up of an enum's member; these are needed in every decision.
_ALLOW, _WARN, _USER, _MOBILE = Verdict.ALLOW, Verdict.WARN, Assurance.USER, DeviceClass.MOBILE


def decide(policy: Policy, subject: Subject, request: Request, now: datetime) -> Decision:
    """The verdict on a session, with everything needed to explain it. `now` is aware UTC."""
    decision = _decide(policy, subject, request, now)
    if not policy.directory_groups:
        return decision
    members = {name: policy.groups.get(name) for name in policy.directory_groups}
    return replace(
        decision,
        groups=tuple(name for name, people in members.items() if people is not None and request.account in people),
        groups_unknown=tuple(name for name, people in members.items() if people is None),
    )


def _decide(policy: Policy, subject: Subject, request: Request, now: datetime) -> Decision:
    postures = judged_by(subject)
    if not postures:
        return _unknown_device(policy, subject, request)
    judgements = [judge(policy, posture, request, now) for posture in postures]
    decisive = overall = judgements[0]
    if len(judgements) > 1:
        decisive, overall = max(judgements, key=_weight), _together(judgements)
    posture = decisive.posture
    judged = tuple([(each.device.device_id, each.revision) for each in postures])
    if not overall.effects:
        return _clean(policy, subject, posture, overall.valid_until, judged)
    result = posture.result
    verdict, reason = decisive.strongest
    hits = overall.hits
    rule_ids, matched = _findings(hits) if hits else ((), ())
    # The app that is named is the decisive device's; when that has no denied app, the strongest rule's on any.
    leading = _strongest(decisive.hits or hits, reason) if hits else None
    return Decision(
        verdict=verdict,
        reasons=_reasons(overall.effects),
        posture=decisive.state,
        binding=subject.binding,
        policy_sha256=policy.sha256,
        valid_until=overall.valid_until,
        device_id=posture.device.device_id,
        rule_ids=rule_ids,
        matched=matched,
        phase=_strongest_phase(hits) if hits else None,
        exemptions=tuple(dict.fromkeys(overall.exempted)) if overall.exempted else (),
        message=None if verdict is _ALLOW else _message(policy, request, leading, verdict, reason),
        app_name=_app_name(leading) if leading else None,
        deadline=_deadline(hits, now) if hits else None,
        evidence_sha256=result.evidence_sha256 if result else None,
        evidence_source=result.source if result else None,
        collected_at=result.collected_at if result else None,
        apps_count=len(result.apps) if result else None,
        judged=judged,
    )


def judged_by(subject: Subject) -> tuple[Posture, ...]:
    """The devices whose postures count for the session."""
    if subject.binding.assurance is not _USER:
        return subject.postures
    return tuple([each for each in subject.postures if each.device.device_class is _MOBILE])


def _clean(
    policy: Policy,
    subject: Subject,
    posture: Posture,
    valid_until: datetime | None,
    judged: tuple[tuple[DeviceId, int], ...],
) -> Decision:
    """The usual case: nothing applies to any device."""
    result = posture.result
    return Decision(
        verdict=_ALLOW,
        reasons=_CLEAN,
        posture=PostureState.CLEAN,
        binding=subject.binding,
        policy_sha256=policy.sha256,
        valid_until=valid_until,
        device_id=posture.device.device_id,
        evidence_sha256=result.evidence_sha256 if result else None,
        evidence_source=result.source if result else None,
        collected_at=result.collected_at if result else None,
        apps_count=len(result.apps) if result else None,
        judged=judged,
    )


def _unknown_device(policy: Policy, subject: Subject, request: Request) -> Decision:
    verdict = policy.defaults.unknown_device.action(request.protocol)
    return Decision(
        verdict=verdict,
        reasons=(Reason.UNKNOWN_DEVICE,),
        posture=PostureState.UNKNOWN,
        binding=subject.binding,
        policy_sha256=policy.sha256,
        valid_until=None,
        device_id=subject.binding.claimed_device,
        message=default_message(Reason.UNKNOWN_DEVICE, verdict),
    )


def _weight(judgement: Judgement) -> tuple[int, int]:
    return judgement.verdict.strength, _STATE_ORDER[judgement.state]


def _together(judgements: Sequence[Judgement]) -> Judgement:
    """What several devices have together: hits in policy order, then in the order of the devices."""
    together = Judgement(judgements[0].posture)
    for each in judgements:
        together.effects += each.effects
        together.hits += each.hits
        together.exempted += each.exempted
    together.hits.sort(key=lambda hit: hit.position)
    together.valid_until = min([each.valid_until for each in judgements if each.valid_until], default=None)
    return together


def _reasons(effects: Sequence[Effect]) -> tuple[Reason, ...]:
    if len(effects) == 1:
        return (effects[0][1],)
    return tuple(dict.fromkeys([reason for _, reason in sorted(effects, key=EFFECT_ORDER.__getitem__)]))


def _findings(hits: Iterable[Hit]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The rules and the denied apps, each once and in the order of the hits."""
    rule_ids: dict[str, None] = {}
    matched: dict[str, None] = {}
    for hit in hits:
        rule_ids[hit.rule.id] = None
        platform = f"{hit.platform}:"
        for match in hit.matches:
            matched[platform + match.app.id] = None
    return tuple(rule_ids), tuple(matched)[:MAX_MATCHED]


def _strongest_phase(hits: Sequence[Hit]) -> Phase:
    return hits[0].phase if len(hits) == 1 else max([hit.phase for hit in hits], key=_PHASE_ORDER.__getitem__)


def _strongest(hits: Sequence[Hit], reason: Reason) -> Hit:
    """The first of those with the strongest effect, and of these one that gave the reason of the verdict."""
    if len(hits) == 1:
        return hits[0]
    return max(
        hits, key=lambda hit: (hit.rule.verdicts[hit.phase].strength, hit.reason is reason, _PHASE_ORDER[hit.phase])
    )


def _app_name(hit: Hit) -> str | None:
    if not hit.matches:
        return hit.missing
    app = hit.matches[0].app
    return app.name or app.id


def _message(policy: Policy, request: Request, leading: Hit | None, verdict: Verdict, reason: Reason) -> Message | None:
    """The words of whatever gave the verdict: a rule before a default, because a rule names the app."""
    words = None
    if leading and leading.rule.messages and reason in _OF_A_RULE:
        words = in_language(leading.rule.messages, languages(policy, request))
    return words or default_message(reason, verdict)


def _deadline(hits: Iterable[Hit], now: datetime) -> datetime | None:
    """When the strongest rule that does not block yet will, for the device that is in breach of it."""
    coming: list[tuple[int, datetime, tzinfo | None]] = []
    for hit in hits:
        enforce = hit.phases.enforce
        if enforce is not None and enforce > now and hit.rule.action.strength > _WARN.strength:
            coming.append((-_PHASE_ORDER[hit.phase], enforce, hit.phases.zone))
    if not coming:
        return None
    _, enforce, zone = min(coming, key=lambda each: each[:2])
    return enforce.astimezone(zone) if zone else enforce
