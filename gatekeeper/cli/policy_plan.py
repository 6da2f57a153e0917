"""`gatekeeper policy plan`: what a policy would do, to whom and when, before anyone is touched."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.population import SqlPopulation
from gatekeeper.campaign.chart import Line, running, svg
from gatekeeper.campaign.classes import Asked
from gatekeeper.campaign.dates import EXACT_REPORTS, coming
from gatekeeper.campaign.outline import Outline
from gatekeeper.campaign.plan import Plan, Question
from gatekeeper.campaign.planner import Planner
from gatekeeper.cli.directory import members_of
from gatekeeper.cli.named import InputFile, named_octets, unwritable
from gatekeeper.cli.plan_words import plan_document, say_plan
from gatekeeper.cli.progress import progress
from gatekeeper.cli.store import in_store, store_option
from gatekeeper.cli.words import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_USAGE,
    fail,
    identity_settings,
    load_settings,
    say_json,
    settings_if_good,
)
from gatekeeper.config.settings import Settings
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.document import DocumentError, parse_duration, parse_instant
from gatekeeper.domain.identity import IdentitySettings, canonical_account
from gatekeeper.domain.request import MailProtocol
from gatekeeper.ports.population import Sighting
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.policy_source import load_policy, policy_in_force

_MAX_WATCHED_OCTETS = 4 * 1024 * 1024
_BACK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class _Wanted:
    in_force: Policy
    candidate: Policy
    asked: Asked
    now: datetime
    until: datetime | None
    watched: frozenset[str]


def _until(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | timedelta | None:
    if value is None:
        return None
    found = parse_duration(value) or parse_instant(value)
    if found is None:
        raise click.BadParameter(
            f"`{value}` is neither a time such as 2026-12-24T09:00:00+01:00 nor a duration such as 30d"
        )
    return found


@click.command("plan")
@click.argument("candidate", required=False, type=InputFile())
@click.option("--against", type=InputFile(), help="The policy in force (default: the configured one).")
@click.option(
    "--protocol",
    type=click.Choice([protocol.value for protocol in MailProtocol]),
    default=MailProtocol.IMAP.value,
    show_default=True,
)
@click.option(
    "--listener", metavar="NAME", help="The listener that the sessions came to (default: the first of the protocol)."
)
@click.option("--until", callback=_until, metavar="TIME", help="Look so far ahead: a time, a date, or `30d`.")
@click.option(
    "--reporting", "is_reporting", is_flag=True, help="Assume that devices go on reporting what they report now."
)
@click.option(
    "--watch",
    type=InputFile(),
    metavar="FILE",
    help="Protected people, one mail login a line; exit code 1 when any of them is hit.",
)
@click.option(
    "--names", type=click.IntRange(0), default=50, show_default=True, help="Print so many names of each kind."
)
@click.option("--svg", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the burn-down to a file.")
@store_option
@click.option("--json", "as_json", is_flag=True, help="For machines, with all names.")
@click.pass_obj
def plan(  # noqa: PLR0913, PLR0917  one for each option
    config_path: Path,
    candidate: Path | None,
    against: Path | None,
    protocol: str,
    listener: str | None,
    until: datetime | timedelta | None,
    watch: Path | None,
    *,
    is_reporting: bool,
    names: int,
    picture: Path | None,
    store: str | None,
    as_json: bool,
) -> None:
    """What CANDIDATE would do to the inventory on record, now and at each coming date. Nothing is changed.

    Without CANDIDATE: what the policy in force will do. Exit codes: 0 planned, 1 a protected person is hit, 2 wrong
    usage, 78 the policy in force or the configuration is bad.

    \b
    Examples:
      gatekeeper policy plan new-policy.toml --reporting --watch board.txt
      gatekeeper policy plan new-policy.toml --until 60d --svg burn-down.svg
    """  # noqa: D301  click's paragraph mark
    names_settings = identity_settings(config_path)
    now, kind = SystemClock().now(), MailProtocol(protocol)
    if against is not None:
        settings = settings_if_good(config_path)
        in_force = _load(against, names_settings, EXIT_CONFIG)
    else:
        settings = load_settings(config_path)
        in_force = _in_force(settings)
    if settings is not None:
        listener = listener or settings.first_listener(kind)
    proposed = in_force if candidate is None else _load(candidate, names_settings, EXIT_USAGE)
    members = {} if settings is None else members_of(settings, in_force, proposed)
    wanted = _Wanted(
        in_force=in_force.with_groups(members),
        candidate=proposed.with_groups(members),
        asked=Asked(kind, listener or protocol, reporting_since=now if is_reporting else None),
        now=now,
        until=now + until if isinstance(until, timedelta) else until,
        watched=_watched(watch, names_settings) if watch else frozenset(),
    )
    if wanted.until is not None and wanted.until <= now:
        raise click.BadParameter("lies in the past", param_hint="--until")

    async def work(engine: AsyncEngine) -> tuple[Plan, tuple[Sighting, ...]]:
        return await _plan(engine, wanted, is_history_wanted=picture is not None or not as_json)

    found, sightings = in_store(config_path, store, work)
    if not found.devices:
        click.echo("note: no device is registered, so nobody can be hit: `gatekeeper inventory import FILE`", err=True)
    lines = _burn_down(found, sightings, now)
    if picture is not None:
        _draw(picture, svg(lines, title="Devices that have a denied app, and devices that rules block", now=now))
    if as_json:
        say_json(plan_document(found, lines))
    else:
        say_plan(found, lines, names=names)
    if found.is_watched_hit:
        raise SystemExit(EXIT_FAILED)


async def _plan(engine: AsyncEngine, wanted: _Wanted, *, is_history_wanted: bool) -> tuple[Plan, tuple[Sighting, ...]]:
    policies = (wanted.in_force, wanted.candidate)
    outline = Outline(policies)
    async with SqlPopulation(engine).snapshot() as snapshot:
        reports = await snapshot.collected(EXACT_REPORTS) if wanted.asked.reporting_since is None else ()
        dates = coming(policies, wanted.now, wanted.until, reports)
        planner = Planner(
            Question(
                in_force=wanted.in_force,
                candidate=wanted.candidate,
                asked=wanted.asked,
                dates=dates,
                watched=wanted.watched,
            )
        )
        with progress(await snapshot.size(), "planning") as advance:
            async for people in snapshot.people(outline):
                for account, postures in people:
                    planner.take(account, postures)
                advance(sum(len(postures) for _, postures in people))
        sightings = await snapshot.sightings(Outline((wanted.candidate,))) if is_history_wanted else ()
    return planner.plan(), sightings


def _burn_down(found: Plan, sightings: tuple[Sighting, ...], now: datetime) -> tuple[Line, ...]:
    dates = [date.at for date in found.question.dates]
    lines = []
    if sightings:
        points = running(((each.at, each.change) for each in sightings), now - _BACK, now)
        lines.append(Line("have an app that a rule means", "#1f6fb4", points))
    for title, colour, tallies in (
        ("blocked by rules in force", "#999999", found.in_force),
        ("blocked by rules of the candidate", "#c0392b", found.candidate),
    ):
        lines.append(
            Line(title, colour, tuple((at, tally.blocked_by_rules) for at, tally in zip(dates, tallies, strict=True)))
        )
    return tuple(lines)


def _in_force(settings: Settings) -> Policy:
    try:
        return policy_in_force(settings)
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_CONFIG)


def _load(path: Path, names: IdentitySettings, code: int) -> Policy:
    try:
        return load_policy(path, names)
    except DocumentError as error:
        fail(*map(str, error.faults), code=code)


def _watched(path: Path, names: IdentitySettings) -> frozenset[str]:
    """The accounts of a file; a line that is none ends the command: nobody may be unprotected by a slip of the pen."""
    data = named_octets(path, _MAX_WATCHED_OCTETS)
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        fail(f"{path}: is not UTF-8", code=EXIT_USAGE)
    if len(data) > _MAX_WATCHED_OCTETS:
        fail(f"{path}: larger than {_MAX_WATCHED_OCTETS} octets", code=EXIT_USAGE)
    found = set()
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        account = canonical_account(text, names)
        if account is None:
            fail(f"{path}: line {number}: `{text}` is no mail login that the gate would accept", code=EXIT_USAGE)
        found.add(account)
    if not found:
        fail(f"{path}: names nobody", code=EXIT_USAGE)
    return frozenset(found)


def _draw(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        unwritable(path, error)
