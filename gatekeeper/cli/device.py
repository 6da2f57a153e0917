"""`gatekeeper device list | show | why`: what is known about devices, and why a person is blocked, in words.

App lists of private phones are sensitive: a list is printed only when `--apps` asks for it.
"""

import dataclasses
from datetime import datetime
from pathlib import Path

import click

from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.cli.store import duration_words, in_registry, store_option
from gatekeeper.cli.why import PAGE, account, why
from gatekeeper.cli.words import EXIT_FAILED, fail, say_json, say_table
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.document import parse_instant
from gatekeeper.domain.posture import Posture
from gatekeeper.server.clock import SystemClock


@click.group()
def device() -> None:
    """The registered devices, and what is known about them."""


@device.command("list")
@click.option("--user", metavar="USER", callback=account, help="Only the devices of this mail login.")
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


device.add_command(why)
