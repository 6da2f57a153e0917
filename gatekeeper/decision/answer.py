"""Why a session goes through or not, as one document: `device why --json` and `GET /v1/decision` say it alike.

Two depths, both from the same judgement: for the person what is the matter, how to put it right and by when in local
time; for the operator every predicate of every rule that is about the devices, the evidence with its age, and the next
instant of change. What the person's depth holds may be shown to the person; the operator's names rules and predicates.
docs/operations.md has the shape.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from enum import StrEnum

from gatekeeper.decision.decide import decide
from gatekeeper.decision.explain import explain
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.tell import Told, tell
from gatekeeper.decision.trace import DeviceTrace, EvidenceTrace, RuleTrace, trace
from gatekeeper.domain.posture import Subject
from gatekeeper.domain.request import Request

Document = dict[str, object]

_ANSWERS: Mapping[bool | None, str] = {True: "true", False: "false", None: "unknown"}


class Depth(StrEnum):
    """For whom."""

    PERSON = "person"
    OPERATOR = "operator"
    BOTH = "both"


def answer(  # noqa: PLR0913  what is asked, and how the answer is wanted
    policy: Policy,
    subject: Subject,
    request: Request,
    now: datetime,
    *,
    depth: Depth = Depth.BOTH,
    check_url: str = "",
    zone: tzinfo | None = None,
    every_rule: bool = False,
) -> Document:
    """The document: texts, numbers, booleans, None, lists and objects of them.

    `zone`: the person's, else the rule's is taken. `every_rule`: for the operator also rules that are not about the
    devices.
    """
    decision = decide(policy, subject, request, now)
    found: Document = {
        "user": request.account,
        "protocol": request.protocol.value,
        "at": _utc(now),
        "verdict": decision.verdict.value,
        "device": decision.device_id,
    }
    if depth is not Depth.PERSON:
        found |= {
            "posture": decision.posture.value,
            "reasons": [reason.value for reason in decision.reasons],
            "rules": list(decision.rule_ids),
            "matched": list(decision.matched),
            "deadline": _utc(decision.deadline),
            "valid_until": _utc(decision.valid_until),
            "policy_sha256": decision.policy_sha256,
            "why": list(explain(policy, subject, request, now, check_url=check_url)),
        }
    if depth is not Depth.OPERATOR:
        found["person"] = _person(tell(policy, subject, request, now, check_url=check_url, zone=zone))
    if depth is not Depth.PERSON:
        traced = trace(policy, subject, request, now, everything=every_rule)
        found["operator"] = {"devices": [_device(each, now) for each in traced]}
    return found


def _person(told: Told) -> Document:
    return {
        "language": told.language,
        "what": told.what,
        "fix": told.fix,
        "by": told.by.isoformat(timespec="seconds") if told.by else None,
        "sentences": list(told.sentences),
    }


def _device(traced: DeviceTrace, now: datetime) -> Document:
    return {
        "device": traced.device_id,
        "state": traced.state.value,
        "verdict": traced.verdict.value,
        "effects": [{"verdict": verdict.value, "reason": reason} for verdict, reason in traced.effects],
        "changes_at": _utc(traced.changes_at),
        "evidence": _evidence(traced.evidence, now) if traced.evidence else None,
        "rules": [_rule(rule) for rule in traced.rules],
    }


def _evidence(traced: EvidenceTrace, now: datetime) -> Document:
    return {
        "source": traced.source,
        "level": traced.level.value,
        "sha256": traced.sha256,
        "collected_at": _utc(traced.collected_at),
        "age_s": int(traced.age.total_seconds()),
        "stale_at": _utc(traced.stale_at),
        "is_stale": now >= traced.stale_at,
        "proves_absence": traced.proves_absence,
        "apps_count": traced.apps_count,
        "os_version": traced.os_version,
        "flags": dict(traced.flags),
    }


def _rule(traced: RuleTrace) -> Document:
    return {
        "rule": traced.rule,
        "broken": _ANSWERS[traced.is_breached],
        "phase": traced.phase.value if traced.phase else None,
        "does": traced.verdict.value if traced.verdict else None,
        "changes_at": _utc(traced.changes_at),
        "exemptions": list(traced.exemptions),
        "predicates": [{"name": each.name, "answer": _ANSWERS[each.holds]} for each in traced.predicates],
    }


def _utc(instant: datetime | None) -> str | None:
    """RFC 3339, in UTC."""
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
