"""Names and pseudonyms, for commands of whoever has the key: what a person or a device is called in each quarter."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.identities import IdentityMap, read_identities
from gatekeeper.audit.decided import Decided
from gatekeeper.audit.pseudonyms import PSEUDONYM, Kind
from gatekeeper.campaign.rehearsal import Named
from gatekeeper.config.load import load
from gatekeeper.domain.document import DocumentError


def identities_of(config_path: Path | None) -> IdentityMap | None:
    """The identity map of the configuration; None: there is none, or the key is not for this account.

    Raises:
        AuditLogError: it is there, and cannot be used.
    """
    if config_path is None or not config_path.exists():
        return None
    try:
        audit = load(config_path, os.environ).audit
    except DocumentError:
        return None
    return read_identities(audit.identity_map, audit.identity_key)


def pseudonyms_of(account: str | None, device: str | None) -> frozenset[str]:
    """What a command looks for besides the names; none without the key, and a note when that cannot be used."""
    if account is None and device is None:
        return frozenset()
    context = click.get_current_context(silent=True)
    try:
        names = identities_of(None if context is None else context.obj)
        if names is None:
            return frozenset()
        with closing(names):
            found = set() if account is None else set(names.known_as(Kind.PERSON, account))
            return frozenset(found if device is None else {*found, *names.known_as(Kind.DEVICE, device)})
    except AuditLogError as error:
        click.echo(f"note: only records with the name itself are found, none with pseudonyms: {error}", err=True)
        return frozenset()


@contextmanager
def naming(config_path: Path | None) -> Iterator[Named]:
    """What puts names in the place of the pseudonyms of recorded decisions, for them to be performed again.

    Nothing of it is shown: reports keep the pseudonyms.
    """
    try:
        names = identities_of(config_path)
    except AuditLogError as error:
        click.echo(f"note: pseudonyms cannot be resolved: {error}", err=True)
        names = None
    known: dict[str, str | None] = {}

    def name(found: str | None) -> str | None:
        if found is None or not PSEUDONYM.fullmatch(found):
            return found
        if found not in known:
            known[found] = None if names is None else names.name_of(found)
        return known[found]

    def named(decided: Decided) -> Decided | None:
        in_it = (decided.account, decided.device, decided.claimed_device, *(one for one, _ in decided.judged or ()))
        if not any(one is not None and PSEUDONYM.fullmatch(one) for one in in_it):
            return decided  # hundreds of thousands have none
        account, device, claimed = name(decided.account), name(decided.device), name(decided.claimed_device)
        judged = None if decided.judged is None else [(name(one), revision) for one, revision in decided.judged]
        is_known = account is not None and (device is None) == (decided.device is None)
        is_known = is_known and (claimed is None) == (decided.claimed_device is None)
        if account is None or not is_known or any(one is None for one, _ in judged or ()):
            return None
        whose = None if judged is None else tuple((one or "", revision) for one, revision in judged)
        return decided._replace(account=account, device=device, claimed_device=claimed, judged=whose)

    try:
        yield named
    finally:
        if names is not None:
            names.close()
