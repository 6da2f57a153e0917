"""What the commands share: exit codes, error lines, the configuration, output for people or machines."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from gatekeeper.config.load import load, names
from gatekeeper.config.settings import Settings
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import IdentitySettings

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_UPSTREAM = 69
EXIT_TRY_AGAIN = 75
EXIT_CONFIG = 78
"""sysexits.h EX_CONFIG."""


def fail(*lines: str, code: int) -> NoReturn:
    """Say what is wrong on stderr and end with `code`."""
    for line in lines:
        click.echo(f"error: {line}", err=True)
    raise SystemExit(code)


def load_settings(path: Path) -> Settings:
    """The configuration, or the end of the command with every fault on stderr."""
    try:
        return load(path, os.environ)
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_CONFIG)


def settings_if_good(path: Path) -> Settings | None:
    """The configuration, for commands that need none but answer better with one: it names the listeners and groups."""
    try:
        return load(path, os.environ)
    except DocumentError:
        return None


def identity_settings(path: Path) -> IdentitySettings:
    """How names are made canonical; works without the rest of the configuration, as commands with `--store` do."""
    try:
        return names(path, os.environ)
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_CONFIG)


def say_json(value: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def counted(count: int, one: str, many: str = "") -> str:
    """`1 device`, `2,000 devices`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns on stdout."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
