"""All app matchers of a policy for one platform, indexed so that a device costs set intersections instead of loops.

INVARIANT: `find` and `blind` answer what judging every app by every matcher would answer (a property test compares).
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

from gatekeeper.decision.matcher import AppMatcher, Finding
from gatekeeper.decision.patterns import Pattern
from gatekeeper.domain.app import OPTIONAL, App, AppList

Entry = tuple[int, AppMatcher]
"""Position of the rule in the policy, and one of its matchers."""

_EVERY_LACK = [frozenset(lacks) for size in range(len(OPTIONAL) + 1) for lacks in combinations(OPTIONAL, size)]
_MISSES = (Finding.NO, Finding.BLIND)
_CERTAIN = Finding.CERTAIN  # Python 3.11 calls a function for every look-up of an enum's member


class Match(NamedTuple):
    """An app that a rule means."""

    app: App
    matcher: AppMatcher | None
    """None: it is on no list of allowed apps."""
    is_certain: bool


class Index:
    """Immutable once built; one per platform and policy."""

    __slots__ = (
        "_beyond",
        "_blind",
        "_by_head",
        "_by_installer",
        "_by_key",
        "_by_name",
        "_by_publisher",
        "_by_signer",
        "_heads",
        "_installers",
        "_keys",
        "_names",
        "_outside",
        "_prefixes",
        "_publishers",
        "_signers",
        "_slow",
    )

    def __init__(self, entries: Iterable[Entry], *, beyond: Iterable[int] = ()) -> None:
        """`beyond`: positions of the rules with a matcher that the evidence at hand is too weak for."""
        self._beyond = tuple(beyond)
        self._by_key: dict[str, list[Entry]] = {}
        self._by_head: dict[str, list[tuple[str, Entry]]] = {}
        self._by_name: dict[str, list[Entry]] = {}
        self._by_publisher: dict[str, list[Entry]] = {}
        self._by_signer: dict[str, list[Entry]] = {}
        self._by_installer: dict[str, list[Entry]] = {}
        self._outside: list[Entry] = []
        """Matchers of what other installers than theirs have put there."""
        self._prefixes: list[tuple[str, Entry]] = []
        """Patterns of ids that begin with less than two whole labels."""
        self._slow: list[tuple[str, Entry]] = []
        """Patterns that begin with a wildcard or are not of ids; the literal must occur in `AppList.text`."""
        blind: dict[frozenset[str], list[Entry]] = {}  # by the attributes without which the matcher is blind
        for entry in entries:
            self._add(entry)
            if entry[1].blind_without:
                blind.setdefault(entry[1].blind_without, []).append(entry)
        self._blind = {
            lacks: [(attributes, candidates) for attributes, candidates in blind.items() if attributes <= lacks]
            for lacks in _EVERY_LACK
        }
        """By `AppList.lacks`: what can be blind then, with the attributes without which it is."""
        # Two frozensets intersect by walking the smaller one; a dict's keys would always walk the other.
        self._keys = frozenset(self._by_key)
        self._heads = frozenset(self._by_head)
        self._signers = frozenset(self._by_signer)
        self._names = frozenset(self._by_name)
        self._publishers = frozenset(self._by_publisher)
        self._installers = frozenset(self._by_installer)

    def _add(self, entry: Entry) -> None:
        matcher = entry[1]
        if matcher.id is not None:
            self._add_id(matcher.id, entry)
            return
        # Without an id one condition that holds is enough for an uncertain match: the entry is filed under each.
        for signer in matcher.signer_sha256:
            self._by_signer.setdefault(signer, []).append(entry)
        for installer in matcher.installer:
            self._by_installer.setdefault(installer, []).append(entry)
        if matcher.not_installer:
            self._outside.append(entry)
        for pattern, index in ((matcher.name, self._by_name), (matcher.publisher, self._by_publisher)):
            if pattern is None:
                continue
            if pattern.is_exact:
                index.setdefault(pattern.text, []).append(entry)
            else:
                self._slow.append((pattern.literal, entry))

    def _add_id(self, pattern: Pattern, entry: Entry) -> None:
        if pattern.is_exact:
            self._by_key.setdefault(pattern.text, []).append(entry)
        elif pattern.head is not None:
            self._by_head.setdefault(pattern.head, []).append((pattern.prefix, entry))
        elif pattern.prefix:
            self._prefixes.append((pattern.prefix, entry))
        else:
            self._slow.append((pattern.literal, entry))

    def find(self, apps: AppList) -> dict[int, list[Match]]:
        """Position of the rule -> the apps it means, by id; only rules with a match."""
        found: dict[int, dict[int, Match]] = {}
        for key in self._keys & apps.keys:
            for entry in self._by_key[key]:
                _note(found, entry, apps.by_key[key])
        prefixed = self._prefixes
        for head in self._heads & apps.heads:
            prefixed = prefixed + self._by_head[head]
        if prefixed:
            _find_by_prefix(prefixed, apps, found)
        if not (
            self._signers.isdisjoint(apps.signers)
            and self._names.isdisjoint(apps.names)
            and self._publishers.isdisjoint(apps.publishers)
            and (not self._installers or self._installers.isdisjoint(apps.installers))
        ):
            self._find_by_other_attributes(apps, found)
        for entry in self._outside:
            if not apps.installers <= entry[1].not_installer:
                _note(found, entry, apps.apps)
        for literal, entry in self._slow:
            if literal in apps.text:
                _note(found, entry, apps.apps)
        return {position: _in_order(found[position].values()) for position in sorted(found)} if found else {}

    def _find_by_other_attributes(self, apps: AppList, found: dict[int, dict[int, Match]]) -> None:
        """The matchers without an id: every app is a candidate then."""
        hits = [self._by_signer[signer] for signer in self._signers & apps.signers]
        hits += [self._by_name[name] for name in self._names & apps.names]
        hits += [self._by_publisher[publisher] for publisher in self._publishers & apps.publishers]
        hits += [self._by_installer[installer] for installer in self._installers & apps.installers]
        for entries in hits:
            for entry in entries:
                _note(found, entry, apps.apps)

    def may_be_blind(self, apps: AppList) -> bool:
        """False: every rule has its answer, told at once from what is missing anywhere in the list."""
        return bool(self._blind[apps.lacks]) or bool(self._beyond)

    def blind(self, apps: AppList) -> Iterator[int]:
        """Positions of the rules that this list cannot answer; a rule can come more than once."""
        yield from self._beyond
        for attributes, entries in self._blind[apps.lacks]:
            without = [candidates for missing, candidates in apps.lacking.items() if attributes <= missing]
            for position, matcher in entries:
                if _is_blind(matcher, without):
                    yield position


def _is_blind(matcher: AppMatcher, without: Iterable[tuple[App, ...]]) -> bool:
    """Whether it is blind to any of the apps, which have nothing that it identifies by: only a version can rule out."""
    if matcher.version is None:
        return any(without)
    return any(matcher.judge(app) is Finding.BLIND for apps in without for app in apps)


def _find_by_prefix(prefixed: Iterable[tuple[str, Entry]], apps: AppList, found: dict[int, dict[int, Match]]) -> None:
    ordered = apps.ordered
    end = len(ordered)
    for prefix, entry in prefixed:
        place = bisect_left(ordered, prefix)
        while place < end and ordered[place].startswith(prefix):
            _note(found, entry, apps.by_key[ordered[place]])
            place += 1


def _note(found: dict[int, dict[int, Match]], entry: Entry, apps: Iterable[App]) -> None:
    position, matcher = entry
    for app in apps:
        finding = matcher.judge(app)
        if finding in _MISSES:
            continue
        is_certain = finding is _CERTAIN
        matches = found.setdefault(position, {})
        known = matches.get(id(app))
        if known is None or (is_certain and not known.is_certain):
            matches[id(app)] = Match(app, matcher, is_certain)


def _in_order(matches: Collection[Match]) -> list[Match]:
    """Certain ones first, then by id: set order differs between processes, decisions do not."""
    if len(matches) == 1:
        return list(matches)
    return sorted(matches, key=lambda match: (not match.is_certain, match.app.id.casefold(), match.app.version or ""))
