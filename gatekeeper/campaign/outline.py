"""The part of an app list that some policies can tell apart: what their rules may mean, and what is missing elsewhere.

INVARIANT: a device that is judged by the outline of its list, by any of these policies and at any time, gets the same
verdict, rules and reasons as by its whole list (a property test compares).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gatekeeper.decision.allowlist import AllowList
from gatekeeper.decision.index import Index
from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.decision.policy import Policy, Rule
from gatekeeper.domain.app import OPTIONAL, App, AppList
from gatekeeper.domain.device import Platform

_MAX_SHARED = 100_000


class Outline:
    """Of some policies; equal outlines are one object."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        rules = [rule for policy in policies for rule in policy.rules]
        matchers = dict.fromkeys(matcher for rule in rules for matcher in (*rule.apps, *rule.required_apps))
        self._matchers: Sequence[AppMatcher] = tuple(matchers)
        self._can_be_blind = any(matcher.blind_without for matcher in matchers)
        self._allowed = _allowed(rules)
        # Whether a rule by name or signer is blind to an app that lacks them depends, where it asks for a version too,
        # on the version of that app; and what stands in for apps that lack something is on no list of allowed apps.
        self.needs_everything = any(matcher.blind_without and matcher.version for matcher in matchers)
        self.needs_everything |= self._can_be_blind and bool(self._allowed)
        installer = _unsuspicious_installer(self._matchers)
        self.needs_everything |= installer is None
        self._stand_ins = _stand_ins(installer or "")
        # Of all platforms; an index finds what can be meant even among ten thousand rules.
        self._index = Index((0, matcher) for matcher in self._matchers)
        self._means: dict[App, bool] = {}
        self._shared: dict[tuple[tuple[App, ...], int], AppList] = {}

    def means(self, app: App) -> bool:
        """Whether any rule can mean, or mind, an app of this kind, whatever its version and platform."""
        if self.needs_everything:
            return True
        known = self._means.get(app)
        if known is None:
            if len(self._means) >= _MAX_SHARED:
                self._means.clear()
            known = self._means[app] = bool(self.meant([app]))
        return known

    def meant(self, apps: Iterable[App]) -> set[App]:
        """Those of some apps that any rule can mean: many at once are quicker than one after the other."""
        if self.needs_everything:
            return set(apps)
        kinds: dict[App, list[App]] = {}
        for app in apps:
            kinds.setdefault(replace(app, version=None, version_code=None), []).append(app)
        found = self._index.find(AppList(kinds)).get(0, ())
        meant = {app for match in found for app in kinds[match.app]}
        if self._allowed:
            meant.update(app for kind, several in kinds.items() if not self._is_allowed(kind) for app in several)
        return meant

    def _is_allowed(self, app: App) -> bool:
        """Whether no rule that names the only apps can mind it, on any platform."""
        key = app.id.casefold()
        return all(allow_list.allows(key) for allow_list in self._allowed)

    def of(self, apps: Iterable[App], absences: int, size: int | None = None) -> AppList:
        """The outline of a list that has these apps that are meant, and lacks what `AppList.absences` says.

        Where a decision has to tell how long the list is, `size` says it; such an outline is nobody else's.
        """
        kept = tuple(apps)
        if not self._can_be_blind or self.needs_everything:
            absences = 0
        if size is not None:
            return AppList((*kept, *(each for bit, each in self._stand_ins if absences >> bit & 1)), size=size)
        key = (kept, absences)
        found = self._shared.get(key)
        if found is None:
            if len(self._shared) >= _MAX_SHARED:
                self._shared.clear()
            found = self._shared[key] = AppList(
                (*kept, *(each for bit, each in self._stand_ins if absences >> bit & 1))
            )
        return found

    def outline(self, apps: AppList) -> AppList:
        """The outline of a whole list."""
        return self.of(filter(self.means, apps.apps), apps.absences)


def _allowed(rules: Iterable[Rule]) -> tuple[AllowList, ...]:
    """The lists of the only apps, on every platform on which they count."""
    found = (
        rule.allow_lists[platform]
        for rule in rules
        if rule.only_apps
        for platform in rule.scope.platforms or tuple(Platform)
    )
    return tuple({allow_list.by_id: allow_list for allow_list in found}.values())


def _unsuspicious_installer(matchers: Iterable[AppMatcher]) -> str | None:
    """An installer that no rule without an id means; None: whatever put an app there, some rule means it."""
    by_origin = [matcher for matcher in matchers if matcher.id is None and (matcher.installer or matcher.not_installer)]
    wanted = frozenset[str]().union(*(matcher.installer for matcher in by_origin))
    spared = [matcher.not_installer for matcher in by_origin if matcher.not_installer]
    if not spared:
        return ""
    return min(frozenset.intersection(*spared) - wanted, default=None)


def _stand_ins(installer: str) -> tuple[tuple[int, App], ...]:
    """For each combination of attributes that an app can lack, an app that lacks them and that no rule means."""
    found = []
    for combination in range(1, 1 << len(OPTIONAL)):
        missing = {name for place, name in enumerate(OPTIONAL) if combination >> place & 1}
        stand_in = App(
            id="",
            name=None if "name" in missing else "",
            publisher=None if "publisher" in missing else "",
            signer_sha256=() if "signer" in missing else ("",),
            installer=None if "installer" in missing else installer,
        )
        found.append((combination, stand_in))
    return tuple(found)
