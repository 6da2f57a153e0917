"""Where the groups of the directory come from, and who is in them: nobody is known without a source."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from gatekeeper.adapters.groups.asked import AskedGroups
from gatekeeper.adapters.groups.file import GroupFile
from gatekeeper.adapters.groups.settings import LdapSettings, ScimSettings
from gatekeeper.config.settings import Settings
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.ports.groups import Directory, Groups
from gatekeeper.server.clock import SystemClock

STATE_FILE = "groups.json"
"""The last good answer of a directory, in the state directory."""

NOBODY: Mapping[str, frozenset[str]] = MappingProxyType({})


def open_groups(settings: Settings) -> Groups | None:
    """The source of groups that is configured."""
    names = settings.accounts.names
    if settings.groups.file is not None:
        return GroupFile(settings.groups.file, names)
    asked = settings.groups.asked
    if asked is None:
        return None
    path = settings.state_directory / STATE_FILE
    return AskedGroups(open_directory(asked.directory, names), path, asked, SystemClock())


def open_directory(settings: LdapSettings | ScimSettings, names: IdentitySettings) -> Directory:
    """The client; imported only where it is configured."""
    if isinstance(settings, LdapSettings):
        from gatekeeper.adapters.groups.ldap import LdapDirectory  # noqa: PLC0415  needs an extra

        return LdapDirectory(settings, names)
    from gatekeeper.adapters.groups.scim import ScimDirectory  # noqa: PLC0415  as above

    return ScimDirectory(settings, names)


def read_members(groups: Groups | None) -> Mapping[str, frozenset[str]]:
    """The members now; none without a source. Raises `DocumentError`. May block on the disk."""
    return NOBODY if groups is None else groups.members()


def learn_members(
    groups: Groups | None, wanted: Collection[str]
) -> tuple[Mapping[str, frozenset[str]], tuple[str, ...]]:
    """The members of these groups, of which a directory is asked what is not known, and what stays unknown and why.

    Raises `DocumentError`. May block for seconds, never for longer than the directory's timeout.
    """
    if groups is None or not wanted:
        return read_members(groups), ()
    unknown = groups.learn(wanted)
    return groups.members(), unknown


def places(policies: Iterable[Policy]) -> frozenset[str]:
    """The groups that policies take from the directory, by the directory's names."""
    return frozenset(place for policy in policies for place in policy.directory_groups.values())
