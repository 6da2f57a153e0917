"""Makes a plan of an inventory that comes one person at a time, in any order and any number.

What a `Planner` holds grows with the classes of devices and the names it may tell, not with the inventory.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from gatekeeper.campaign.classes import Classes, Course, Outcome, blocked_at, newly_blocked_from
from gatekeeper.campaign.plan import Blocked, CutOff, Plan, Question, Tally, Unanswered, Watched
from gatekeeper.domain.decision import Reason
from gatekeeper.domain.device import DeviceClass
from gatekeeper.domain.posture import Posture

MAX_NAMES = 100_000
"""Devices, and people, that the candidate alone would block and that are told by name; all are counted."""
MAX_OTHER_NAMES = 10_000
"""Of those that both policies block, and of those whose evidence cannot answer."""

_MAX_COMBINATIONS = 100_000
"""Of devices of different classes in one person's hands; remembered at once."""

_CANNOT_ANSWER = (Reason.NO_EVIDENCE, Reason.STALE, Reason.INSUFFICIENT)

Pair = tuple[Course, ...]
"""What the policy in force and the candidate say about one device, or one person."""


@dataclass(frozen=True, slots=True)
class _Fate:
    """What a pair of courses comes to."""

    blocked_from: int | None
    """The first date at which only the candidate blocks, else at which both do; None: the candidate never does."""
    is_new: bool
    by: tuple[str, ...]
    reasons: tuple[Reason, ...]
    unanswered: Unanswered | None
    """Without names."""


class Planner:
    """Takes an inventory in; `plan` tells what came out."""

    def __init__(self, question: Question, *, max_names: int = MAX_NAMES) -> None:
        self._question = question
        self._max_names = max_names
        self._instants = tuple(date.at for date in question.dates)
        judges = ((question.in_force, question.asked), (question.candidate, question.asked))
        self._classes = Classes(judges, self._instants)
        self._devices: Counter[Pair] = Counter()
        self._untied: Counter[Pair] = Counter()
        self._people = 0
        self._blocked: list[Blocked] = []
        self._blocked_by_both: list[Blocked] = []
        self._cut_off: list[CutOff] = []
        self._cut_off_by_both: list[CutOff] = []
        self._unanswered: list[Unanswered] = []
        self._watched: dict[str, Watched] = {}
        self._totals: Counter[str] = Counter()
        self._unregistered = self._classes.unregistered("")
        self._stronger: dict[tuple[Pair, ...], Pair] = {}
        self._fates: dict[Pair, _Fate] = {}
        self._ends: dict[tuple[Pair, ...], tuple[int, bool] | None] = {}

    def take(self, account: str, postures: Sequence[Posture]) -> None:
        """One person with all registered devices."""
        self._people += 1
        courses = [self._classes.courses(posture) for posture in postures]
        mobile = [
            course
            for course, posture in zip(courses, postures, strict=True)
            if posture.device.device_class is DeviceClass.MOBILE
        ]
        untied = self._together(mobile)
        self._untied[untied] += 1
        blocked: list[Blocked] = []
        for posture, pair in zip(postures, courses, strict=True):
            self._devices[pair] += 1
            fate = self._fates.get(pair)
            if fate is None:
                fate = self._fates[pair] = _fate(pair)
            if fate.blocked_from is not None:
                self._take_blocked(posture, pair, fate, blocked)
            if fate.unanswered is not None:
                self._take_unanswered(posture, fate.unanswered)
        self._take_cut_off(account, tuple(courses))
        if account in self._question.watched:
            self._watched[account] = Watched(
                account=account,
                devices=len(postures),
                blocked=tuple(blocked),
                untied=untied[1].changes[0][1].verdict,
            )

    def plan(self) -> Plan:
        """What everything that was taken comes to."""
        for account in sorted(self._question.watched - self._watched.keys()):
            untied = self._unregistered[1].changes[0][1].verdict
            self._watched[account] = Watched(account=account, devices=0, blocked=(), untied=untied)
        blocked = [*self._blocked, *self._blocked_by_both]
        blocked.sort(key=lambda each: (not each.is_new, not each.by, each.at, each.account, each.device_id))
        cut_off = [*self._cut_off, *self._cut_off_by_both]
        cut_off.sort(key=lambda each: (not each.is_new, each.at, each.account))
        totals = self._totals
        return Plan(
            question=self._question,
            devices=self._devices.total(),
            people=self._people,
            classes=len(self._classes),
            in_force=self._tallies(0),
            candidate=self._tallies(1),
            blocked=tuple(blocked),
            blocked_total=totals["blocked"],
            newly_blocked=totals["newly blocked"],
            newly_by_rules=totals["newly by rules"],
            cut_off=tuple(cut_off),
            cut_off_total=totals["cut off"],
            newly_cut_off=totals["newly cut off"],
            watched=tuple(self._watched[account] for account in sorted(self._watched)),
            unanswered=tuple(self._unanswered),
            unanswered_total=totals["unanswered"],
        )

    def _take_blocked(self, posture: Posture, pair: Pair, fate: _Fate, blocked: list[Blocked]) -> None:
        self._totals["blocked"] += 1
        if fate.is_new:
            self._totals["newly blocked"] += 1
            self._totals["newly by rules"] += bool(fate.by)
        account = posture.device.account
        named = self._blocked if fate.is_new else self._blocked_by_both
        is_room = len(named) < (self._max_names if fate.is_new else min(self._max_names, MAX_OTHER_NAMES))
        if fate.blocked_from is None or not (is_room or account in self._question.watched):
            return
        found = Blocked(
            account=account,
            device_id=posture.device.device_id,
            at=self._begin(posture, pair[1], fate.blocked_from),
            by=fate.by,
            reasons=fate.reasons,
            is_new=fate.is_new,
        )
        named.append(found)
        blocked.append(found)

    def _begin(self, posture: Posture, candidate: Course, place: int) -> datetime:
        """When the candidate begins to block the device: exact also when that lies between two dates."""
        if place == 0 or candidate.blocks(place - 1):
            return self._instants[place]
        before, at = self._instants[place - 1], self._instants[place]
        return blocked_at(self._question.candidate, posture, self._question.asked, before, at)

    def _take_unanswered(self, posture: Posture, found: Unanswered) -> None:
        self._totals["unanswered"] += 1
        if len(self._unanswered) < min(self._max_names, MAX_OTHER_NAMES):
            device = posture.device
            self._unanswered.append(replace(found, account=device.account, device_id=device.device_id))

    def _take_cut_off(self, account: str, pairs: tuple[Pair, ...]) -> None:
        """A person without devices is not cut off by a plan: there is nothing to read mail on."""
        if pairs not in self._ends:
            if len(self._ends) >= _MAX_COMBINATIONS:
                self._ends.clear()
            self._ends[pairs] = _end(pairs) if pairs else None
        end = self._ends[pairs]
        if end is None:
            return
        at, is_new = end
        self._totals["cut off"] += 1
        self._totals["newly cut off"] += is_new
        named = self._cut_off if is_new else self._cut_off_by_both
        if len(named) < (self._max_names if is_new else min(self._max_names, MAX_OTHER_NAMES)):
            named.append(CutOff(account=account, devices=len(pairs), at=self._instants[at], is_new=is_new))

    def _together(self, mobile: Sequence[Pair]) -> Pair:
        """What is said about a session that is tied to the person only."""
        if not mobile:
            return self._unregistered
        if len(mobile) == 1:
            return mobile[0]
        key = tuple(dict.fromkeys(mobile))
        if len(key) == 1:
            return key[0]
        found = self._stronger.get(key)
        if found is None:
            if len(self._stronger) >= _MAX_COMBINATIONS:
                self._stronger.clear()
            found = self._stronger[key] = tuple(_strongest(courses) for courses in zip(*key, strict=True))
        return found

    def _tallies(self, which: int) -> tuple[Tally, ...]:
        tallies = tuple(Tally() for _ in self._instants)
        devices: Counter[Course] = Counter()
        people: Counter[Course] = Counter()
        for courses, count in self._devices.items():
            devices[courses[which]] += count
        for courses, count in self._untied.items():
            people[courses[which]] += count
        for course, count in devices.items():
            for tally, outcome in zip(tallies, _outcomes(course, len(tallies)), strict=True):
                tally.verdicts[outcome.verdict] += count
                tally.blocked_by_rules += count if outcome.is_blocked_by_rule else 0
                for hit in outcome.hits:
                    tally.rules[hit] += count
                for rule in outcome.unanswered:
                    tally.unanswered[rule] += count
        for course, count in people.items():
            for tally, outcome in zip(tallies, _outcomes(course, len(tallies)), strict=True):
                tally.untied[outcome.verdict] += count
        return tallies


def _fate(pair: Pair) -> _Fate:
    in_force, candidate = pair
    new = newly_blocked_from(in_force, candidate)
    begin = candidate.blocked_from if new is None else new
    then, now = candidate.at(begin or 0), candidate.at(0)
    reasons = tuple(reason for reason in now.reasons if reason in _CANNOT_ANSWER)
    missing = [outcome for _, outcome in candidate.changes if outcome.unanswered]
    rules = tuple(dict.fromkeys(rule for outcome in missing for rule in outcome.unanswered))
    unanswered = None
    if reasons or rules:
        verdict = now.verdict if reasons or now.unanswered else missing[0].verdict
        unanswered = Unanswered(account="", device_id="", reasons=reasons, rules=rules, verdict=verdict)
    return _Fate(begin, new is not None, then.blocking_rules, then.reasons, unanswered)


def _end(pairs: Sequence[Pair]) -> tuple[int, bool] | None:
    """The date from which all of the devices are blocked, and whether only the candidate does that; None: never."""
    turns = sorted({at for pair in pairs for at in _turns(pair)})
    ends = [at for at in turns if all(candidate.blocks(at) for _, candidate in pairs)]
    if not ends:
        return None
    new = next((at for at in ends if not all(in_force.blocks(at) for in_force, _ in pairs)), None)
    return (ends[0], False) if new is None else (new, True)


def _turns(courses: Iterable[Course]) -> list[int]:
    """The dates at which any of the courses changes."""
    return sorted({begin for course in courses for begin, _ in course.changes})


def _strongest(courses: Sequence[Course]) -> Course:
    """The course of the strongest verdict at each date; only its verdicts mean something."""
    changes: list[tuple[int, Outcome]] = []
    for at in _turns(courses):
        outcome = max((course.at(at) for course in courses), key=lambda each: each.verdict.strength)
        if not changes or outcome != changes[-1][1]:
            changes.append((at, outcome))
    return Course(tuple(changes))


def _outcomes(course: Course, dates: int) -> Iterable[Outcome]:
    changes = (*course.changes, (dates, course.changes[-1][1]))
    for (begin, outcome), (end, _) in pairwise(changes):
        for _ in range(begin, end):
            yield outcome
