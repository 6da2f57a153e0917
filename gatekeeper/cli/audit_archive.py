"""The archive, for commands that perform decisions again, or see to what leaves it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.secret_key import load_secret
from gatekeeper.adapters.stores.archive import Archive, ArchiveError
from gatekeeper.campaign.ledger import Elsewhere
from gatekeeper.campaign.outline import Outline
from gatekeeper.cli.words import EXIT_FAILED, fail
from gatekeeper.config.load import load
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import Case, IdentitySettings, Plus
from gatekeeper.domain.posture import Posture


def archive_of(config_path: Path) -> Archive | None:
    """The archive of the configuration; None: there is none, or no key.

    Raises:
        AuditLogError: its key cannot be used.
        ArchiveError: it is there, and cannot be used.
    """
    try:
        audit = load(config_path, os.environ).audit
    except DocumentError:
        return None
    key = load_secret(audit.archive_key) if audit.archive_file.exists() else None
    return None if key is None else Archive(audit.archive_file, key, is_new=False)


@contextmanager
def archived(config_path: Path) -> Iterator[Archive | None]:
    """The archive for the time of a block; what keeps it from being used is a note."""
    try:
        archive = archive_of(config_path)
    except (AuditLogError, ArchiveError) as error:
        click.echo(f"note: the archive is left out: {error}", err=True)
        archive = None
    try:
        yield archive
    except ArchiveError as error:
        fail(str(error), code=EXIT_FAILED)
    finally:
        if archive is not None:
            archive.close()


def archived_policies(archive: Archive) -> dict[str, Policy]:
    """Every policy that was in force, by its digest. Raises ArchiveError."""
    found = {}
    for kept in archive.policies():
        try:
            policy = parse_policy(kept.text, source=f"archived {kept.sha256[:16]}", names=_identity(kept.names))
        except (DocumentError, ValueError, KeyError) as error:
            click.echo(f"note: the archived policy {kept.sha256[:16]} is left out: {error}", err=True)
            continue
        found[policy.sha256] = policy
    return found


def kept_in(archive: Archive | None, outline: Outline) -> Elsewhere | None:
    """Where a replay finds postures that the store does not know any more; it may raise ArchiveError."""
    if archive is None:
        return None

    def elsewhere(device_id: str, revision: int) -> Posture | None:
        found = archive.posture(device_id, revision)
        if found is None or found.result is None:
            return found
        apps = found.result.apps
        kept = outline.of(filter(outline.means, apps.apps), apps.absences, len(apps))
        return replace(found, result=replace(found.result, apps=kept))

    return elsewhere


def _identity(text: str) -> IdentitySettings:
    said = json.loads(text)
    return IdentitySettings(**{**said, "case": Case(said["case"]), "plus": Plus(said["plus"])})
