"""Where the groups of the directory come from, and who is in them: nobody is known without a source."""

from collections.abc import Mapping
from types import MappingProxyType

from gatekeeper.adapters.groups.file import GroupFile
from gatekeeper.config.settings import Settings
from gatekeeper.ports.groups import Groups

NOBODY: Mapping[str, frozenset[str]] = MappingProxyType({})


def open_groups(settings: Settings) -> Groups | None:
    """The source of groups that is configured."""
    return None if settings.groups_file is None else GroupFile(settings.groups_file, settings.accounts.names)


def read_members(groups: Groups | None) -> Mapping[str, frozenset[str]]:
    """The members now; none without a source. Raises `DocumentError`. May block."""
    return NOBODY if groups is None else groups.members()
