"""The groups of a directory as the gate sees them: who is in which, for rules that name a group of the directory."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol


class Groups(Protocol):
    """One source of groups: a file, or a directory that is asked."""

    def has_changed(self) -> bool:
        """Whether `members` may say something else than it last did; cheap, asked every second."""
        ...

    def members(self) -> Mapping[str, frozenset[str]]:
        """Canonical accounts by the directory's name of the group. May block on the disk.

        Raises `domain.document.DocumentError` with everything that is wrong; a group that is not in the answer has
        members who are not known.
        """
        ...

    def learn(self, wanted: Collection[str]) -> tuple[str, ...]:
        """Find out about those of these groups of which nothing is known, so that `members` has them.

        Returns what stays unknown and why, a line each. May block on the network, for seconds. Never raises for a
        directory that does not answer.
        """
        ...


class DirectoryError(Exception):
    """A directory does not answer, or not as it should; one line for operators, without any secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A directory's whole answer."""

    members: Mapping[str, frozenset[str]]
    """Canonical accounts by the directory's name of the group."""
    unknown: Mapping[str, str]
    """Groups that were asked for and of which the members cannot be known, and why."""
    notes: tuple[str, ...] = ()
    """What an operator may want to know, a line each; no names of people."""


class Directory(Protocol):
    """What can be asked who is in a group."""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        ...

    def ask(self, wanted: Collection[str], within_s: float) -> Found:
        """Who is in these groups: a whole answer. Raises `DirectoryError`. Blocks, no longer than `within_s`."""
        ...

    def give_up(self) -> None:
        """End an `ask` that is under way in another thread: it raises."""
        ...
