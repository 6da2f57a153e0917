"""Nothing but these apps: what of a list is on none of the matchers of `only_apps`.

Three-valued like every matcher: an app of which it is not known whether it is allowed counts as one that is not.
INVARIANT: `unlisted` answers what judging every app by every matcher would answer (a property test compares).
"""

from collections.abc import Iterable, Sequence

from gatekeeper.decision.index import Match
from gatekeeper.decision.matcher import AppMatcher, Finding
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Platform

_CERTAIN, _NO = Finding.CERTAIN, Finding.NO


class AllowList:
    """The matchers for one platform; immutable once built. What names nothing but an id costs a set difference."""

    __slots__ = ("_plain", "_prefixes", "_rest")

    def __init__(self, matchers: Iterable[AppMatcher], platform: Platform) -> None:
        meant = [matcher for matcher in matchers if matcher.covers(platform)]
        bare = {matcher.id for matcher in meant if matcher.id is not None and matcher.is_bare}
        beginnings = {pattern for pattern in bare if pattern.text == f"{pattern.prefix}*"}
        self._plain = frozenset(pattern.text for pattern in bare if pattern.is_exact)
        self._prefixes = tuple(sorted(pattern.prefix for pattern in beginnings))
        quick = beginnings | {pattern for pattern in bare if pattern.is_exact}
        self._rest = tuple(matcher for matcher in meant if not (matcher.is_bare and matcher.id in quick))

    @property
    def by_id(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """What is allowed whatever else is known of it: ids, and how ids begin."""
        return self._plain, self._prefixes

    def allows(self, key: str) -> bool:
        """Whether an app with that case-folded id is allowed, whatever else is known of it."""
        return key in self._plain or key.startswith(self._prefixes)

    def unlisted(self, apps: AppList) -> list[Match]:
        """The apps that are not allowed, or not known to be; certain ones first, then by id."""
        certain: list[Match] = []
        uncertain: list[Match] = []
        prefixes, rest = self._prefixes, self._rest
        for key in sorted(apps.keys - self._plain):
            if key.startswith(prefixes):
                continue
            several = apps.by_key[key]
            for app in several if len(several) == 1 else sorted(several, key=_version):
                if not rest:
                    certain.append(Match(app, None, True))  # noqa: FBT003  positional: a keyword costs more
                    continue
                match = _judge(app, rest)
                if match is not None:
                    (certain if match.is_certain else uncertain).append(match)
        return certain + uncertain


def _version(app: App) -> str:
    return app.version or ""


def _judge(app: App, matchers: Sequence[AppMatcher]) -> Match | None:
    is_certain = True
    for matcher in matchers:
        finding = matcher.judge(app)
        if finding is _CERTAIN:
            return None
        is_certain = is_certain and finding is _NO
    return Match(app, None, is_certain)
