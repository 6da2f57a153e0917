"""`gatekeeper audit resolve` and `audit erase`: whose a pseudonym is, and to make that unknowable for good.

Inside holds: that somebody asks is on record, with who and why, before the answer is given; what cannot be recorded is
not answered.
"""

import re
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.identities import IdentityMap
from gatekeeper.adapters.sinks.pruning import read_holds
from gatekeeper.adapters.stores.archive import ArchiveError
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.pseudonyms import PSEUDONYM, Kind
from gatekeeper.audit.record import clean, milliseconds
from gatekeeper.audit.retention import Hold
from gatekeeper.audit.stored import read, stamp
from gatekeeper.audit.wanted import Wanted
from gatekeeper.cli.audit_archive import archive_of
from gatekeeper.cli.audit_filters import searching
from gatekeeper.cli.audit_names import identities_of
from gatekeeper.cli.audit_options import audit_directory, existing, reason
from gatekeeper.cli.recording import record_on_log, whoever
from gatekeeper.cli.words import EXIT_FAILED, EXIT_INCOMPLETE, fail, identity_settings
from gatekeeper.domain.identity import canonical_account
from gatekeeper.server.clock import SystemClock

_MAX_TEXT = 400
_NO_MAP = "there is no identity map, or not its key: `audit.identity_map`, `audit.identity_key`"


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

    What was archived of these devices is removed too, so that decisions about them cannot be performed again.
    The records stay, and so does every proof. Nobody can tell any more whose they are, unless whoever has the key tries
    the very name: the key of a quarter is destroyed when all of its records are older than the retention.
    Names that stand in records in clear (`audit.privacy = "names"`) cannot be erased. A legal hold on any of the
    records keeps the names as well.

    Exit codes: 0 erased, 1 it is held, or cannot be recorded or done, 2 wrong usage, 3 there was nothing of them.
    """
    directory = existing(audit_directory(context))
    account = canonical_account(user, identity_settings(context.obj))
    if account is None:
        raise click.BadParameter(f"`{user}` is no mail login that the gate would accept")
    with ExitStack() as stack:
        try:
            names, archive = identities_of(context.obj), archive_of(context.obj)
            for opened in (names, archive):
                if opened is not None:
                    stack.callback(opened.close)
            if names is None and archive is None:
                fail(f"{_NO_MAP}; and there is no archive", code=EXIT_FAILED)
            found, ids, held = _theirs(directory, account, devices, names)
            if held:
                fail(f"nothing is erased: {held[0].id} keeps records of theirs: {held[0].reason}", code=EXIT_FAILED)
            detail: dict[str, str | int] = {"pseudonyms_n": len(found), "devices_n": len(ids)}
            detail |= {"reason": clean(why, _MAX_TEXT), "by": whoever()}
            if not record_on_log(context.obj, directory, EventCode.IDENTITY_ERASED, detail):
                fail("nothing is erased, for it cannot be recorded", code=EXIT_FAILED)
            postures = 0 if archive is None else archive.erase(ids)
            erased = 0 if names is None else names.erase(found, milliseconds(SystemClock().now()))
        except (AuditLogError, ArchiveError) as error:
            fail(str(error), code=EXIT_FAILED)
    click.echo(f"{erased} names erased, behind {len(found)} pseudonyms; {postures} archived postures of their devices")
    if not erased and not postures:
        raise SystemExit(EXIT_INCOMPLETE)


def _theirs(
    directory: Path, account: str, devices: tuple[str, ...], names: IdentityMap | None
) -> tuple[set[str], set[str], list[Hold]]:
    """The pseudonyms of a person, their devices and clients, the ids of the devices, and what holds their records.

    Of other people nothing.
    """
    found, ids, holds, held = set[str](), set(devices), read_holds(directory), dict[str, Hold]()
    if names is not None:
        found |= {*names.known_as(Kind.PERSON, account)}
        found |= {one for device in devices for one in names.known_as(Kind.DEVICE, device)}
    with searching(directory, Wanted(account=account, also=frozenset(found)), without_index=False) as search:
        for line in search.all():
            pseudonyms, record = set(_found(line.decode("utf-8", "replace"))), read(line)
            held |= {hold.id: hold for hold in holds if hold.covers(record.time_ms, record.time_ms)}
            found |= {one for one in pseudonyms if one[0] != Kind.PERSON}
            if not pseudonyms:
                judged = {one.rpartition("@")[0] for one in record.texts("judged")}
                ids |= judged | ({record.device} if record.device is not None else set())
    if names is not None:
        ids |= {name for one in found if one[0] == Kind.DEVICE and (name := names.name_of(one)) is not None}
    return found, ids, list(held.values())


def _found(text: str) -> Iterable[str]:
    return (match[0] for match in re.finditer(PSEUDONYM, text))


def _identities(config_path: Path) -> IdentityMap:
    try:
        names = identities_of(config_path)
    except AuditLogError as error:
        fail(str(error), code=EXIT_FAILED)
    if names is None:
        fail(_NO_MAP, code=EXIT_FAILED)
    return names
