"""`gatekeeper config init | check | schema | show`."""

import dataclasses
import os
import ssl
from enum import Enum
from pathlib import Path

import click

from gatekeeper.cli.named import unwritable
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_USAGE, fail, load_settings, say_json
from gatekeeper.config.json_schema import json_schema
from gatekeeper.config.load import load, policy_file
from gatekeeper.config.settings import Settings
from gatekeeper.config.starter import starter
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.net.revocation import valid_until
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.compose import upstreams
from gatekeeper.server.group_source import open_groups, read_members
from gatekeeper.server.policy_source import load_policy, policy_in_force


@click.group()
def config() -> None:
    """How the gate is run: check it before it runs."""


@config.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path("config"))
def init(directory: Path) -> None:
    """Write a configuration, a policy with its tests, and their schemas to start from into DIRECTORY (default: config).

    What can be set stands in comments. Nothing is overwritten: a file that is there ends the command before any is
    written.

    \b
    Example:
      gatekeeper config init /etc/gatekeeper
    """  # noqa: D301  click's paragraph mark
    files = {directory / name: text for name, text in starter(directory).items()}
    for path in files:
        if os.path.lexists(path):
            fail(f"{path}: exists, and is not overwritten; nothing was written", code=EXIT_USAGE)
    path = directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            click.echo(path)
    except OSError as error:
        unwritable(path, error)
    configuration = directory / "gatekeeper.toml"
    click.echo(f"Next: edit {configuration}, then `gatekeeper --config {configuration} config check`", err=True)


@config.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def check(config_path: Path, *, as_json: bool) -> None:
    """Read the configuration and the policy it names; say everything that is wrong, at once."""
    faults: list[dict[str, str]] = []
    notes: tuple[str, ...] = ()
    settings: Settings | None = None
    try:
        settings = load(config_path, os.environ)
        notes = settings.notes + _expired(settings)
        for protocol, pool in upstreams(settings).items():
            key = f"upstream.{protocol.value}.address"
            faults += [{"source": str(config_path), "key": key, "reason": fault} for fault in pool.unresolved]
    except DocumentError as error:
        faults += [dataclasses.asdict(fault) for fault in error.faults]
    except (OSError, ssl.SSLError) as error:
        faults.append({"source": str(config_path), "key": "upstream", "reason": str(error)})
    try:
        if settings is not None:
            read_members(open_groups(settings))
            policy_in_force(settings)
        elif (named := policy_file(config_path, os.environ)) is not None:
            load_policy(named, DEFAULT)
    except DocumentError as error:
        faults += [dataclasses.asdict(fault) for fault in error.faults]
    if as_json:
        say_json({"ok": not faults, "faults": faults, "notes": list(notes)})
        raise SystemExit(EXIT_CONFIG if faults else 0)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if faults:
        fail(*(": ".join(filter(None, fault.values())) for fault in faults), code=EXIT_CONFIG)
    click.echo(f"{config_path}: fine")


def _expired(settings: Settings) -> tuple[str, ...]:
    """No fault: the gate must be able to start again, though it turns every client certificate down."""
    until = None if settings.tls is None else valid_until(settings.tls.client_crl)
    if until is None or until > SystemClock().now():
        return ()
    return ("tls.client_crl: expired: every client certificate is refused until there is a new one",)


@config.command()
def schema() -> None:
    """The JSON Schema of the configuration, for editors: they complete keys and mark what is wrong.

    \b
    Example:
      gatekeeper config schema > config/gatekeeper.schema.json
    """  # noqa: D301  click's paragraph mark
    say_json(json_schema())


@config.command()
@click.pass_obj
def show(config_path: Path) -> None:
    """The configuration in force, with defaults and environment, without secrets."""
    say_json(_plain(load_settings(config_path)))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: "(hidden)"
            if field.name == "store_url" and "@" in str(getattr(value, field.name))
            else _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.repr
        }
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, str | int | float | bool | None) else str(value)
