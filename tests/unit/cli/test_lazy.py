"""Commands that are imported when they are called."""

import subprocess
import sys

import click
from click.testing import CliRunner

from gatekeeper.cli.lazy import LazyGroup


@click.group(cls=LazyGroup, places={"codes": "gatekeeper.cli.audit_codes:codes"})
def group() -> None:
    """Some commands."""


@group.command()
def usual() -> None:
    """One that is there at once."""
    click.echo("here")


def test_commands_are_found_by_name() -> None:
    """Those elsewhere, those added as usual, and none of another name."""
    assert CliRunner().invoke(group, ["usual"]).stdout == "here\n"
    assert CliRunner().invoke(group, ["codes"]).stdout.startswith("CODE")
    assert CliRunner().invoke(group, ["other"]).exit_code == 2


def test_help_lists_all() -> None:
    """With their first sentences."""
    shown = CliRunner().invoke(group, ["--help"]).stdout
    assert "List the event codes" in shown
    assert "One that is there at once" in shown


def test_looking_into_the_log_does_not_load_the_database() -> None:
    """`audit query` begins quickly: what `replay` needs stays out."""
    program = "import sys, gatekeeper.cli.audit; print('sqlalchemy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert shown.stdout == "False\n"
