"""The published bundles as one process sees them: verified before anything else is done with them, never going back.

Inside holds: what `start` and `look` give was approved, and each is of a higher version than the one before; a bundle
that is refused is told once and changes nothing. The highest version that was ever accepted is remembered in the state
directory, so that a restart does not take an older one either. Everything here blocks on the disk.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.adapters.bundles.durable import replace
from gatekeeper.adapters.bundles.store import BundleStore, Stamp
from gatekeeper.config.settings import BundleSettings
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.publishing.approval import Approved, Approvers, Flaw, Refused, approve
from gatekeeper.publishing.bundle import BundleError, parse_bundle

_MARK = "policy-version"
_NOTHING = "no approved policy is published here: `gatekeeper policy build`, `sign`, `publish`"
_STORE = (0, Flaw.UNREADABLE)
"""Told of the store as a whole."""
_ROLLBACK = re.compile(r"rollback to ([1-9][0-9]{0,9}): ", re.ASCII)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that must not come into force."""

    version: int
    refused: Refused


@dataclass(frozen=True, slots=True)
class Look:
    """What is new in the store."""

    accepted: tuple[Approved, ...] = ()
    """Rising; the last one comes into force."""
    refused: tuple[Refusal, ...] = ()


NOTHING_NEW = Look()


def newest_good(settings: BundleSettings, names: IdentitySettings) -> Approved:
    """The newest approved bundle in the store, for who only asks; raises DocumentError when there is none."""
    store = BundleStore(settings.directory)
    refused: list[Refusal] = []
    try:
        for version in reversed(store.versions()):
            found = _approve(store, version, settings.approvers, names, above=0)
            if isinstance(found, Approved):
                return found
            refused.append(Refusal(version, found))
    except OSError as error:
        raise DocumentError([Fault(str(store.directory), "", f"cannot be read: {error.strerror}")]) from error
    raise DocumentError([Fault(str(store.directory), "", _NOTHING), *_faults(str(store.directory), refused)])


def all_good(settings: BundleSettings, names: IdentitySettings) -> tuple[Approved, ...]:
    """Every version in the store that today's approvers would let through, oldest first; for who only asks."""
    store = BundleStore(settings.directory)
    try:
        looked_at = [_approve(store, version, settings.approvers, names, above=0) for version in store.versions()]
    except OSError as error:
        raise DocumentError([Fault(str(store.directory), "", f"cannot be read: {error.strerror}")]) from error
    return tuple(found for found in looked_at if isinstance(found, Approved))


class Publications:
    """Follows the store. `accepted` is the newest good bundle once `start` has returned."""

    def __init__(self, settings: BundleSettings, names: IdentitySettings, state_directory: Path) -> None:
        self.store = BundleStore(settings.directory)
        self.accepted: Approved | None = None
        self._approvers = settings.approvers
        self._names = names
        self._mark = state_directory / _MARK
        self._stamp: Stamp | None = None
        self._told: set[tuple[int, Flaw]] = set()

    def start(self) -> Look:
        """Accept the newest good version there is, looking back until one is good.

        Raises DocumentError when there is none, or only older ones than were in force here before: nobody is served
        without a policy, or by one that was replaced.
        """
        source = str(self.store.directory)
        refused: list[Refusal] = []
        try:
            self._stamp, mark = self.store.stamp(), self._read_mark()
            for version in reversed(self.store.versions()):
                found = self._approve(version, above=0)
                if isinstance(found, Approved):
                    if version < mark:
                        reason = f"version {version} is older than {mark}, which was in force here: publish a newer one"
                        raise DocumentError([Fault(source, "", reason), *_faults(source, refused)])
                    self._accept(found)
                    return Look((found,), tuple(refused))
                refused.append(Refusal(version, found))
                self._told.add((version, found.flaw))
        except OSError as error:
            raise DocumentError([Fault(source, "", f"cannot be read: {error.strerror}")]) from error
        raise DocumentError([Fault(source, "", _NOTHING), *_faults(source, refused)])

    def look(self) -> Look:
        """What was published since; empty when nothing was. What cannot be read is tried again the next time."""
        try:
            stamp = self.store.stamp()
            if stamp == self._stamp:
                return NOTHING_NEW
            versions = self.store.versions()
        except OSError as error:
            return self._unreadable(error)
        self._told.discard(_STORE)
        accepted: list[Approved] = []
        refused: list[Refusal] = []
        is_readable = True
        for version in versions:
            newest = self.accepted.statement.version if self.accepted else 0
            if version <= newest:
                continue
            found = self._approve(version, above=newest)
            try:
                if isinstance(found, Approved):
                    self._accept(found)
                    accepted.append(found)
                    continue
            except (OSError, DocumentError) as error:
                found = Refused(Flaw.UNREADABLE, f"`{self._mark}` cannot be kept: {error}")
            is_readable = is_readable and found.flaw is not Flaw.UNREADABLE
            if (version, found.flaw) not in self._told:
                self._told.add((version, found.flaw))
                refused.append(Refusal(version, found))
        if is_readable:
            self._stamp = stamp
        return Look(tuple(accepted), tuple(refused))

    def _approve(self, version: int, *, above: int) -> Approved | Refused:
        return _approve(self.store, version, self._approvers, self._names, above=above)

    def _unreadable(self, error: OSError) -> Look:
        """The policy that is in force stays; told once."""
        if _STORE in self._told:
            return NOTHING_NEW
        self._told.add(_STORE)
        reason = f"`{self.store.directory}` cannot be read: {error.strerror}"
        return Look(refused=(Refusal(0, Refused(Flaw.UNREADABLE, reason)),))

    def older(self, version: int) -> Approved | None:
        """A version that was accepted before; None when it is not there, or would not be approved any more."""
        found = self._approve(version, above=0)
        return found if isinstance(found, Approved) else None

    def rolled_back_to(self, approved: Approved) -> int | None:
        """The older version whose content a bundle brings back, when its reason says so and it is true."""
        claim = _ROLLBACK.match(approved.statement.reason)
        if claim is None or int(claim[1]) >= approved.statement.version:
            return None
        try:
            older = parse_bundle(self.store.read(int(claim[1])))
        except (OSError, BundleError):
            return None
        return older.statement.version if older.statement.digest == approved.statement.digest else None

    def _accept(self, found: Approved) -> None:
        """From here on nothing older is taken, not even after a restart."""
        version = found.statement.version
        if version > self._read_mark():
            self._mark.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            replace(self._mark, f"{version}\n".encode())
        self.accepted = found

    def _read_mark(self) -> int:
        try:
            text = self._mark.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return 0
        if not text.isdecimal():
            reason = "does not say which version of the policy was in force: write its number into it"
            raise DocumentError([Fault(str(self._mark), "", reason)])
        return int(text)


def _approve(
    store: BundleStore, version: int, approvers: Approvers, names: IdentitySettings, *, above: int
) -> Approved | Refused:
    try:
        found = approve(store.read(version), approvers, names, above=above)
    except Refused as refused:
        return refused
    except OSError as error:
        return Refused(Flaw.UNREADABLE, f"cannot be read: {error.strerror}")
    if found.statement.version != version:
        return Refused(Flaw.VERSION, f"it says that it is version {found.statement.version}")
    return found


def _faults(source: str, refused: list[Refusal]) -> list[Fault]:
    return [Fault(source, f"version {each.version}", f"refused: {each.refused}") for each in refused]
