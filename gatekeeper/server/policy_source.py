"""Where the policy of a configuration is: in a file, or the newest approved bundle of a store. Blocks on the disk."""

from dataclasses import dataclass
from pathlib import Path

from gatekeeper.adapters.bundles.store import BundleStore
from gatekeeper.config.settings import BundleSettings, Settings
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.ports.clock import Clock
from gatekeeper.publishing.approval import Approved, Refused, approve
from gatekeeper.server.group_source import learn_members, open_groups, places
from gatekeeper.server.publications import NOTHING_NEW, Look, Publications, all_good, newest_good
from gatekeeper.server.rollouts import Rollouts, last_good

MAX_POLICY_OCTETS = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A policy that may come into force, and where further ones come from."""

    policy: Policy
    publications: Publications | None = None
    """None: the policy is a file."""
    look: Look = NOTHING_NEW
    """What was found in the store."""
    rollouts: Rollouts | None = None
    """How they come to everybody."""

    @property
    def places(self) -> frozenset[str]:
        """The directory's groups that the policies name which rule, or soon will."""
        coming = (self.rollouts.base, self.rollouts.newest) if self.rollouts is not None else ()
        return places((self.policy, *(approved.policy for approved in coming if approved is not None)))


def load_policy(path: Path, names: IdentitySettings) -> Policy:
    """Read and compile a policy, its accounts canonical by `names`; raises `DocumentError` with all of its faults."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_OCTETS + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DocumentError([Fault(str(path), "", f"cannot be read: {reason}")]) from error
    if len(data) > MAX_POLICY_OCTETS:
        raise DocumentError([Fault(str(path), "", f"larger than {MAX_POLICY_OCTETS} octets")])
    return parse_policy(data, source=str(path), names=names)


def read_source(settings: Settings, clock: Clock) -> Source:
    """The policy of a configuration; raises `DocumentError`. Blocks on the disk."""
    if settings.bundles is None:
        return Source(load_policy(settings.policy_file, settings.accounts.names))
    publications = Publications(settings.bundles, settings.accounts.names, settings.state_directory)
    look = publications.start()
    rollouts = Rollouts(settings.bundles.canary, publications, settings.state_directory, clock)
    rollouts.resume()
    base = rollouts.base or look.accepted[-1]
    return Source(base.policy, publications, look, rollouts)


def policy_now(settings: Settings) -> Policy:
    """The policy that rules for everybody, or for all but a share, with the members of the directory's groups.

    Changes nothing; asks a directory for what is not known. Raises DocumentError.
    """
    policy = policy_in_force(settings)
    return policy.with_groups(learn_members(open_groups(settings), places([policy]))[0])


def policy_in_force(settings: Settings) -> Policy:
    """That policy, without knowing who is in the directory's groups. Raises DocumentError."""
    if settings.bundles is None:
        return load_policy(settings.policy_file, settings.accounts.names)
    return approved_now(settings.bundles, settings).policy


def approved_now(bundles: BundleSettings, settings: Settings) -> Approved:
    """The bundle of that policy. Raises DocumentError."""
    newest = newest_good(bundles, settings.accounts.names)
    version = last_good(settings.state_directory, newest.statement.version)
    if version == newest.statement.version:
        return newest
    try:
        data = BundleStore(bundles.directory).read(version)
        return approve(data, bundles.approvers, settings.accounts.names)
    except (OSError, Refused) as error:
        raise DocumentError([Fault(str(bundles.directory), f"version {version}", str(error))]) from error


def policies_by_digest(settings: Settings) -> dict[str, Policy]:
    """Every policy that is at hand, by the digest that records name: the one in force, and all approved versions.

    Raises DocumentError when there is none in force; a version that is no good any more is left out.
    """
    newest = policy_in_force(settings)
    found = {newest.sha256: newest}
    if settings.bundles is not None:
        for approved in all_good(settings.bundles, settings.accounts.names):
            found.setdefault(approved.policy.sha256, approved.policy)
    return found
