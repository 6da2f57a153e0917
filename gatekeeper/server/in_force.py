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
from gatekeeper.publishing.rollout import Stage
from gatekeeper.server import break_glass, group_watch
from gatekeeper.server.publications import Look
from gatekeeper.server.rollouts import Rollouts, Settled

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper

_log = structlog.get_logger("gatekeeper.policy")

FOLLOW_S = 0.25

EXEMPTIONS_TOLD = 24
"""So many a record names; of further ones it has the number."""


def begin(gatekeeper: "Gatekeeper") -> None:
    """Record the policy that the process begins with."""
    tell_refused(gatekeeper, gatekeeper.found_at_start)
    _tell_resumed(gatekeeper, gatekeeper.rollouts)
    activated(gatekeeper, gatekeeper.gate.policy, gatekeeper.rollouts.base if gatekeeper.rollouts else None)


async def follow(gatekeeper: "Gatekeeper") -> None:
    """Put published bundles in force as they come, open and close break-glass; runs until cancelled."""
    told = ""
    while True:
        await asyncio.sleep(FOLLOW_S)
        try:
            await break_glass.step(gatekeeper)
            await step(gatekeeper)
            told = ""
        except Exception as error:  # noqa: BLE001  a background loop's guard: the policy in force stays
            if str(error) != told:
                _log.error("policy.fault", exc_info=error)
            told = str(error)


async def step(gatekeeper: "Gatekeeper") -> None:
    """Look once at the store, and put in force what is new there."""
    async with gatekeeper.reloading:  # a reload may replace what is followed
        publications, rollouts = gatekeeper.publications, gatekeeper.rollouts
        if publications is None or rollouts is None:
            return
        look = await asyncio.to_thread(publications.look)
        if gatekeeper.changes.is_on:  # of several workers one records what all find
            tell(gatekeeper, look)
        settled = await asyncio.to_thread(rollouts.settle, *rollouts.figures())
        if settled.is_new:
            await group_watch.learn(gatekeeper)
        put_in_place(gatekeeper, rollouts, settled)


def put_in_place(gatekeeper: "Gatekeeper", rollouts: Rollouts, settled: Settled) -> None:
    """Give the gate the policies of a rollout that has changed, and record what this process did."""
    base = rollouts.base
    if not settled.is_new or base is None:
        return
    rollout = settled.rollout
    was = gatekeeper.gate.policy
    rollouts.begin_step()
    gatekeeper.gate.redecision.replace_policy(base.policy, rollouts.begin_trial())
    if base.policy is not was:
        activated(gatekeeper, base.policy, base)
    if settled.is_ours:
        _tell_rollout(gatekeeper, rollouts, settled)
    percent = rollout.percent(rollouts.settings)
    _log.info("policy.rollout", policy_version=rollout.version, stage=rollout.stage.value, percent=percent)


def _tell_resumed(gatekeeper: "Gatekeeper", rollouts: Rollouts | None) -> None:
    """Record a version that was published while nobody followed, when it was this process that let it set out."""
    if rollouts is None or rollouts.newest is None or rollouts.resumed is None or not rollouts.resumed.is_ours:
        return
    _tell_published(gatekeeper, rollouts.newest)
    _tell_rollout(gatekeeper, rollouts, rollouts.resumed)


def _tell_rollout(gatekeeper: "Gatekeeper", rollouts: Rollouts, settled: Settled) -> None:
    rollout = settled.rollout
    detail: dict[str, str | int] = {
        "policy_version": rollout.version,
        "percent": rollout.percent(rollouts.settings),
        "last_good_version": rollout.last_good,
        "seen_n": settled.here.seen,
    }
    match rollout.stage:
        case Stage.WIDENING:
            _record(gatekeeper, EventCode.CANARY_WIDENED, detail)
        case Stage.HALTED:
            gatekeeper.metrics.rollouts_halted.inc()
            _log.error("policy.halted", policy_version=rollout.version, reason=rollout.reason)
            _record(gatekeeper, EventCode.CANARY_HALTED, {**detail, "reason": rollout.reason[:300]})
        case Stage.DONE:
            pass  # said by the policy's activation


def take_over(gatekeeper: "Gatekeeper", rollouts: Rollouts | None) -> None:
    """After a reload: what was seen so far is still seen."""
    if rollouts is not None and gatekeeper.rollouts is not None:
        rollouts.inherit(gatekeeper.rollouts)
    gatekeeper.rollouts = rollouts
    _tell_resumed(gatekeeper, rollouts)


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
    """Record what was found."""
    tell_refused(gatekeeper, look)
    for approved in look.accepted:
        _tell_published(gatekeeper, approved)


def _tell_published(gatekeeper: "Gatekeeper", approved: Approved) -> None:
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


def activated(gatekeeper: "Gatekeeper", policy: Policy, approved: Approved | None) -> None:
    """Record that a policy comes into force, with its exemptions: an auditor has not always the file."""
    detail: dict[str, str | int] = {"policy_sha256": policy.sha256, "rules_n": len(policy.rules)}
    if approved is not None:
        detail["policy_version"] = approved.statement.version
    _log.info("policy.in_force", **detail)
    detail["exemptions_n"] = len(policy.exemptions)
    for each in policy.exemptions[:EXEMPTIONS_TOLD]:
        approvers = " ".join(each.approved_by)
        detail[f"exemption.{each.id}"] = f"{each.rule} until {each.expires.isoformat()}, approved by {approvers}"
    _record(gatekeeper, EventCode.POLICY_ACTIVATED, detail)


def described(gatekeeper: "Gatekeeper") -> dict[str, object]:
    """What `status` says of the policy."""
    policy, rollouts = gatekeeper.gate.policy, gatekeeper.rollouts
    if rollouts is None or rollouts.base is None or rollouts.rollout is None:
        return {"source": policy.source, "sha256": policy.sha256}
    rollout, base = rollouts.rollout, rollouts.base.statement
    facts: dict[str, object] = {
        "version": rollout.version,
        "for": "everybody",
        "content": base.digest,
        "author": base.author,
    }
    if rollout.stage is Stage.WIDENING:
        here, elsewhere = rollouts.figures()
        percent = rollout.percent(rollouts.settings)
        facts["for"] = f"{percent} % of the devices, version {rollout.base} for the rest"
        facts["since"] = rollout.since.isoformat(timespec="seconds")
        facts["seen"] = f"{here.seen} devices by it, {elsewhere.seen} by the other, in this process"
    elif rollout.stage is Stage.HALTED:
        facts["for"] = f"NOBODY: halted, version {rollout.base} rules for everybody"
        facts["halted"] = rollout.reason
    return facts


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
