"""`gatekeeper audit resolve` and `audit erase`: whose a pseudonym is, and to make that unknowable for good.

Inside holds: that somebody asks is on record, with who and why, before the answer is given; what cannot be recorded is
not answered.
"""

import re
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.identities import IdentityMap
from gatekeeper.adapters.sinks.search import Search
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.pseudonyms import PSEUDONYM, Kind
from gatekeeper.audit.record import clean, milliseconds
from gatekeeper.audit.stored import stamp
from gatekeeper.audit.wanted import Wanted
from gatekeeper.cli.audit_filters import searching
from gatekeeper.cli.audit_names import identities_of
from gatekeeper.cli.audit_options import audit_directory, existing, reason
from gatekeeper.cli.recording import record_on_log, whoever
from gatekeeper.cli.words import EXIT_FAILED, EXIT_INCOMPLETE, fail, identity_settings
from gatekeeper.domain.identity import canonical_account
from gatekeeper.server.clock import SystemClock

_MAX_TEXT = 400


def _pseudonym(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not PSEUDONYM.fullmatch(value):
        raise click.BadParameter(f"`{value[:80]}` is no pseudonym such as u2026q4:5f0c…, with 32 digits")
    return value


@click.command("resolve")
@click.argument("pseudonym", callback=_pseudonym)
@reason
@click.pass_context
def resolve(context: click.Context, pseudonym: str, why: str) -> None:
    """Tell whose a pseudonym is. That you asked, and why, stands in the log before you are told.

    Exit codes: 0 told, 1 it cannot be recorded or looked up, 2 wrong usage, 3 there is no name: erased, or unknown.
    """
    directory = existing(audit_directory(context))
    with closing(_identities(context.obj)) as names:
        try:
            name, erased_ms = names.name_of(pseudonym), names.erased_ms(pseudonym)
        except AuditLogError as error:
            fail(str(error), code=EXIT_FAILED)
    outcome = "named" if name is not None else "unknown" if erased_ms is None else "erased"
    detail: dict[str, str | int] = {"pseudonym": pseudonym, "outcome": outcome, "reason": clean(why, _MAX_TEXT)}
    if not record_on_log(context.obj, directory, EventCode.IDENTITY_RESOLVED, {**detail, "by": whoever()}):
        fail("it is not told, for that it was asked cannot be recorded", code=EXIT_FAILED)
    if name is not None:
        click.echo(clean(name))
        return
    if erased_ms is not None:
        fail(f"the name was erased at {stamp(erased_ms)}", code=EXIT_INCOMPLETE)
    fail("no name is known for it: it was never in this map, or the names of its quarter were destroyed", code=3)


@click.command("erase")
@click.argument("user")
@reason
@click.option("--device", "devices", multiple=True, help="Also this device, though no record says that it is theirs.")
@click.pass_context
def erase(context: click.Context, user: str, why: str, devices: tuple[str, ...]) -> None:
    """Erase who somebody is behind the pseudonyms of the log: USER, and the devices and clients in their records.

    The records stay, and so does every proof. Nobody can tell any more whose they are, unless whoever has the key tries
    the very name: the key of a quarter is destroyed when all of its records are older than the retention.
    Names that stand in records in clear (`audit.privacy = "names"`) cannot be erased.

    Exit codes: 0 erased, 1 it cannot be recorded or done, 2 wrong usage, 3 no name was there.
    """
    directory = existing(audit_directory(context))
    account = canonical_account(user, identity_settings(context.obj))
    if account is None:
        raise click.BadParameter(f"`{user}` is no mail login that the gate would accept")
    with closing(_identities(context.obj)) as names:
        try:
            people = set(names.known_as(Kind.PERSON, account))
            found = {*people, *(one for device in devices for one in names.known_as(Kind.DEVICE, device))}
            with searching(directory, Wanted(account=account, also=frozenset(people)), without_index=False) as search:
                found |= _beside(search)
            known = sum(names.name_of(one) is not None for one in found)
            detail: dict[str, str | int] = {
                "pseudonyms_n": len(found),
                "names_n": known,
                "reason": clean(why, _MAX_TEXT),
            }
            if not record_on_log(context.obj, directory, EventCode.IDENTITY_ERASED, {**detail, "by": whoever()}):
                fail("nothing is erased, for it cannot be recorded", code=EXIT_FAILED)
            erased = names.erase(found, milliseconds(SystemClock().now()))
        except AuditLogError as error:
            fail(str(error), code=EXIT_FAILED)
    click.echo(f"{erased} names erased, behind {len(found)} pseudonyms")
    if not erased:
        raise SystemExit(EXIT_INCOMPLETE)


def _beside(search: Search) -> set[str]:
    """The pseudonyms of devices and clients in somebody's records; other people in them are other people."""
    return {one for line in search.all() for one in _found(line.decode("utf-8", "replace")) if one[0] != Kind.PERSON}


def _found(text: str) -> Iterable[str]:
    return (match[0] for match in re.finditer(PSEUDONYM, text))


def _identities(config_path: Path) -> IdentityMap:
    try:
        names = identities_of(config_path)
    except AuditLogError as error:
        fail(str(error), code=EXIT_FAILED)
    if names is None:
        fail("there is no identity map, or not its key: `audit.identity_map`, `audit.identity_key`", code=EXIT_FAILED)
    return names
