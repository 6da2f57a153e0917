"""The groups of a directory as the gate sees them: who is in which, for rules that name a group of the directory."""

from collections.abc import Mapping
from typing import Protocol


class Groups(Protocol):
    """One source of groups. A file in this version; SCIM and LDAP fit behind the same two calls."""

    def has_changed(self) -> bool:
        """Whether `members` may say something else than it last did; cheap, asked every second."""
        ...

    def members(self) -> Mapping[str, frozenset[str]]:
        """Canonical accounts by the directory's name of the group. May block.

        Raises `domain.document.DocumentError` with everything that is wrong; a group that is not in the answer has
        members who are not known.
        """
        ...
