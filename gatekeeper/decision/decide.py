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
from datetime import datetime

from gatekeeper.decision.judgement import Effect, Hit, Judgement, judge
from gatekeeper.decision.message import default_message
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Message, Phase, Reason, Verdict
from gatekeeper.domain.device import DeviceClass
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
_REASON_ORDER = {
    reason: order
    for order, reason in enumerate(
        (
            Reason.APP_MATCH,
            Reason.APP_MATCH_UNCERTAIN,
            Reason.DEVICE_OF_ANOTHER_USER,
            Reason.UNKNOWN_DEVICE,
            Reason.NO_EVIDENCE,
            Reason.STALE,
            Reason.INSUFFICIENT,
            Reason.EXEMPT,
            Reason.CLEAN,
        )
    )
}
_OF_A_RULE = (Reason.APP_MATCH, Reason.APP_MATCH_UNCERTAIN)
_PHASE_ORDER = {phase: order for order, phase in enumerate(Phase)}
_CLEAN = (Reason.CLEAN,)


def decide(policy: Policy, subject: Subject, request: Request, now: datetime) -> Decision:
    """The verdict on a session, with everything needed to explain it. `now` is aware UTC."""
    postures = judged_by(subject)
    if not postures:
        return _unknown_device(policy, subject, request)
    judgements = [judge(policy, posture, request, now) for posture in postures]
    effects = [effect for judgement in judgements for effect in judgement.effects]
    if not effects:
        return _clean(policy, subject, judgements)
    decisive = judgements[0] if len(judgements) == 1 else max(judgements, key=_weight)
    result = decisive.posture.result
    verdict = decisive.verdict
    hits = _all_hits(judgements)
    return Decision(
        verdict=verdict,
        reasons=_reasons(effects),
        posture=decisive.state,
        binding=subject.binding,
        policy_sha256=policy.sha256,
        valid_until=_earliest(judgement.valid_until for judgement in judgements),
        device_id=decisive.posture.device.device_id,
        rule_ids=_distinct(hit.rule.id for _, hit in hits),
        matched=_distinct(_matched(hits)) if hits else (),
        phase=max((hit.phase for _, hit in hits), key=_PHASE_ORDER.__getitem__, default=None),
        exemptions=_distinct(exemption for judgement in judgements for exemption in judgement.exempted),
        message=None if verdict is Verdict.ALLOW else _message(decisive, verdict),
        app_name=_app_name(decisive, hits) if hits else None,
        deadline=_deadline(hits, now) if hits else None,
        evidence_sha256=result.evidence_sha256 if result else None,
        evidence_source=result.source if result else None,
        collected_at=result.collected_at if result else None,
        apps_count=len(result.apps) if result else None,
    )


def judged_by(subject: Subject) -> tuple[Posture, ...]:
    """The devices whose postures count for the session."""
    if subject.binding.assurance is not Assurance.USER:
        return subject.postures
    return tuple([each for each in subject.postures if each.device.device_class is DeviceClass.MOBILE])


def _clean(policy: Policy, subject: Subject, judgements: Sequence[Judgement]) -> Decision:
    """The usual case: nothing applies to any device."""
    posture = judgements[0].posture
    result = posture.result
    return Decision(
        verdict=Verdict.ALLOW,
        reasons=_CLEAN,
        posture=PostureState.CLEAN,
        binding=subject.binding,
        policy_sha256=policy.sha256,
        valid_until=_earliest([judgement.valid_until for judgement in judgements]),
        device_id=posture.device.device_id,
        evidence_sha256=result.evidence_sha256 if result else None,
        evidence_source=result.source if result else None,
        collected_at=result.collected_at if result else None,
        apps_count=len(result.apps) if result else None,
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


def _effect_order(effect: Effect) -> tuple[int, int]:
    verdict, reason = effect
    return -verdict.strength, _REASON_ORDER[reason]


def _reasons(effects: Iterable[Effect]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reason for _, reason in sorted(effects, key=_effect_order)))


def _all_hits(judgements: Sequence[Judgement]) -> list[tuple[Judgement, Hit]]:
    """In policy order, then in the order of the devices."""
    hits = [(judgement, hit) for judgement in judgements for hit in judgement.hits]
    return sorted(hits, key=lambda pair: pair[1].position) if len(judgements) > 1 else hits


def _matched(hits: Iterable[tuple[Judgement, Hit]]) -> Iterable[str]:
    for judgement, hit in hits:
        for match in hit.matches:
            yield f"{judgement.posture.device.platform}:{match.app.id}"


def _message(decisive: Judgement, verdict: Verdict) -> Message | None:
    """The words of whatever gave the verdict: a rule before a default, because a rule names the app."""
    reason = min(decisive.effects, key=_effect_order)[1]
    if reason in _OF_A_RULE:
        words = max(decisive.hits, key=lambda hit: _PHASE_ORDER[hit.phase]).rule.message
        return words or default_message(reason, verdict)
    return default_message(reason, verdict)


def _app_name(decisive: Judgement, hits: Sequence[tuple[Judgement, Hit]]) -> str:
    """Of the strongest rule on the decisive device; when that has no denied app, on any."""
    candidates = decisive.hits or [hit for _, hit in hits]
    app = max(candidates, key=lambda hit: _PHASE_ORDER[hit.phase]).matches[0].app
    return app.name or app.id


def _deadline(hits: Iterable[tuple[Judgement, Hit]], now: datetime) -> datetime | None:
    """When the strongest rule that is not yet enforced will be."""
    coming = [
        (-_PHASE_ORDER[hit.phase], hit.rule.phases.enforce)
        for _, hit in hits
        if hit.rule.phases.enforce is not None and hit.rule.phases.enforce > now
    ]
    return min(coming)[1] if coming else None


def _earliest(instants: Iterable[datetime | None]) -> datetime | None:
    return min([instant for instant in instants if instant is not None], default=None)


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
