"""Where the policy of a configuration is: in a file, or the newest approved bundle of a store. Blocks on the disk."""

from dataclasses import dataclass
from pathlib import Path

from gatekeeper.config.settings import Settings
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.server.publications import NOTHING_NEW, Look, Publications, all_good, newest_good

MAX_POLICY_OCTETS = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A policy that may come into force, and where further ones come from."""

    policy: Policy
    publications: Publications | None = None
    """None: the policy is a file."""
    look: Look = NOTHING_NEW
    """What was found in the store."""


def load_policy(path: Path, names: IdentitySettings) -> Policy:
    """Read and compile a policy, its accounts canonical by `names`; raises `DocumentError` with all of its faults."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DocumentError([Fault(str(path), "", f"cannot be read: {reason}")]) from error
    if len(data) > MAX_POLICY_OCTETS:
        raise DocumentError([Fault(str(path), "", f"larger than {MAX_POLICY_OCTETS} octets")])
    return parse_policy(data, source=str(path), names=names)


def read_source(settings: Settings) -> Source:
    """The policy of a configuration; raises `DocumentError`. Blocks on the disk."""
    if settings.bundles is None:
        return Source(load_policy(settings.policy_file, settings.accounts.names))
    publications = Publications(settings.bundles, settings.accounts.names, settings.state_directory)
    look = publications.start()
    return Source(look.accepted[-1].policy, publications, look)


def policy_now(settings: Settings) -> Policy:
    """The policy that a gate which starts now would take, for commands; changes nothing. Raises DocumentError."""
    if settings.bundles is None:
        return load_policy(settings.policy_file, settings.accounts.names)
    return newest_good(settings.bundles, settings.accounts.names).policy


def policies_by_digest(settings: Settings) -> dict[str, Policy]:
    """Every policy that is at hand, by the digest that records name: the one in force, and all approved versions.

    Raises DocumentError when there is none in force; a version that is no good any more is left out.
    """
    newest = policy_now(settings)
    found = {newest.sha256: newest}
    if settings.bundles is not None:
        for approved in all_good(settings.bundles, settings.accounts.names):
            found.setdefault(approved.policy.sha256, approved.policy)
    return found
