"""`gatekeeper device why`, also `policy explain`: why a person's mail goes through or not, in three depths.

For the help desk in sentences; for the person in plain words; for the operator predicate by predicate.
"""

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import click

from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.cli.directory import members_of
from gatekeeper.cli.named import InputFile
from gatekeeper.cli.store import duration_words, in_registry, store_option
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
from gatekeeper.decision.answer import answer
from gatekeeper.decision.decide import decide
from gatekeeper.decision.explain import explain
from gatekeeper.decision.policy import Policy
from gatekeeper.decision.tell import tell
from gatekeeper.decision.trace import DeviceTrace, RuleTrace, trace
from gatekeeper.domain.decision import Decision
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.document import DocumentError, parse_instant
from gatekeeper.domain.identity import canonical_account
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import MailProtocol, Request
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.policy_source import load_policy, policy_now

PAGE = 500
"""Devices read at once: some 50 MiB with their app lists."""

Command = TypeVar("Command", bound=Callable[..., None])

_ANSWERS = {True: "true", False: "false", None: "unknown"}


def account(context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """A mail login as it was typed, in canonical form."""
    if value is None:
        return None
    found = canonical_account(value, identity_settings(context.find_object(Path) or Path()))
    if found is None:
        raise click.BadParameter(f"`{value}` is no mail login that the gate would accept")
    return found


def instant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """An RFC 3339 time or a date, as aware UTC."""
    if value is None:
        return None
    found = parse_instant(value)
    if found is None:
        raise click.BadParameter(f"`{value}` is not a date or a time such as 2020-07-10T17:00:00-07:00")
    return found


def _zone(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tzinfo | None:
    if value is None:
        return None
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise click.BadParameter(f"`{value}` is no time zone such as Europe/Berlin") from None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, as the options say it."""

    user: str
    device_id: str | None
    protocol: str
    listener: str | None
    address: str
    languages: tuple[str, ...]
    at: datetime | None

    def request(self, settings: Settings | None) -> Request:
        """The session; where no listener is named it comes to the first of the protocol."""
        protocol = MailProtocol(self.protocol)
        return Request(
            account=self.user,
            protocol=protocol,
            listener=self.listener or (settings.first_listener(protocol) if settings else protocol.value),
            client_address=self.address,
            languages=self.languages,
        )


def why_options(command: Command) -> Command:
    """Add what names a session to ask about, and how the answer is wanted."""
    protocols = click.Choice([protocol.value for protocol in MailProtocol])
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For machines: all depths, as `GET /v1/decision`."),
        store_option,
        click.option("--all-rules", is_flag=True, help="For the operator: also rules that are not about the device."),
        click.option("--zone", callback=_zone, help="For the person: their time zone. Default: the rule's."),
        click.option(
            "--for",
            "depth",
            type=click.Choice(["help-desk", "person", "operator"]),
            default="help-desk",
            show_default=True,
            help="Sentences; plain words; every predicate.",
        ),
        click.option("--at", metavar="TIME", callback=instant, help="Ask about another time than now."),
        click.option("--language", "languages", multiple=True, help="That the person reads, preferred first."),
        click.option("--address", default="", help="Where the phone is."),
        click.option("--listener", help="Name of the listener. Default: the first of the protocol."),
        click.option("--protocol", type=protocols, default=MailProtocol.IMAP.value, show_default=True),
        click.option("--device", "device_id", metavar="ID", help="The session is tied to this device."),
        click.argument("user", callback=account),
    ):
        command = option(command)
    return command


@click.command()
@why_options
@click.option("--policy", "policy_file", type=InputFile(), help="Another policy than the configured.")
@click.pass_obj
def why(  # noqa: PLR0913  one for each option
    config_path: Path,
    /,
    *,
    depth: str,
    zone: tzinfo | None,
    all_rules: bool,
    store: str | None,
    policy_file: Path | None,
    as_json: bool,
    **asked: object,
) -> None:
    """Why USER's mail is, or would be, let through or blocked. Exit code 0: let through, 1: blocked.

    \b
    Examples:
      gatekeeper device why alice@example.com
      gatekeeper device why alice@example.com --for person --zone Europe/Berlin
      gatekeeper device why alice@example.com --for operator --device ph-001 --at 2020-07-11
    """  # noqa: D301  click's paragraph mark
    question = Question(**asked)  # type: ignore[arg-type]  # click has checked them
    now = question.at or SystemClock().now()
    policy, settings = _policy(config_path, policy_file)
    check_url = settings.check_url if settings else ""

    async def work(registry: SqlRegistry) -> Subject:
        return await _subject(registry, question.user, question.device_id)

    subject, request = in_registry(config_path, store, work), question.request(settings)
    decision = decide(policy, subject, request, now)
    if as_json:
        say_json(answer(policy, subject, request, now, check_url=check_url, zone=zone, every_rule=all_rules))
    elif depth == "person":
        click.echo("\n".join(tell(policy, subject, request, now, check_url=check_url, zone=zone).sentences))
    elif depth == "operator":
        devices = trace(policy, subject, request, now, everything=all_rules)
        click.echo("\n".join(_for_operator(decision, devices, now)))
    else:
        click.echo("\n".join(explain(policy, subject, request, now, check_url=check_url)))
    raise SystemExit(0 if decision.verdict.admits else EXIT_FAILED)


def _policy(config_path: Path, policy_file: Path | None) -> tuple[Policy, Settings | None]:
    """The policy that is asked about, and the configuration; a policy of a file of its own can do without one."""
    try:
        if policy_file is not None:
            policy, settings = load_policy(policy_file, identity_settings(config_path)), settings_if_good(config_path)
            return policy if settings is None else policy.with_groups(members_of(settings, policy)), settings
        settings = load_settings(config_path)
        return policy_now(settings), settings
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_CONFIG)


def _for_operator(decision: Decision, devices: tuple[DeviceTrace, ...], now: datetime) -> Iterator[str]:
    yield f"verdict     {decision.verdict} ({', '.join(decision.reasons)})"
    yield f"changes at  {_time(decision.valid_until)}"
    yield f"policy      sha256 {decision.policy_sha256}"
    for device in devices:
        yield ""
        yield f"device {device.device_id}: {device.state}, {device.verdict}; changes at {_time(device.changes_at)}"
        evidence = device.evidence
        if evidence is None:
            yield "  evidence    none"
        else:
            flags = ", ".join(f"{flag}: {'yes' if said else 'no'}" for flag, said in evidence.flags)
            stale = "stale since" if now >= evidence.stale_at else "stale at"
            yield (
                f"  evidence    {evidence.source} ({evidence.level}), {duration_words(evidence.age)} old,"
                f" {stale} {_time(evidence.stale_at)}, sha256 {evidence.sha256[:16]}"
            )
            proof = "proves absence" if evidence.proves_absence else "does not prove absence"
            yield f"  list        {evidence.apps_count} apps, {proof}"
            yield f"  system      {evidence.os_version or 'not stated'}; flags: {flags or 'not stated'}"
        for verdict, reason in device.effects:
            yield f"  effect      {verdict} ({reason})"
        for rule in device.rules:
            yield from _rule_lines(rule)


def _rule_lines(rule: RuleTrace) -> Iterator[str]:
    does = rule.verdict or "nothing"
    breached = {True: "broken", False: "not broken", None: "unanswered"}[rule.is_breached]
    phase, changes = rule.phase or "none yet", _time(rule.changes_at)
    yield f"  rule {rule.rule}: {breached}; phase {phase}; does {does}; changes at {changes}"
    for predicate in rule.predicates:
        yield f"    {_ANSWERS[predicate.holds]:<8} {predicate.name}"
    for exemption in rule.exemptions:
        yield f"    exempt   {exemption}"


def _time(instant: datetime | None) -> str:
    return instant.isoformat(timespec="seconds") if instant else "never"


async def _subject(registry: SqlRegistry, user: str, device_id: str | None) -> Subject:
    """Whom a session would be about: tied to the device when one is named, else to the user."""
    if device_id is None:
        postures: list[Posture] = []
        while page := await registry.all_devices(account=user, limit=PAGE, offset=len(postures)):
            postures.extend(page)
        meant = None if postures else await registry.device(DeviceId(user))
        if meant is not None:
            owner = meant.device.account
            fail(f"`{user}` is a device, not a person; ask with: {owner} --device {user}", code=EXIT_USAGE)
        return Subject(binding=Binding(assurance=Assurance.USER, method="user"), postures=tuple(postures))
    posture = await registry.device(DeviceId(device_id))
    binding = Binding(assurance=Assurance.PROVEN, method="client_certificate", claimed_device=DeviceId(device_id))
    # Like the gate: somebody else's device is an unknown one, and nothing of it is told.
    return Subject(binding=binding, postures=(posture,) if posture and posture.device.account == user else ())
