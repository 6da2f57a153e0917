"""For the person: what is the matter, how it is put right, and by when, in a few plain sentences.

No rule ids, no predicates, and of the apps on the device only the denied or missing one.
"""

from dataclasses import dataclass
from datetime import datetime, tzinfo

from gatekeeper.decision.decide import decide
from gatekeeper.decision.language import languages
from gatekeeper.decision.message import render
from gatekeeper.decision.phrases import in_zone, phrases_in
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Verdict
from gatekeeper.domain.posture import Subject
from gatekeeper.domain.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one person is told."""

    language: str
    """Tag of the language that it is in."""
    what: str
    fix: str | None
    """None: there is nothing to do."""
    by: datetime | None
    """Until when, in local time; None: at once, or nothing to do."""
    sentences: tuple[str, ...]
    """All of it, in the order in which it is read."""


def tell(
    policy: Policy,
    subject: Subject,
    request: Request,
    now: datetime,
    *,
    check_url: str = "",
    zone: tzinfo | None = None,
) -> Told:
    """What the person is told; `zone` is the person's, else the rule's is taken."""
    decision = decide(policy, subject, request, now)
    if decision.message is None:
        language, phrases = phrases_in(languages(policy, request))
        good = phrases.goes_through
        return Told(language=language, what=good, fix=None, by=None, sentences=(good,))
    deadline = decision.deadline.astimezone(zone) if decision.deadline and zone else decision.deadline
    what, fix = render(decision.message, app=decision.app_name, check_url=check_url, deadline=deadline)
    _, phrases = phrases_in((decision.message.language,))
    sentences = [what, fix]
    named = next((each for each in subject.postures if each.device.device_id == decision.device_id), None)
    if named is not None and len(subject.postures) > 1:
        sentences.append(phrases.device(named.device))
    by, is_paused_then = _by(decision)
    if by is not None:
        words = phrases.paused_from if is_paused_then else phrases.do_before
        sentences.append(words.format(when=phrases.at(by, zone)))
    return Told(
        language=decision.message.language,
        what=what,
        fix=fix,
        by=None if by is None else in_zone(by, zone),
        sentences=tuple(sentences),
    )


def _by(decision: Decision) -> tuple[datetime | None, bool]:
    """Until when there is time, and whether a rule blocks then; else it is only looked at again."""
    if decision.deadline is not None:
        return decision.deadline, True
    return (decision.valid_until if decision.verdict is Verdict.WARN else None), False
