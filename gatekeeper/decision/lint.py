"""What a policy may say but probably does not mean; never a reason to refuse it."""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from gatekeeper.decision.judgement import later
from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.decision.nobody import unknown_listener, why_nobody
from gatekeeper.decision.overlap import Overlaps
from gatekeeper.decision.policy import Exemption, Policy, Rule
from gatekeeper.domain.device import APPLE_MOBILE, Platform
from gatekeeper.domain.document import Fault
from gatekeeper.domain.posture import EvidenceLevel, Posture

MAX_PAIRS = 100
"""Pairs of rules that are told one by one."""

LONG = timedelta(days=180)
MANY = 3
"""An exemption for longer wants so many approvers."""

_SATURDAY = 5
_ANDROID = frozenset({Platform.ANDROID, Platform.HARMONY})


def warnings(policy: Policy, now: datetime) -> tuple[Fault, ...]:
    """All concerns, of the rules in the file's order, then of the exemptions."""
    found: list[Fault] = []
    highest = max((level.rank for level in policy.sources.values()), default=0)
    concerns_of: dict[int, list[tuple[str, str]]] = {}
    for index, key, reason in _of_pairs(policy):
        concerns_of.setdefault(index, []).append((key, reason))
    nobody = {index: why for index, rule in enumerate(policy.rules) if (why := why_nobody(policy, rule.scope))}
    for index, (key, reason) in nobody.items():
        concerns_of.setdefault(index, []).append((f"scope.{key}", reason))
    languages = _languages(policy)
    for index, rule in enumerate(policy.rules):
        concerns = [
            *_of_matchers(rule, highest),
            *_of_dates(rule, now),
            *_of_texts(rule, languages),
            *concerns_of.get(index, ()),
        ]
        found.extend(Fault(policy.source, f"rule[{index}]{key and '.'}{key}", reason) for key, reason in concerns)
    begins = {rule.id: min(rule.phases.boundaries, default=None) for rule in policy.rules}
    for index, exemption in enumerate(policy.exemptions):
        concern = _of_exemption(exemption, begins.get(exemption.rule), now)
        if concern is not None:
            found.append(Fault(policy.source, f"exemption[{index}].expires", concern))
    return tuple(found)


def of_listeners(policy: Policy, names: Collection[str]) -> tuple[Fault, ...]:
    """Concerns of the rules for listeners that a configuration with listeners of these names has not."""
    found = [(index, unknown_listener(rule.scope, names)) for index, rule in enumerate(policy.rules)]
    return tuple(Fault(policy.source, f"rule[{index}].scope.{why[0]}", why[1]) for index, why in found if why)


class Breadth:
    """Which matchers mean an app on more than a third of the devices that are on record."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._devices = 0
        self._holders: dict[int, dict[int, int]] = {}
        """By rule, and by the identity of the matcher: the devices on which it means an app."""

    def add(self, postures: Iterable[Posture]) -> None:
        """Count these devices; those that never reported say nothing."""
        for posture in postures:
            result = posture.result
            if result is None:
                continue
            self._devices += 1
            found = self._policy.indexes[posture.device.platform].find(result.apps)
            for position, matches in found.items():
                holders = self._holders.setdefault(position, {})
                for matcher in {id(match.matcher) for match in matches}:
                    holders[matcher] = holders.get(matcher, 0) + 1

    def warnings(self) -> tuple[Fault, ...]:
        """In the file's order."""
        if not self._devices:
            reason = "no device on record has reported, so nobody knows what is on more than a third of them"
            return (Fault(self._policy.source, "", reason),)
        found = []
        for position, rule in enumerate(self._policy.rules):
            for number, matcher in enumerate(rule.apps):
                holders = self._holders.get(position, {}).get(id(matcher), 0)
                if 3 * holders > self._devices:
                    reason = f"means an app on {holders} of {self._devices} devices, more than a third"
                    found.append(Fault(self._policy.source, f"rule[{position}].apps[{number}]", reason))
        return tuple(found)


def _of_matchers(rule: Rule, highest: int) -> Iterator[tuple[str, str]]:
    for name, matchers in (("apps", rule.apps), ("only_apps", rule.only_apps), ("required_apps", rule.required_apps)):
        for index, matcher in enumerate(matchers):
            place = f"{name}[{index}]"
            impossible = _why_impossible(matcher, rule, highest)
            if impossible is not None:
                yield (f"{place}.{impossible[0]}" if impossible[0] else place), impossible[1]
            elif name == "apps":
                yield from _of_breadth(place, matcher)
    named = {matcher.platform for matcher in rule.only_apps}
    if rule.only_apps and None not in named and not rule.scope.platforms:
        yield "only_apps", "allows nothing at all on platforms that it does not name; `scope.platforms` leaves them out"


def _of_breadth(place: str, matcher: AppMatcher) -> Iterator[tuple[str, str]]:
    if matcher.id is None:
        asked = ", ".join(sorted(matcher.blind_without))
        reason = f"names no app id: a list in which an app lacks its {asked} cannot answer it and is insufficient"
        yield place, reason
    elif matcher.id.head is None:
        yield f"{place}.id", f"`{matcher.id}` is broad: it does not begin with two whole labels such as `com.example.`"


def _why_impossible(matcher: AppMatcher, rule: Rule, highest: int) -> tuple[str, str] | None:
    """The key and the reason why a matcher can mean no app; None: it can."""
    nothing = "so it can match nothing"
    if matcher.version is not None and not matcher.version.can_hold:
        return "version", f"`{matcher.version}` holds for no version, {nothing}"
    if matcher.installer and matcher.installer <= matcher.not_installer:
        return "not_installer", f"leaves out every `installer`, {nothing}"
    platforms = {platform for platform in Platform if matcher.covers(platform)}
    if rule.scope.platforms and platforms.isdisjoint(rule.scope.platforms):
        return "platform", f"`{matcher.platform}` is not in `scope.platforms`, {nothing}"
    if matcher.min_evidence is not EvidenceLevel.CLAIMED and matcher.min_evidence.rank > highest:
        return "min_evidence", f"no source in [sources] is as high as `{matcher.min_evidence}`: nothing can answer it"
    text = matcher.id.text if matcher.id is not None else ""
    if platforms <= _ANDROID and ("-" in text or (text and matcher.id and matcher.id.is_exact and "." not in text)):
        return "id", f"`{text}` is no Android package name (labels of letters, digits and `_`, at least two), {nothing}"
    if platforms <= APPLE_MOBILE and "_" in text:
        return "id", f"`{text}` is no bundle identifier (letters, digits, `-` and `.`), {nothing}"
    return None


def _of_dates(rule: Rule, now: datetime) -> Iterator[tuple[str, str]]:
    enforce, weekday = rule.phases.enforce, rule.phases.enforce_weekday
    if enforce is not None and enforce > now and weekday is not None and weekday >= _SATURDAY:
        yield "phases.enforce", "begins on a weekend, when no help desk answers"
    for index, step in enumerate(rule.rollout):
        if step.begin > now and step.begin.astimezone(rule.phases.zone or UTC).weekday() >= _SATURDAY:
            yield f"rollout[{index}].from", "begins on a weekend, when no help desk answers"
    cap = rule.grace.cap if rule.grace else None
    if cap is not None and cap > now and cap.astimezone(rule.phases.zone or UTC).weekday() >= _SATURDAY:
        yield "grace.cap", "falls on a weekend, when no help desk answers"
    if rule.rollout and rule.rollout[-1].percent < 100:
        rest = 100 - rule.rollout[-1].percent
        yield "rollout", f"never reaches {rest} percent of the devices: they are only warned, for ever"


def _of_exemption(exemption: Exemption, begin: datetime | None, now: datetime) -> str | None:
    """`begin`: of the rule that it takes away."""
    if exemption.expires <= now:
        return f"`{exemption.id}` has expired: rule `{exemption.rule}` is for everybody it named again"
    if begin is not None and exemption.expires <= begin:
        return f"`{exemption.id}` is over before rule `{exemption.rule}` begins"
    if exemption.expires > later(now, LONG) and len(exemption.approved_by) < MANY:
        return f"lies more than {LONG.days} days ahead, and fewer than {MANY} have approved it"
    return None


def _languages(policy: Policy) -> dict[str, str]:
    """The languages that texts are wanted in, each with why."""
    wanted = {tag: f"rule `{rule.id}` has it" for rule in policy.rules for tag in rule.messages}
    wanted |= {tag: f"group `{group}` reads it" for group, tag in policy.defaults.languages.items()}
    if wanted:
        wanted.setdefault(policy.defaults.language, "it is the language of last resort")
    return wanted


def _of_texts(rule: Rule, languages: dict[str, str]) -> Iterator[tuple[str, str]]:
    if not languages:
        return
    if not rule.messages:
        yield "message", "has no text of its own: people are told a built-in English one"
        return
    have = {tag.lower() for tag in rule.messages}
    for tag, why in languages.items():
        if tag.lower() not in have and tag.lower().partition("-")[0] not in have:
            yield "message", f"has no text in `{tag}` ({why})"


def _of_pairs(policy: Policy) -> Iterator[tuple[int, str, str]]:
    overlaps = Overlaps(policy)
    superfluous = dict(overlaps.shadows())
    for index, other in superfluous.items():
        name = policy.rules[other].id
        yield index, "", f"changes no verdict: rule `{name}` means the same apps for the same people, never weaker"
    for index, number, other in overlaps.repeats():
        yield index, f"apps[{number}]", f"means nothing that `apps[{other}]` does not mean"
    told = 0
    for first, second, text in overlaps.pairs():
        if superfluous.get(first) == second or superfluous.get(second) == first:
            continue
        told += 1
        if told > MAX_PAIRS:
            yield second, "apps", f"more than {MAX_PAIRS} pairs of rules mean the same app; the others are not listed"
            return
        reason = f"`{text}` is also meant by rule `{policy.rules[first].id}`; the stronger of the two counts"
        yield second, "apps", reason
