"""The breaker: a policy that would newly block too many people, or a protected one, is not published.

Pure: the inventory comes device by device. Every device is decided by both policies now and at each coming instant at
which the new policy changes by date, with its evidence as old then as it is now: what ages by itself is not the doing
of the new policy.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gatekeeper.decision.decide import decide
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import MailProtocol, Request

_HORIZON = timedelta(days=366)
_MAX_INSTANTS = 16
_TIED = Binding(assurance=Assurance.PROVEN, method="breaker")
_UNTIED = Binding(assurance=Assurance.USER, method="breaker")
_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """How many people a publication may newly block."""

    max_percent: int = 10
    """Of the people with a registered device."""
    max_people: int | None = None
    """None: only the share counts."""
    protected: frozenset[str] = frozenset()
    """Canonical accounts that no publication may newly block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What a new policy would newly block."""

    people: int
    """With a registered device."""
    newly_blocked: frozenset[str]
    """Accounts of those who lose their mail on a device, now or at a coming date."""
    by_rule: Counter[str] = field(default_factory=Counter)
    """Devices newly blocked by each rule; by the reason, where no rule blocks."""
    unregistered: bool = False
    """Devices that nobody registered lose their mail: how many there are is not known."""


class Count:
    """Takes the inventory in, device by device; holds accounts, not postures."""

    def __init__(self, old: Policy, new: Policy, asked: Iterable[tuple[MailProtocol, str]], now: datetime) -> None:
        """`asked`: protocols with the names of their listeners. `now` is aware UTC."""
        self._old, self._new = old, new
        self._asked = tuple(asked)
        self._instants = _instants(new, now)
        self._people: set[str] = set()
        self._blocked: set[str] = set()
        self._by_rule: Counter[str] = Counter()

    def take(self, posture: Posture) -> None:
        """One registered device."""
        account = posture.device.account
        self._people.add(account)
        causes = self._newly(account, Subject(binding=_TIED, postures=(posture,)))
        if causes is not None:
            self._blocked.add(account)
            self._by_rule.update(causes)

    def impact(self) -> Impact:
        """What everything that was taken comes to."""
        nobody = self._newly("nobody@invalid", Subject(binding=_UNTIED, postures=()))
        return Impact(
            people=len(self._people),
            newly_blocked=frozenset(self._blocked),
            by_rule=self._by_rule,
            unregistered=nobody is not None,
        )

    def _newly(self, account: str, subject: Subject) -> tuple[str, ...] | None:
        """Why the new policy alone blocks it, at the first instant at which it does; None: it never does."""
        for instant in self._instants:
            then = _as_old_then(subject, instant - self._instants[0])
            for protocol, listener in self._asked:
                request = Request(account=account, protocol=protocol, listener=listener)
                after = decide(self._new, then, request, instant)
                if not after.verdict.admits and decide(self._old, then, request, instant).verdict.admits:
                    return after.rule_ids or (after.reasons[0].value,)
        return None


def objections(settings: BreakerSettings, impact: Impact) -> tuple[str, ...]:
    """Why the breaker trips; empty: it does not."""
    found: list[str] = []
    count = len(impact.newly_blocked)
    counted = f"would newly block {count} of {impact.people} people ({_causes(impact)})" if count else ""
    if count * 100 > settings.max_percent * impact.people:
        found.append(f"{counted}; policy.breaker.max_percent allows {settings.max_percent} %")
    if settings.max_people is not None and count > settings.max_people:
        found.append(f"{counted}; policy.breaker.max_people allows {settings.max_people}")
    protected = sorted(settings.protected & impact.newly_blocked)
    if protected:
        more = f" and {len(protected) - _TOLD} more" if len(protected) > _TOLD else ""
        found.append(f"would newly block protected people: {', '.join(protected[:_TOLD])}{more}")
    if impact.unregistered:
        found.append("would newly block devices that nobody registered: how many there are is not known")
    return tuple(found)


def _causes(impact: Impact) -> str:
    return ", ".join(f"{cause}: {count} devices" for cause, count in impact.by_rule.most_common(_TOLD))


def _instants(policy: Policy, now: datetime) -> tuple[datetime, ...]:
    """Now, and the coming dates of the policy; the last one is always among them."""
    dates: set[datetime] = set()
    for rule in policy.rules:
        dates.update(rule.phases.boundaries)
        dates.update(step.begin for step in rule.rollout)
        if rule.grace is not None:
            dates.add(rule.grace.cap)
    dates.update(exemption.expires for exemption in policy.exemptions)
    coming = sorted(date for date in dates if now < date <= now + _HORIZON)
    if len(coming) >= _MAX_INSTANTS:
        coming = [*coming[: _MAX_INSTANTS - 2], coming[-1]]
    return (now, *coming)


def _as_old_then(subject: Subject, later: timedelta) -> Subject:
    if not later:
        return subject
    return replace(subject, postures=tuple(_shifted(posture, later) for posture in subject.postures))


def _shifted(posture: Posture, later: timedelta) -> Posture:
    result = posture.result
    if result is None:
        return posture
    return replace(posture, result=replace(result, collected_at=result.collected_at + later))
