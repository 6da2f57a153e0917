"""The port `ports.groups` on a directory that is asked: by one process, again and again, and its last answer is kept.

What holds inside:

* What counts is the file with the last good answer (`kept`): whoever asks writes it, and every process follows it, so
  that several workers ask once, and a gate that starts while the directory is away knows what was known.
* An answer older than `keep` is none: its groups are unknown, which never counts as false.
* A group that no answer was ever asked for is looked up by itself (`learn`), and known in this process until the next
  answer has it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gatekeeper.adapters.groups import kept
from gatekeeper.adapters.groups.kept import Kept
from gatekeeper.adapters.groups.settings import AskedSettings
from gatekeeper.ports.clock import Clock
from gatekeeper.ports.groups import Directory, DirectoryError, Found

AGAIN_AFTER = timedelta(seconds=30)
"""A directory that did not answer is asked again after so long, or after `refresh` if that is shorter."""
SOON = timedelta(seconds=1)
"""A policy that names further groups has them asked for after so long."""
LEARN_WITHIN_S = 10.0
"""A gate that starts, a reload and a new policy wait so long for a directory."""


@dataclass(slots=True)
class Standing:
    """How it goes with the directory, as far as this process asks it."""

    tried_at: datetime | None = None
    silent_since: datetime | None = None
    """The first of the attempts that have all failed since."""
    fault: str = ""
    """Of the last attempt."""
    notes: tuple[str, ...] = ()


class AskedGroups:
    """Implements `ports.groups.Groups`."""

    def __init__(self, directory: Directory, path: Path, settings: AskedSettings, clock: Clock) -> None:
        self.directory = directory
        self.settings = settings
        self.standing = Standing()
        self.unusable = ""
        """Why the file with the last answer is not used, if it is there."""
        self._path = path
        self._clock = clock
        self._kept: Kept | None = None
        self._read_at: tuple[int, int, int] | None = None
        self._good_until: datetime | None = None
        self._learned: dict[str, frozenset[str]] = {}
        self._learned_at = clock.now()

    # What is known.

    def has_changed(self) -> bool:
        """Whether there is another answer, or the last one has become too old."""
        return self._mark() != self._read_at or (self._good_until is not None and self._clock.now() >= self._good_until)

    def members(self) -> Mapping[str, frozenset[str]]:
        """What the last answer says, while it is not too old."""
        self._load()
        now, known = self._clock.now(), self._known()
        self._good_until = None if known is None else known.answered_at + self.settings.keep
        answered = known.asked if known is not None else frozenset[str]()
        is_fresh = now - self._learned_at < self.settings.keep
        self._learned = {group: who for group, who in self._learned.items() if is_fresh and group not in answered}
        return {**self._learned, **(known.members if known is not None else {})}

    def learn(self, wanted: Collection[str]) -> tuple[str, ...]:
        """Ask for those of which nothing is known; the answer is not written down."""
        if self._kept is None:
            self._load()
        known = self._known()
        asked = known.asked if known is not None else frozenset[str]()
        missing = frozenset(wanted) - asked - self._learned.keys()
        unknown = dict(known.unknown) if known is not None else {}
        if missing:
            try:
                found = self.directory.ask(missing, min(LEARN_WITHIN_S, self.settings.timeout.total_seconds()))
            except DirectoryError as error:
                return (f"{self.directory.place}: {error}",)
            self._learned = {**self._learned, **found.members}
            self._learned_at = self._clock.now()
            unknown |= found.unknown
        return tuple(f"`{group}`: {reason}" for group, reason in unknown.items() if group in wanted)

    def forget(self) -> bool:
        """Know nothing more, for nothing is asked any more; whether there was anything."""
        was_known = self._kept is not None or self._read_at is not None
        self._kept, self._read_at, self._good_until, self._learned = None, None, None, {}
        return was_known

    @property
    def answered_at(self) -> datetime | None:
        """When the last good answer came."""
        return None if self._kept is None else self._kept.answered_at

    @property
    def unknown(self) -> Mapping[str, str]:
        """Groups that the last answer does not have, and why."""
        return {} if self._kept is None else self._kept.unknown

    @property
    def is_expired(self) -> bool:
        """Whether the last answer has become too old."""
        return self._kept is not None and self._known() is None

    # Asking.

    def is_due(self, wanted: Collection[str]) -> bool:
        """Whether it is time to ask the directory."""
        tried_at = self.standing.tried_at
        if tried_at is None:
            return True
        since = self._clock.now() - tried_at
        if since < timedelta(0):  # the clock was set back
            return True
        if self.standing.fault:
            return since >= min(AGAIN_AFTER, self.settings.refresh)
        is_new = self._kept is None or not frozenset(wanted) <= self._kept.asked
        return since >= (min(SOON, self.settings.refresh) if is_new else self.settings.refresh)

    def ask(self, wanted: Collection[str]) -> Found:
        """Ask the directory, and keep the answer. Raises `DirectoryError`; what was known stays. Blocks."""
        now = self._clock.now()
        self.standing.tried_at = now
        try:
            found = self.directory.ask(frozenset(wanted), self.settings.timeout.total_seconds())
            answer = Kept(answered_at=now, members=found.members, unknown=found.unknown)
            kept.write(self._path, answer, self.settings.meaning)
        except (DirectoryError, OSError) as error:
            fault = str(error) if isinstance(error, DirectoryError) else f"{self._path} cannot be written: {error}"
            self.standing.fault = fault
            self.standing.silent_since = self.standing.silent_since or now
            raise DirectoryError(fault) from error
        self.standing.fault, self.standing.silent_since, self.standing.notes = "", None, found.notes
        return found

    def _known(self) -> Kept | None:
        """The last answer, unless it is too old."""
        found = self._kept
        return found if found is not None and self._clock.now() - found.answered_at < self.settings.keep else None

    def _load(self) -> None:
        mark = self._mark()
        if mark == self._read_at and self._kept is not None:
            return
        self._read_at = mark
        if mark is None:  # it is gone, and what is known stays known
            return
        try:
            self._kept, self.unusable = kept.read(self._path, self.settings.meaning) or self._kept, ""
        except kept.NotUsable as error:
            self.unusable = str(error)

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except (OSError, ValueError):
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
