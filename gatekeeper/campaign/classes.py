"""Devices that some policies cannot tell apart: one of them is decided, the others are counted.

Two devices are of one class when every question that a rule or default can ask has the same answer for both, at each of
the dates. What is not asked (ids, the exact time of a report) is left out; what is asked of few (an exemption that
names a device) keeps those few apart.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gatekeeper.campaign.traits import ages, circles, named_devices, staged_rules
from gatekeeper.decision.decide import decide
from gatekeeper.decision.judgement import judge
from gatekeeper.decision.policy import Policy, Rule
from gatekeeper.domain.decision import Decision, Reason, Verdict
from gatekeeper.domain.device import Device
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import MailProtocol, Request

_BINDING = Binding(assurance=Assurance.PROVEN, method="plan")


@dataclass(frozen=True, slots=True)
class Asked:
    """The sessions that are planned: where from they come is not known, and never counts as out of scope."""

    protocol: MailProtocol
    listener: str
    reporting_since: datetime | None = None
    """Devices go on reporting what they reported: their evidence is always as old as it was then. None: none does."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one policy says about one device from some date on."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    hits: tuple[tuple[str, Verdict], ...]
    """The rules that the device is in breach of, with what they do."""
    unanswered: tuple[str, ...]
    """Rules that the device's list cannot answer."""

    @property
    def is_blocked_by_rule(self) -> bool:
        """Whether a rule alone would stop its mail."""
        return bool(self.blocking_rules)

    @property
    def blocking_rules(self) -> tuple[str, ...]:
        """Those of the rules that stop its mail."""
        return tuple(rule for rule, verdict in self.hits if not verdict.admits)


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What one policy says about one class, date by date; by identity, for it is counted a million times."""

    changes: tuple[tuple[int, Outcome], ...]
    """Index of the date from which it holds, and the outcome; the first at 0."""

    def at(self, date: int) -> Outcome:
        """The outcome at a date, by its index."""
        return next(outcome for begin, outcome in reversed(self.changes) if begin <= date)

    def blocks(self, date: int) -> bool:
        """Whether mail is not let through at a date."""
        return not self.at(date).verdict.admits

    @property
    def blocked_from(self) -> int | None:
        """Index of the first date at which mail is not let through; None: never."""
        return next((begin for begin, outcome in self.changes if not outcome.verdict.admits), None)


class Classes:
    """The classes that some policies make at some dates, each decided once for each policy and session asked about."""

    def __init__(self, judges: Sequence[tuple[Policy, Asked]], dates: Sequence[datetime]) -> None:
        """Each of `judges` decides by a policy on a session; the first date is now."""
        policies = tuple({id(policy): policy for policy, _ in judges}.values())
        self._judges = tuple(judges)
        self._dates = dates
        self._circles = circles(policies)
        self._named = named_devices(policies)
        self._staged = staged_rules(policies)
        # Evidence that is reported on and on is at every date as old as at first.
        looks = {each for _, asked in judges for each in ([asked.reporting_since] if asked.reporting_since else dates)}
        self._steps = _steps(looks, ages(policies))
        self._courses: dict[Hashable, tuple[Course, ...]] = {}
        self._interned: dict[tuple[tuple[int, Outcome], ...], Course] = {}

    def __len__(self) -> int:
        return len(self._courses)

    def courses(self, posture: Posture) -> tuple[Course, ...]:
        """What each judge says about a device, whose app list may be an outline."""
        device, result = posture.device, posture.result
        key = (
            device.platform,
            device.device_class,
            device.ownership,
            self._circles.get(device.account),
            device.device_id if device.device_id in self._named else None,
            tuple(self._stage(rule, device) for rule in self._staged) if self._staged else None,
            result
            and (
                result.source,
                result.proves_absence,
                result.os_version,
                tuple(result.flags.items()) if result.flags else None,
                result.apps,
                bisect_left(self._steps, result.collected_at),
            ),
        )
        found = self._courses.get(key)
        if found is None:
            found = self._courses[key] = tuple(self._course(policy, asked, posture) for policy, asked in self._judges)
        return found

    def _stage(self, rule: Rule, device: Device) -> tuple[int, ...]:
        """At how many of the dates each phase of the rule has not begun for the device."""
        phases = rule.phases_for(device)
        begins = (phases.observe, phases.warn, phases.enforce)
        return tuple(-1 if begin is None else bisect_left(self._dates, begin) for begin in begins)

    def unregistered(self, account: str) -> tuple[Course, ...]:
        """What each judge says about a session of somebody without a registered mobile device."""
        subject = Subject(binding=_BINDING, postures=())
        decisions = (
            decide(policy, subject, asked_by(account, asked), self._dates[0]) for policy, asked in self._judges
        )
        return tuple(
            self._intern(((0, Outcome(decision.verdict, decision.reasons, (), ())),)) for decision in decisions
        )

    def _course(self, policy: Policy, asked: Asked, posture: Posture) -> Course:
        changes: list[tuple[int, Outcome]] = []
        until: datetime | None = None
        for place, date in enumerate(self._dates):
            if changes and (until is None or date < until):
                continue
            decision = decision_on(policy, posture, asked, date)
            until = decision.valid_until
            outcome = _outcome(policy, posture, decision, asked, date)
            if not changes or outcome != changes[-1][1]:
                changes.append((place, outcome))
        return self._intern(tuple(changes))

    def _intern(self, changes: tuple[tuple[int, Outcome], ...]) -> Course:
        course = self._interned.get(changes)
        if course is None:
            course = self._interned[changes] = Course(changes)
        return course


def newly_blocked_from(in_force: Course, candidate: Course) -> int | None:
    """Index of the first date at which only the candidate stops the mail; None: there is none."""
    turns = sorted({begin for course in (in_force, candidate) for begin, _ in course.changes})
    return next((at for at in turns if candidate.blocks(at) and not in_force.blocks(at)), None)


def asked_by(account: str, asked: Asked) -> Request:
    """The session of a person."""
    return Request(account=account, protocol=asked.protocol, listener=asked.listener)


def decision_on(policy: Policy, posture: Posture, asked: Asked, now: datetime) -> Decision:
    """The decision on a session of its owner that is tied to the device."""
    request = asked_by(posture.device.account, asked)
    return decide(policy, Subject(binding=_BINDING, postures=(_then(posture, asked, now),)), request, now)


def _then(posture: Posture, asked: Asked, now: datetime) -> Posture:
    """The posture at another instant."""
    result = posture.result
    if asked.reporting_since is None or result is None:
        return posture
    collected_at = result.collected_at + (now - asked.reporting_since)
    return replace(posture, result=replace(result, collected_at=collected_at))


def blocked_at(policy: Policy, posture: Posture, asked: Asked, after: datetime, until: datetime) -> datetime:
    """The instant in `after` to `until` from which the device is blocked; it is at `until`."""
    now = after
    while now < until:
        decision = decision_on(policy, posture, asked, now)
        if not decision.verdict.admits:
            return now
        now = min(decision.valid_until or until, until)
    return until


def _outcome(policy: Policy, posture: Posture, decision: Decision, asked: Asked, now: datetime) -> Outcome:
    request = asked_by(posture.device.account, asked)
    judgement = judge(policy, _then(posture, asked, now), request, now)
    return Outcome(
        verdict=decision.verdict,
        reasons=decision.reasons,
        hits=tuple(dict.fromkeys((hit.rule.id, hit.rule.verdicts[hit.phase]) for hit in judgement.hits)),
        unanswered=tuple(dict.fromkeys(rule.id for rule in judgement.unanswered)),
    )


def _steps(dates: Iterable[datetime], thresholds: Sequence[timedelta]) -> list[datetime]:
    """The collection times on whose two sides a report is fresh and stale at one of the dates."""
    steps: set[datetime] = set()
    for date in dates:
        for age in thresholds:
            try:
                steps.add(date - age)
            except OverflowError:
                continue  # older than the calendar: nothing is
    return sorted(steps)
