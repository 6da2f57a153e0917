"""What the commands on bundles share: the configuration, the store, files."""

from dataclasses import dataclass
from pathlib import Path

from gatekeeper.adapters.bundles.durable import replace
from gatekeeper.adapters.bundles.store import BundleStore
from gatekeeper.cli.named import named_octets, unwritable
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_FAILED, EXIT_TRY_AGAIN, fail, load_settings
from gatekeeper.config.settings import BundleSettings, Settings
from gatekeeper.domain.document import DocumentError
from gatekeeper.publishing.approval import Approved
from gatekeeper.publishing.bundle import MAX_BUNDLE_OCTETS, Bundle, BundleError, parse_bundle
from gatekeeper.server.policy_source import approved_now


@dataclass(frozen=True, slots=True)
class Desk:
    """The configuration of a site whose policies are bundles, and its store."""

    settings: Settings
    bundles: BundleSettings
    store: BundleStore

    @property
    def next_version(self) -> int:
        """One above everything that is published."""
        return max(self.versions(), default=0) + 1

    def versions(self) -> tuple[int, ...]:
        """What is published, rising; ends the command when that cannot be read."""
        try:
            return self.store.versions()
        except OSError as error:
            fail(f"`{self.store.directory}` cannot be read: {error.strerror}", code=EXIT_TRY_AGAIN)

    def published(self, version: int) -> Bundle:
        """A published bundle, verified as far as its form goes; ends the command when there is none."""
        try:
            return parse_bundle(self.store.read(version))
        except FileNotFoundError:
            fail(f"there is no version {version}: `gatekeeper policy status` lists them", code=EXIT_FAILED)
        except (OSError, BundleError) as error:
            fail(f"version {version}: {error}", code=EXIT_FAILED)

    def in_force(self) -> Approved | None:
        """The version that rules for everybody, or for all but a share."""
        try:
            return approved_now(self.bundles, self.settings)
        except DocumentError:
            return None


def desk(config_path: Path) -> Desk:
    """What the commands work on; ends the command where the policy is a single file."""
    settings = load_settings(config_path)
    if settings.bundles is None:
        fail(
            f"{config_path}: the policy is the file `{settings.policy_file}`, put in force by `gatekeeper reload`; "
            "to have bundles, add [policy.bundles] with origin, threshold and approvers",
            code=EXIT_CONFIG,
        )
    return Desk(settings, settings.bundles, BundleStore(settings.bundles.directory))


def read_bundle(path: Path) -> Bundle:
    """A bundle that is not published; ends the command when the file is none."""
    try:
        return parse_bundle(read_octets(path))
    except BundleError as error:
        fail(f"`{path}` {error}", code=EXIT_FAILED)


def read_octets(path: Path) -> bytes:
    """A named file, at most one octet more than a bundle can have; ends the command when it cannot be read."""
    return named_octets(path, MAX_BUNDLE_OCTETS)


def read_draft(settings: Settings) -> bytes:
    """The configured policy file; ends the command when it cannot be read."""
    try:
        with settings.policy_file.open("rb") as stream:
            return stream.read(MAX_BUNDLE_OCTETS + 1)
    except OSError as error:
        reason = f"`{settings.policy_file}` cannot be read: {error.strerror}"
        fail(f"{settings.source}: policy.file: {reason}", code=EXIT_CONFIG)


def write_bundle(path: Path, data: bytes) -> None:
    """Put a bundle in its place; ends the command when it cannot be written."""
    try:
        replace(path, data)
    except OSError as error:
        unwritable(path, error)
