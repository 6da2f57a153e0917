"""What the `audit` commands share: which directory, which instants, and why."""

import os
from datetime import UTC, datetime
from pathlib import Path
from time import time_ns

import click

from gatekeeper.cli.words import load_settings
from gatekeeper.domain.document import parse_duration, parse_instant


def audit_directory(context: click.Context) -> Path:
    """The directory to read: `--directory`, else the configuration's `audit.directory`."""
    chosen = context.meta.get("gatekeeper.audit.directory")
    if isinstance(chosen, Path):
        return chosen
    named = os.environ.get("GATEKEEPER_AUDIT__DIRECTORY")  # an auditor may have the log and no configuration
    return Path(named) if named else load_settings(context.obj).audit.directory


def instant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """An RFC 3339 time, a date, or a duration before now, as aware UTC."""
    if value is None:
        return None
    ago = parse_duration(value)
    if ago is not None:
        return datetime.fromtimestamp(time_ns() // 10**9, UTC) - ago
    instant = parse_instant(value)
    if instant is None:
        raise click.BadParameter(f"`{value}` is neither a time such as 2020-07-10T17:00:00Z nor a duration such as 2h")
    return instant


def _given(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("says nothing: tell whoever reads the log why")
    return value.strip()


reason = click.option("--reason", "why", required=True, callback=_given, help="Why: it stands in the log.")


def existing(directory: Path) -> Path:
    """The same directory, or the end of the command."""
    if not directory.is_dir():
        raise click.UsageError(f"there is no audit directory `{directory}`")
    return directory
