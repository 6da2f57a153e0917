"""For the person: what is the matter, how it is put right, and by when, in a few plain sentences.

No rule ids, no predicates, and of the apps on the device only the denied or missing one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from gatekeeper.decision.decide import decide
from gatekeeper.decision.message import render
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Verdict
from gatekeeper.domain.posture import Posture, Subject
from gatekeeper.domain.request import Request


def tell(
    policy: Policy,
    subject: Subject,
    request: Request,
    now: datetime,
    *,
    check_url: str = "",
    zone: tzinfo | None = None,
) -> tuple[str, ...]:
    """The sentences; `zone` is the person's, else the rule's is taken."""
    decision = decide(policy, subject, request, now)
    return tuple(_sentences(decision, subject, check_url, zone))


def _sentences(decision: Decision, subject: Subject, check_url: str, zone: tzinfo | None) -> Iterator[str]:
    if decision.message is None:
        yield "Your mail goes through."
    else:
        deadline = decision.deadline.astimezone(zone) if decision.deadline and zone else decision.deadline
        yield from render(decision.message, app=decision.app_name, check_url=check_url, deadline=deadline)
    named = next((each for each in subject.postures if each.device.device_id == decision.device_id), None)
    if decision.message is not None and named is not None and len(subject.postures) > 1:
        yield f"This is about {_device(named)}."
    if decision.deadline is not None:
        yield f"From {_at(decision.deadline, zone)} on your mail is paused unless that is done."
    if decision.verdict is Verdict.WARN and decision.deadline is None and decision.valid_until is not None:
        yield f"Do it before {_at(decision.valid_until, zone)}: then it is looked at again."


def _device(posture: Posture) -> str:
    device = posture.device
    return f"your {device.ownership or 'registered'} {device.platform} device {device.device_id}"


def _at(instant: datetime, zone: tzinfo | None) -> str:
    if zone is None:
        zone = instant.tzinfo if isinstance(instant.tzinfo, ZoneInfo) else UTC
    local = instant.astimezone(zone)
    return f"{local:%A}, {local.day} {local:%B %Y, %H:%M %Z}"
