"""What commands on policies ask the directory of groups: who is in them, and whether it has them at all."""

from collections.abc import Mapping

import click

from gatekeeper.adapters.groups.asked import LEARN_WITHIN_S
from gatekeeper.cli.words import EXIT_CONFIG, fail
from gatekeeper.config.settings import Settings
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.ports.groups import DirectoryError
from gatekeeper.server.group_source import learn_members, open_directory, open_groups, places


def members_of(settings: Settings, *policies: Policy) -> Mapping[str, frozenset[str]]:
    """Who is in the groups that these policies name: the last answer that the gate had, and what that does not have.

    What stays unknown is said on stderr. Ends the command when the file of groups is bad.
    """
    try:
        members, unknown = learn_members(open_groups(settings), places(policies))
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_CONFIG)
    for line in unknown:
        click.echo(f"warning: who is in a group is not known, so rules for it count for everybody: {line}", err=True)
    return members


def concerns(policy: Policy, settings: Settings) -> tuple[Fault, ...]:
    """The groups of a policy that the directory does not have, as it is now."""
    names = {place: name for name, place in policy.directory_groups.items()}
    if not names:
        return ()
    groups, asked = open_groups(settings), settings.groups.asked
    if groups is None:
        return (Fault(policy.source, "groups", "come from a directory, and the configuration names none in [groups]"),)
    if asked is None:
        return tuple(Fault(policy.source, "groups", line) for line in groups.learn(names))
    directory = open_directory(asked.directory, settings.accounts.names)
    try:
        found = directory.ask(names, min(LEARN_WITHIN_S, asked.timeout.total_seconds()))
    except DirectoryError as error:
        return (Fault(policy.source, "groups", f"the directory cannot be asked: {error}"),)
    return tuple(
        Fault(policy.source, f"groups.{names[place]}", f"`{place}` in the directory: {reason}")
        for place, reason in sorted(found.unknown.items())
    )
