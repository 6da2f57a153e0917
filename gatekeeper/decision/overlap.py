"""Rules that mean the same apps: one that another makes superfluous, and pairs that both speak.

`covers` errs on the side of no: what it says of two matchers or scopes holds for every app and session.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.decision.patterns import Pattern
from gatekeeper.decision.policy import Policy, Rule, RuleScope
from gatekeeper.domain.device import Platform

Place = tuple[int, int]
"""Index of the rule, and of the matcher among its `apps`."""

_BEFORE_ALL = -1


class Overlaps:
    """What the rules of a policy have in common."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._exact: dict[str, list[Place]] = {}
        self._globs: list[tuple[Pattern, Place]] = []
        for index, rule in enumerate(policy.rules):
            for number, matcher in enumerate(rule.apps):
                if matcher.id is None:
                    continue
                if matcher.id.is_exact:
                    self._exact.setdefault(matcher.id.text, []).append((index, number))
                else:
                    self._globs.append((matcher.id, (index, number)))

    def shadows(self) -> Iterator[tuple[int, int]]:
        """Each rule that changes nothing, with the first other one that is as strong for all whom it is for."""
        gone: set[int] = set()
        for index, rule in reversed(tuple(enumerate(self._policy.rules))):  # of two alike the later is superfluous
            if not rule.apps or _asks_more(rule):
                continue
            others = self._meaning_all(index, rule) - gone
            for other in sorted(others):
                if self._outdoes(self._policy.rules[other], rule):
                    gone.add(index)
                    yield index, other
                    break

    def repeats(self) -> Iterator[tuple[int, int, int]]:
        """Each matcher that adds nothing to its own rule, with the first other one that means all that it does."""
        for index, rule in enumerate(self._policy.rules):
            gone: set[int] = set()
            for number, matcher in reversed(tuple(enumerate(rule.apps))):  # of two alike the later is superfluous
                others = {place[1] for place in self._candidates(matcher) if place[0] == index}
                others -= {number, *gone}
                other = next((each for each in sorted(others) if covers(rule.apps[each], matcher)), None)
                if other is not None:
                    gone.add(number)
                    yield index, number, other

    def pairs(self) -> Iterator[tuple[int, int, str]]:
        """Two rules that mean an app by the same id, for sessions that both can be for, and that id."""
        seen: set[tuple[int, int]] = set()
        for text, places in self._exact.items():
            rules = {index for index, _ in places} | {place[0] for glob, place in self._globs if glob.matches(text)}
            for index in {index for index, _ in places}:
                for other in sorted(rules - {index}):
                    pair = (min(index, other), max(index, other))
                    if pair not in seen and self._can_meet(*pair, text):
                        seen.add(pair)
                        yield (*pair, text)

    def _meaning_all(self, index: int, rule: Rule) -> set[int]:
        """The other rules that mean every app that this one means."""
        left: set[int] | None = None
        for matcher in rule.apps:
            found = {
                place[0]
                for place in self._candidates(matcher)
                if place[0] != index and covers(self._policy.rules[place[0]].apps[place[1]], matcher)
            }
            left = found if left is None else left & found
            if not left:
                return set()
        return left or set()

    def _candidates(self, matcher: AppMatcher) -> Iterable[Place]:
        pattern = matcher.id
        if pattern is None:
            return ()
        exact = self._exact.get(pattern.text, ()) if pattern.is_exact else ()
        return (*exact, *(place for glob, place in self._globs if _includes(glob, pattern)))

    def _outdoes(self, stronger: Rule, weaker: Rule) -> bool:
        """Whether a rule is at least as strong for everybody whom the other is for, at any time."""
        if stronger.grace or stronger.rollout or stronger.id in self._policy.exemptions_of:
            return False
        return scope_covers(stronger.scope, weaker.scope) and _is_never_weaker(stronger, weaker)

    def _can_meet(self, index: int, other: int, text: str) -> bool:
        first, second = self._policy.rules[index], self._policy.rules[other]
        platforms = _platforms(first, text) & _platforms(second, text)
        return bool(platforms) and scopes_meet(first.scope, second.scope)


def covers(wider: AppMatcher, narrower: AppMatcher) -> bool:
    """Whether every app that `narrower` means is meant by `wider`, also when not all is known of it."""
    if wider.id is None or narrower.id is None or not _includes(wider.id, narrower.id):
        return False
    if not all(wider.covers(platform) for platform in Platform if narrower.covers(platform)):
        return False
    if wider.min_evidence.rank > narrower.min_evidence.rank:
        return False
    return all(
        not ours or ours == theirs
        for ours, theirs in (
            (wider.name, narrower.name),
            (wider.publisher, narrower.publisher),
            (wider.signer_sha256, narrower.signer_sha256),
            (wider.installer, narrower.installer),
            (wider.not_installer, narrower.not_installer),
            (wider.version, narrower.version),
        )
    )


def scope_covers(wider: RuleScope, narrower: RuleScope) -> bool:
    """Whether every session in the one scope is in the other."""
    kinds = (
        (wider.device_class, narrower.device_class),
        (wider.ownership, narrower.ownership),
        (wider.platforms, narrower.platforms),
        (wider.protocols, narrower.protocols),
        (wider.listeners, narrower.listeners),
        (frozenset(wider.networks), frozenset(narrower.networks)),
    )
    if any(ours and not (theirs and theirs <= ours) for ours, theirs in kinds):
        return False
    if wider.users or wider.groups:
        is_named = bool(narrower.users or narrower.groups)
        if not (is_named and narrower.users <= wider.users and narrower.groups <= wider.groups):
            return False
    return (
        wider.not_users <= narrower.not_users
        and wider.not_groups <= narrower.not_groups
        and set(wider.not_networks) <= set(narrower.not_networks)
    )


def scopes_meet(first: RuleScope, second: RuleScope) -> bool:
    """Whether a session can be in both, as far as the kinds of condition tell that have a fixed choice."""
    kinds = (
        (first.device_class, second.device_class),
        (first.ownership, second.ownership),
        (first.platforms, second.platforms),
        (first.protocols, second.protocols),
        (first.listeners, second.listeners),
    )
    return all(not ours or not theirs or bool(ours & theirs) for ours, theirs in kinds)


def _includes(wider: Pattern, narrower: Pattern) -> bool:
    if wider.text == narrower.text:
        return True
    if narrower.is_exact:
        return wider.matches(narrower.text)
    return wider.text == f"{wider.prefix}*" and narrower.prefix.startswith(wider.prefix)


def _asks_more(rule: Rule) -> bool:
    return bool(rule.only_apps or rule.required_apps or rule.min_os or rule.flags)


def _is_never_weaker(stronger: Rule, weaker: Rule) -> bool:
    instants: set[datetime] = {*stronger.phases.boundaries, *weaker.phases.boundaries}
    return all(_strength(stronger, instant) >= _strength(weaker, instant) for instant in instants)


def _strength(rule: Rule, instant: datetime) -> int:
    phase = rule.phases.at(instant)
    return _BEFORE_ALL if phase is None else rule.verdicts[phase].strength


def _platforms(rule: Rule, text: str) -> set[Platform]:
    """On which the rule means the id."""
    return {
        platform
        for matcher in rule.apps
        if matcher.id is not None and matcher.id.matches(text)
        for platform in Platform
        if matcher.covers(platform) and (not rule.scope.platforms or platform in rule.scope.platforms)
    }
