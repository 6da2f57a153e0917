"""`gatekeeper device list | show | why`: what is known about devices, and why a person is blocked, in words.

App lists of private phones are sensitive: a list is printed only when `--apps` asks for it.
"""

import dataclasses
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import click

from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.cli.store import duration_words, in_registry, store_option
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_FAILED, fail, identity_settings, load_settings, say_json, say_table
from gatekeeper.decision.decide import decide
from gatekeeper.decision.explain import explain
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


def _account(context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    account = canonical_account(value, identity_settings(context.find_object(Path) or Path()))
    if account is None:
        raise click.BadParameter(f"`{value}` is no mail login that the gate would accept")
    return account


def _instant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    instant = parse_instant(value)
    if instant is None:
        raise click.BadParameter(f"`{value}` is not a date or a time such as 2020-07-10T17:00:00-07:00")
    return instant


def why_options(command: Command) -> Command:
    """Add what names a session to ask about: user, `--device`, `--protocol`, `--at`; and `--store`, `--json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For machines."),
        store_option,
        click.option("--at", metavar="TIME", callback=_instant, help="Ask about another time than now."),
        click.option(
            "--protocol",
            type=click.Choice([protocol.value for protocol in MailProtocol]),
            default=MailProtocol.IMAP.value,
            show_default=True,
        ),
        click.option("--device", "device_id", metavar="ID", help="The session is tied to this device."),
        click.argument("user", callback=_account),
    ):
        command = option(command)
    return command


@click.group()
def device() -> None:
    """The registered devices, and what is known about them."""


@device.command("list")
@click.option("--user", metavar="USER", callback=_account, help="Only the devices of this mail login.")
@store_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def list_(config_path: Path, user: str | None, store: str | None, *, as_json: bool) -> None:
    """All registered devices, by id."""
    now = SystemClock().now()

    async def work(registry: SqlRegistry) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        while page := await registry.all_devices(account=user, limit=PAGE, offset=len(found)):
            found.extend(_facts(posture) for posture in page)
        return found

    devices = in_registry(config_path, store, work)
    if as_json:
        say_json(devices)
        return
    if not devices:
        click.echo(f"no device is registered{f' for {user}' if user else ''}", err=True)
        return
    say_table(
        ["DEVICE", "USER", "PLATFORM", "CLASS", "OWNER", "SOURCE", "AGE", "LIST", "APPS"],
        [[_cell(facts, column, now) for column in _COLUMNS] for facts in devices],
    )


@device.command()
@click.argument("device_id", metavar="ID")
@click.option("--apps", "with_apps", is_flag=True, help="Print the app list as well.")
@store_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def show(config_path: Path, device_id: str, store: str | None, *, with_apps: bool, as_json: bool) -> None:
    """What is known about the device with this ID."""

    async def work(registry: SqlRegistry) -> Posture | None:
        return await registry.device(DeviceId(device_id))

    posture = in_registry(config_path, store, work)
    if posture is None:
        fail(f"no device `{device_id}` is registered", code=EXIT_FAILED)
    facts = _facts(posture)
    if as_json:
        say_json({**facts, **({"apps": _apps(posture)} if with_apps else {})})
        return
    now = SystemClock().now()
    for name in (*_COLUMNS, "collected_at", "evidence_sha256", "os_version", "flags", "first_seen"):
        click.echo(f"{_TITLES.get(name, name):<14} {_cell(facts, name, now)}")
    for kind, value in posture.device.identifiers.items():
        click.echo(f"{kind:<14} {value}")
    if with_apps:
        click.echo()
        rows = [[str(app["id"]), str(app["name"] or "-"), str(app["version"] or "-")] for app in _apps(posture)]
        say_table(["APP", "NAME", "VERSION"], rows)


@device.command()
@click.argument("device_id", metavar="ID")
@store_option
@click.pass_obj
def forget(config_path: Path, device_id: str, store: str | None) -> None:
    """Remove the device with this ID and all that is known about it; its owner's open sessions are decided again."""

    async def work(registry: SqlRegistry) -> bool:
        return await registry.forget(DeviceId(device_id))

    if not in_registry(config_path, store, work):
        fail(f"no device `{device_id}` is registered", code=EXIT_FAILED)
    click.echo(f"{device_id}: forgotten")


@device.command()
@why_options
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="Another policy than the configured.")
@click.pass_obj
def why(  # noqa: PLR0913  one for each option
    config_path: Path,
    user: str,
    device_id: str | None,
    protocol: str,
    at: datetime | None,
    *,
    store: str | None,
    policy_file: Path | None,
    as_json: bool,
) -> None:
    """Why USER's mail is, or would be, let through or blocked. Exit code 0: let through, 1: blocked.

    \b
    Examples:
      gatekeeper device why alice@example.com
      gatekeeper device why alice@example.com --device ph-001 --protocol smtp --at 2020-07-11
    """  # noqa: D301  click's paragraph mark
    answer_why(
        config_path,
        policy_file,
        user=user,
        device_id=device_id,
        protocol=protocol,
        at=at,
        store=store,
        as_json=as_json,
    )


def answer_why(  # noqa: PLR0913  one for each option of the command
    config_path: Path,
    policy_file: Path | None,
    *,
    user: str,
    device_id: str | None,
    protocol: str,
    at: datetime | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Print why a session of `user` is let through or blocked, and end the command accordingly."""
    now = at or SystemClock().now()
    try:
        if policy_file is None:
            policy = policy_now(load_settings(config_path))
        else:
            policy = load_policy(policy_file, identity_settings(config_path))
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_CONFIG)

    async def work(registry: SqlRegistry) -> Subject:
        return await _subject(registry, user, device_id)

    subject = in_registry(config_path, store, work)
    request = Request(account=user, protocol=MailProtocol(protocol), listener=protocol)
    decision = decide(policy, subject, request, now)
    sentences = explain(policy, subject, request, now)
    if as_json:
        say_json(
            {
                "user": user,
                "protocol": protocol,
                "at": now.isoformat(),
                "verdict": decision.verdict.value,
                "reasons": [reason.value for reason in decision.reasons],
                "device": decision.device_id,
                "posture": decision.posture.value,
                "rules": list(decision.rule_ids),
                "matched": list(decision.matched),
                "valid_until": decision.valid_until.isoformat() if decision.valid_until else None,
                "policy_sha256": decision.policy_sha256,
                "explanation": list(sentences),
            }
        )
    else:
        for sentence in sentences:
            click.echo(sentence)
    raise SystemExit(0 if decision.verdict.admits else EXIT_FAILED)


async def _subject(registry: SqlRegistry, user: str, device_id: str | None) -> Subject:
    """Whom a session would be about: tied to the device when one is named, else to the user."""
    if device_id is None:
        postures: list[Posture] = []
        while page := await registry.all_devices(account=user, limit=PAGE, offset=len(postures)):
            postures.extend(page)
        return Subject(binding=Binding(assurance=Assurance.USER, method="user"), postures=tuple(postures))
    posture = await registry.device(DeviceId(device_id))
    binding = Binding(assurance=Assurance.PROVEN, method="client_certificate", claimed_device=DeviceId(device_id))
    # Like the gate: somebody else's device is an unknown one, and nothing of it is told.
    return Subject(binding=binding, postures=(posture,) if posture and posture.device.account == user else ())


_COLUMNS = ("device_id", "user", "platform", "device_class", "ownership", "source", "age", "list", "apps_count")
_TITLES = {"device_id": "device", "device_class": "class", "ownership": "owner", "apps_count": "apps"}


def _facts(posture: Posture) -> dict[str, object]:
    """What may be shown of a device without being asked for its apps."""
    result = posture.result
    return {
        "device_id": posture.device.device_id,
        "user": posture.device.account,
        "platform": posture.device.platform.value,
        "device_class": posture.device.device_class.value,
        "ownership": posture.device.ownership.value if posture.device.ownership else None,
        "identifiers": dict(posture.device.identifiers),
        "source": result.source if result else None,
        "scope": result.scope.value if result else None,
        "complete": result.complete if result else None,
        "collected_at": result.collected_at.isoformat() if result else None,
        "evidence_sha256": result.evidence_sha256 if result else None,
        "apps_count": len(result.apps) if result else None,
        "os_version": result.os_version if result else None,
        "flags": {flag.value: said for flag, said in sorted(result.flags.items())} if result else {},
        "first_seen": posture.device.first_seen.isoformat() if posture.device.first_seen else None,
    }


def _cell(facts: dict[str, object], column: str, now: datetime) -> str:
    if column == "age":
        collected_at = parse_instant(facts["collected_at"])
        return duration_words(now - collected_at) if collected_at else "-"
    if column == "list":
        completeness = "complete" if facts["complete"] else "incomplete"
        return f"{facts['scope']}, {completeness}" if facts["scope"] else "-"
    value = facts[column]
    if isinstance(value, dict):
        return ", ".join(f"{flag}: {'yes' if said else 'no'}" for flag, said in value.items()) or "-"
    return "-" if value is None else str(value)


def _apps(posture: Posture) -> list[dict[str, object]]:
    return [dataclasses.asdict(app) for app in posture.result.apps.apps] if posture.result else []
