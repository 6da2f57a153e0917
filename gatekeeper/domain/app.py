"""An installed app, and the list of apps of one device with the indexes a decision needs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import compress

OPTIONAL = ("name", "publisher", "signer", "installer")
"""What identifies an app besides its id and can be missing: the members of `AppList.lacks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """One installed app as its source reported it."""

    id: str
    """Android package name or Apple bundle id, as reported; compared case-folded."""
    name: str | None = None
    version: str | None = None
    version_code: int | None = None
    """Android `versionCode`, a 64-bit integer."""
    signer_sha256: tuple[str, ...] = ()
    """SHA-256 of the signing certificates, lower-case hex; empty: not known."""
    publisher: str | None = None
    installer: str | None = None
    """What put it there: the store's package on Android (`com.android.vending`), the distributor's id on Apple's."""


def head_of(key: str) -> str:
    """The first two labels of a case-folded app id (`com.ss` of `com.ss.iphone.ugc.ame`): the index key of globs."""
    first = key.find(".")
    if first < 0:
        return key
    second = key.find(".", first + 1)
    return key if second < 0 else key[:second]


class AppList:
    """The apps of one device, indexed once so that a decision costs set intersections instead of loops.

    Immutable by convention: built once, shared by every decision on that device.
    """

    __slots__ = (
        "apps",
        "by_key",
        "heads",
        "installers",
        "keys",
        "lacking",
        "lacks",
        "names",
        "ordered",
        "publishers",
        "signers",
        "size",
        "text",
    )

    apps: tuple[App, ...]
    by_key: Mapping[str, tuple[App, ...]]
    """Case-folded id -> the apps with that id (an id can be installed twice: work profile, clones)."""
    keys: frozenset[str]
    ordered: tuple[str, ...]
    """The keys, sorted: those with a common beginning lie side by side."""
    heads: frozenset[str]
    signers: frozenset[str]
    names: frozenset[str]
    """Case-folded display names, of the apps whose name is known."""
    publishers: frozenset[str]
    """Case-folded, of the apps whose publisher is known."""
    installers: frozenset[str]
    """Case-folded, of the apps whose installer is known."""
    text: str
    """All keys, names and publishers, one a line: a pattern whose literal part is not in here matches no app."""
    lacking: Mapping[frozenset[str], tuple[App, ...]]
    """The apps that lack any of `OPTIONAL`, by which of them they lack."""
    lacks: frozenset[str]
    """Which of `OPTIONAL` at least one app does not have: nothing that asks for those is false."""

    size: int
    """How many apps the device has: more than `apps` where these are only those that matter."""

    def __init__(self, apps: Iterable[App], *, size: int | None = None) -> None:
        self.apps = tuple(apps)
        self.size = len(self.apps) if size is None else size
        by_key: dict[str, tuple[App, ...]] = {}
        for app in self.apps:
            key = app.id.casefold()
            by_key[key] = (*by_key.get(key, ()), app)
        self.by_key = by_key
        self.keys = frozenset(by_key)
        self.ordered = tuple(sorted(by_key))
        self.heads = frozenset(map(head_of, by_key))
        self.signers = frozenset(signer for app in self.apps for signer in app.signer_sha256)
        self.names = frozenset(app.name.casefold() for app in self.apps if app.name is not None)
        self.publishers = frozenset(app.publisher.casefold() for app in self.apps if app.publisher is not None)
        self.installers = frozenset(app.installer.casefold() for app in self.apps if app.installer is not None)
        self.text = "\n".join((*self.keys, *self.names, *self.publishers))
        self.lacking = _lacking(self.apps)
        self.lacks = frozenset().union(*self.lacking)

    @property
    def absences(self) -> int:
        """Which combinations of `OPTIONAL` its apps lack, as one number: bit *c* for the combination that is *c*.

        In a combination, bit *i* stands for the *i*-th of `OPTIONAL`.
        """
        return sum(1 << sum(1 << OPTIONAL.index(name) for name in lacks) for lacks in self.lacking)

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AppList) and self.apps == other.apps

    def __hash__(self) -> int:
        return hash(self.apps)

    def __repr__(self) -> str:
        """The length only: app lists of private phones are sensitive and never belong in a log."""
        return f"AppList({len(self.apps)} apps)"


def _lacking(apps: Iterable[App]) -> dict[frozenset[str], tuple[App, ...]]:
    by_absence: dict[tuple[bool, ...], list[App]] = {}
    for app in apps:
        absence = (app.name is None, app.publisher is None, not app.signer_sha256, app.installer is None)
        by_absence.setdefault(absence, []).append(app)
    lacking = {frozenset(compress(OPTIONAL, absence)): tuple(without) for absence, without in by_absence.items()}
    lacking.pop(frozenset(), None)
    return lacking
