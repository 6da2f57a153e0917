"""One app matcher of a rule, and what it makes of one app.

Three-valued: an attribute that the source did not report is unknown. An app that is identified (by id, name, publisher,
signer or installer) but of which another attribute is unknown is an uncertain match, and counts as one. When nothing
that identifies an app is known the matcher is blind to it: the list cannot answer the rule, which is the posture state
`insufficient`, not a match.
"""

from dataclasses import dataclass
from enum import Enum

from gatekeeper.decision.patterns import Pattern
from gatekeeper.decision.versions import VersionRange
from gatekeeper.domain.app import App
from gatekeeper.domain.device import APPLE_MOBILE, Platform
from gatekeeper.domain.posture import EvidenceLevel


class Finding(Enum):
    """What a matcher makes of an app."""

    NO = "no"
    BLIND = "blind"
    UNCERTAIN = "uncertain"
    CERTAIN = "certain"


_NO, _BLIND, _UNCERTAIN, _CERTAIN = Finding  # Python 3.11 calls a function for every look-up of an enum's member


@dataclass(frozen=True, slots=True, kw_only=True)
class AppMatcher:
    """All conditions that are given must hold; at least one of them says which app it is."""

    platform: Platform | None = None
    """None: any. `ios` is meant for every platform with Apple's bundle identifiers."""
    id: Pattern | None = None
    name: Pattern | None = None
    publisher: Pattern | None = None
    signer_sha256: frozenset[str] = frozenset()
    """Any of these signed the app; lower-case hex."""
    installer: frozenset[str] = frozenset()
    """Any of these put it there; case-folded."""
    not_installer: frozenset[str] = frozenset()
    """None of these put it there; case-folded."""
    version: VersionRange | None = None
    min_evidence: EvidenceLevel = EvidenceLevel.CLAIMED
    """What weaker evidence says does not count: such a list cannot answer."""

    def __post_init__(self) -> None:
        others = self.name or self.publisher or self.signer_sha256 or self.installer or self.not_installer
        if not (self.id or others):
            raise ValueError("needs an id, name, publisher, signer_sha256, installer or not_installer")

    def covers(self, platform: Platform) -> bool:
        """Whether apps of that platform are meant."""
        if self.platform is None or self.platform is platform:
            return True
        return self.platform is Platform.IOS and platform in APPLE_MOBILE

    @property
    def blind_without(self) -> frozenset[str]:
        """The attributes of which an app must lack all (`AppList.lacks`) for this matcher to be blind to it."""
        if self.id is not None:
            return frozenset()
        given = {
            "name": self.name,
            "publisher": self.publisher,
            "signer": self.signer_sha256,
            "installer": self.installer or self.not_installer,
        }
        return frozenset(attribute for attribute, condition in given.items() if condition)

    @property
    def is_bare(self) -> bool:
        """Whether nothing but id and platform is asked."""
        others = self.name or self.publisher or self.signer_sha256 or self.installer or self.not_installer
        return self.id is not None and not others and self.version is None

    def judge(self, app: App) -> Finding:
        """Weigh every condition."""
        answers: list[bool | None] = []
        if self.id is not None:
            answers.append(self.id.matches(app.id.casefold()))
        if self.name is not None:
            answers.append(_matches(self.name, app.name))
        if self.publisher is not None:
            answers.append(_matches(self.publisher, app.publisher))
        if self.signer_sha256:
            known = app.signer_sha256
            answers.append(not self.signer_sha256.isdisjoint(known) if known else None)
        if self.installer or self.not_installer:
            answers.append(self._came_from(app.installer))
        if False in answers:
            return _NO
        in_range = True if self.version is None else self.version.contains(app.version, app.version_code)
        if in_range is False:
            return _NO
        if True not in answers:
            return _BLIND
        return _UNCERTAIN if in_range is None or None in answers else _CERTAIN

    def _came_from(self, installer: str | None) -> bool | None:
        if installer is None:
            return None
        folded = installer.casefold()
        return (not self.installer or folded in self.installer) and folded not in self.not_installer

    def conditions(self, app: App) -> tuple[tuple[str, bool | None], ...]:
        """Every condition that is given, as the policy spells it, and whether it holds. `judge` for people."""
        signers = app.signer_sha256
        in_range = None if self.version is None else self.version.contains(app.version, app.version_code)
        every: tuple[tuple[str, object, bool | None], ...] = (
            ("id", self.id, self.id is not None and self.id.matches(app.id.casefold())),
            ("name", self.name, None if self.name is None else _matches(self.name, app.name)),
            ("publisher", self.publisher, None if self.publisher is None else _matches(self.publisher, app.publisher)),
            ("signer_sha256", self.signer_sha256, not self.signer_sha256.isdisjoint(signers) if signers else None),
            ("installer", self.installer or self.not_installer, self._came_from(app.installer)),
            ("version", self.version, in_range),
        )
        return tuple((name, holds) for name, given, holds in every if given)

    def unknowns(self, app: App) -> tuple[str, ...]:
        """Names of the conditions that the report of `app` leaves open."""
        open_conditions = []
        if self.name is not None and app.name is None:
            open_conditions.append("name")
        if self.publisher is not None and app.publisher is None:
            open_conditions.append("publisher")
        if self.signer_sha256 and not app.signer_sha256:
            open_conditions.append("signer")
        if (self.installer or self.not_installer) and app.installer is None:
            open_conditions.append("installer")
        if self.version is not None and self.version.contains(app.version, app.version_code) is None:
            open_conditions.append("version")
        return tuple(open_conditions)


def _matches(pattern: Pattern, value: str | None) -> bool | None:
    return None if value is None else pattern.matches(value.casefold())
