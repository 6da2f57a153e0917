"""Which policy is in force: read at the start and at a reload, and changed within a second of a publication.

The policy is a file, or the newest approved bundle (`publications`). Whatever is wrong with a new one, the one in force
stays, and it is said in the audit log, in the metrics and by `status`; `/readyz` stays green.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.decision.policy import Policy
from gatekeeper.publishing.approval import Approved
from gatekeeper.server.publications import Look

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper

_log = structlog.get_logger("gatekeeper.policy")

FOLLOW_S = 0.25


def begin(gatekeeper: "Gatekeeper") -> None:
    """Record the policy that the process begins with."""
    tell_refused(gatekeeper, gatekeeper.found_at_start)
    publications = gatekeeper.publications
    activated(gatekeeper, gatekeeper.gate.policy, publications.accepted if publications else None)


async def follow(gatekeeper: "Gatekeeper") -> None:
    """Put published bundles in force as they come; runs until cancelled."""
    while True:
        await asyncio.sleep(FOLLOW_S)
        try:
            await step(gatekeeper)
        except Exception as error:  # noqa: BLE001  a background loop's guard: the policy in force stays
            _log.error("policy.fault", exc_info=error)


async def step(gatekeeper: "Gatekeeper") -> None:
    """Look once at the store, and put in force what is new there."""
    async with gatekeeper.reloading:  # a reload may replace what is followed
        if gatekeeper.publications is not None:
            tell(gatekeeper, await asyncio.to_thread(gatekeeper.publications.look))


def tell_refused(gatekeeper: "Gatekeeper", look: Look) -> None:
    """Record the bundles that must not come into force."""
    for each in look.refused:
        gatekeeper.metrics.bundle_errors.labels(each.refused.flaw.value).inc()
        _log.error("policy.refused", version=each.version, flaw=each.refused.flaw.value, reason=str(each.refused))
        detail: dict[str, str | int] = {
            "policy_version": each.version,
            "flaw": each.refused.flaw.value,
            "reason": str(each.refused)[:300],
        }
        _record(gatekeeper, EventCode.POLICY_REJECTED, detail)


def tell(gatekeeper: "Gatekeeper", look: Look) -> None:
    """Record what was found, and put the newest good bundle in force."""
    tell_refused(gatekeeper, look)
    for approved in look.accepted:
        _record(gatekeeper, EventCode.POLICY_PUBLISHED, published_detail(approved))
        if approved.override is not None:
            forced: dict[str, str | int] = {
                "policy_version": approved.statement.version,
                "forced_by": approved.override.by,
                "reason": approved.override.reason,
            }
            _log.warning("policy.forced", **forced)
            _record(gatekeeper, EventCode.POLICY_FORCED, forced)
        older = gatekeeper.publications.rolled_back_to(approved) if gatekeeper.publications else None
        if older is not None:
            versions: dict[str, str | int] = {"policy_version": approved.statement.version, "rollback_to": older}
            _record(gatekeeper, EventCode.POLICY_ROLLED_BACK, versions)
    if look.accepted:
        approved = look.accepted[-1]
        activated(gatekeeper, approved.policy, approved)
        gatekeeper.gate.replace_policy(approved.policy)


def activated(gatekeeper: "Gatekeeper", policy: Policy, approved: Approved | None) -> None:
    """Record that a policy comes into force."""
    detail: dict[str, str | int] = {"policy_sha256": policy.sha256, "rules_n": len(policy.rules)}
    if approved is not None:
        detail["policy_version"] = approved.statement.version
    _record(gatekeeper, EventCode.POLICY_ACTIVATED, detail)
    _log.info("policy.in_force", **detail)


def described(gatekeeper: "Gatekeeper") -> dict[str, object]:
    """What `status` says of the policy."""
    policy, publications = gatekeeper.gate.policy, gatekeeper.publications
    if publications is None or publications.accepted is None:
        return {"source": policy.source, "sha256": policy.sha256}
    statement = publications.accepted.statement
    return {"version": statement.version, "for": "everybody", "content": statement.digest, "author": statement.author}


def published_detail(approved: Approved) -> dict[str, str | int]:
    """Who wrote and who approved a bundle."""
    statement = approved.statement
    return {
        "policy_version": statement.version,
        "bundle_sha256": statement.digest,
        "policy_sha256": approved.policy.sha256,
        "author": statement.author,
        "approved_by": " ".join(approved.approved_by),
        "reason": statement.reason,
    }


def _record(gatekeeper: "Gatekeeper", code: EventCode, detail: Mapping[str, str | int]) -> None:
    gatekeeper.audit.append(Event(code=code, time=gatekeeper.clock.now(), detail=detail))
