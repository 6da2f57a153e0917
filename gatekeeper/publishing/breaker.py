"""The breaker: a policy that would newly block too many people, or a protected one, is not published.

Pure: the inventory comes person by person, and is counted in the classes of a plan. Every device is decided by both
policies now and at each coming instant at which the new policy changes by date, with its evidence as old then as it is
now: what ages by itself is not the doing of the new policy.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gatekeeper.campaign.classes import Asked, Classes, Course, Outcome, newly_blocked_from
from gatekeeper.campaign.dates import events
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.posture import Posture

_HORIZON = timedelta(days=366)
_MAX_INSTANTS = 16
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
    """Takes the inventory in, person by person; holds accounts, not postures."""

    def __init__(self, old: Policy, new: Policy, asked: Iterable[Asked], now: datetime) -> None:
        """`asked`: the sessions that the gate serves. `now` is aware UTC."""
        reporting = [replace(each, reporting_since=now) for each in asked]
        judges = [(policy, each) for each in reporting for policy in (old, new)]
        self._classes = Classes(judges, _instants(new, now))
        self._causes: dict[tuple[Course, ...], tuple[str, ...]] = {}
        self._people = 0
        self._blocked: set[str] = set()
        self._by_rule: Counter[str] = Counter()

    def take(self, account: str, postures: Iterable[Posture]) -> None:
        """One person with all registered devices, whose app lists may be outlines."""
        self._people += 1
        for posture in postures:
            courses = self._classes.courses(posture)
            causes = self._causes.get(courses)
            if causes is None:
                causes = self._causes[courses] = _causes_of(courses)
            if causes:
                self._blocked.add(account)
                self._by_rule.update(causes)

    def impact(self) -> Impact:
        """What everything that was taken comes to."""
        return Impact(
            people=self._people,
            newly_blocked=frozenset(self._blocked),
            by_rule=self._by_rule,
            unregistered=bool(_causes_of(self._classes.unregistered("nobody@invalid"))),
        )


def _causes_of(courses: Sequence[Course]) -> tuple[str, ...]:
    """The rules by which the new policy alone stops the mail, at the first date at which it does; empty: never."""
    first: tuple[int, Outcome] | None = None
    for old, new in zip(courses[::2], courses[1::2], strict=True):
        at = newly_blocked_from(old, new)
        if at is not None and (first is None or at < first[0]):
            first = (at, new.at(at))
    if first is None:
        return ()
    return first[1].blocking_rules or (first[1].reasons[0].value,)


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
    coming = sorted({at for at, _ in events(policy) if now < at <= now + _HORIZON})
    if len(coming) >= _MAX_INSTANTS:
        coming = [*coming[: _MAX_INSTANTS - 2], coming[-1]]
    return (now, *coming)
