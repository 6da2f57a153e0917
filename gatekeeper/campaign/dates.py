"""The coming instants at which a plan looks: where a phase begins, an exemption ends, or evidence grows stale."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gatekeeper.campaign.traits import ages
from gatekeeper.decision.policy import Policy

MAX_DATES = 500
"""More are not looked at: a plan is read by people."""
EXACT_REPORTS = 64
"""Up to so many different times of reports, each moment of growing stale is a date; beyond that one a day."""
_DAY = timedelta(days=1)
_LEAST = timedelta(days=7)
_MOST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Date:
    """An instant, and what of the policies changes at it; nothing said: only evidence grows older."""

    at: datetime
    events: tuple[str, ...] = ()


def coming(
    policies: Sequence[Policy], now: datetime, until: datetime | None, collected: Sequence[datetime] | None
) -> tuple[Date, ...]:
    """`now`, and every date after it up to `until` (default: a week, or until the last event of the year to come).

    Args:
        policies: in force, and proposed.
        now: aware UTC.
        until: the last instant to look at.
        collected: the different times of the reports on record, when there are few enough.
    """
    told: dict[datetime, dict[str, None]] = {now: {}}
    for policy in policies:
        for instant, event in events(policy):
            if instant > now:
                told.setdefault(instant, {})[event] = None
    if until is None:
        until = max((at for at in told if at <= now + _MOST), default=now)
        until = max(until, now + _LEAST)
    for instant in _aging(policies, now, until, collected):
        told.setdefault(instant, {})
    dates = [Date(at, tuple(told[at])) for at in sorted(told) if at <= until]
    return tuple(dates[:MAX_DATES])


def events(policy: Policy) -> Iterable[tuple[datetime, str]]:
    """Every instant at which a policy changes by date for some device, past ones too, and what happens then."""
    for rule in policy.rules:
        phases = (("observe", rule.phases.observe), ("warn", rule.phases.warn), ("enforce", rule.phases.enforce))
        yield from ((begin, f"{rule.id}: {name} begins") for name, begin in phases if begin is not None)
        yield from ((step.begin, f"{rule.id}: rolled out to {step.percent} %") for step in rule.rollout)
        if rule.grace is not None:
            yield rule.grace.cap, f"{rule.id}: no grace any more"
    for exemption in policy.exemptions:
        yield exemption.expires, f"{exemption.rule}: exemption {exemption.id} ends"


def _aging(
    policies: Sequence[Policy], now: datetime, until: datetime, collected: Sequence[datetime] | None
) -> Iterable[datetime]:
    thresholds = ages(policies)
    is_exact = collected is not None and len(collected) <= EXACT_REPORTS
    if is_exact and collected is not None:
        for report in collected:
            for age in thresholds:
                try:
                    instant = report + age
                except OverflowError:
                    continue
                if now < instant <= until:
                    yield instant
    graces = [rule.grace.cap for policy in policies for rule in policy.rules if rule.grace]
    if is_exact and not graces:
        return
    last = max((now + max(thresholds, default=_DAY) + _DAY, *graces)) if not is_exact else max(graces)
    last = min(until, last)
    day = now
    while (day := day + _DAY) <= last:
        yield day
