"""The command line: `gatekeeper [--config FILE] COMMAND`. Commands are imported only when they are called."""

import os
import sys
from pathlib import Path

import click

from gatekeeper import __version__
from gatekeeper.cli.lazy import LazyGroup

EXIT_BUG = 70  # sysexits.h EX_SOFTWARE
DEFAULT_CONFIG = "config/gatekeeper.toml"

_COMMANDS = {
    "serve": "gatekeeper.cli.serve:serve",
    "status": "gatekeeper.cli.control:status",
    "reload": "gatekeeper.cli.control:reload",
    "drain": "gatekeeper.cli.control:drain",
    "doctor": "gatekeeper.cli.doctor:doctor",
    "demo": "gatekeeper.cli.demo.command:demo",
    "config": "gatekeeper.cli.config:config",
    "policy": "gatekeeper.cli.policy:policy",
    "device": "gatekeeper.cli.device:device",
    "inventory": "gatekeeper.cli.inventory:inventory",
    "audit": "gatekeeper.cli.audit:audit",
}


@click.group(cls=LazyGroup, places=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=lambda: Path(os.environ.get("GATEKEEPER_CONFIG", DEFAULT_CONFIG)),
    show_default=DEFAULT_CONFIG,
    help="The configuration file; also $GATEKEEPER_CONFIG.",
)
@click.version_option(__version__, prog_name="gatekeeper")
@click.pass_context
def cli(ctx: click.Context, config_path: Path) -> None:
    """A posture gate in front of a mail server.

    \b
    Examples:
      gatekeeper config check
      gatekeeper serve
      gatekeeper inventory import phones.jsonl
      gatekeeper device why alice@example.com
      gatekeeper audit verify
    """  # noqa: D301  click's paragraph mark
    ctx.obj = config_path


def main() -> None:
    """Run the command; an unexpected error ends with one line and exit code 70."""
    try:
        cli(prog_name="gatekeeper")
    except BrokenPipeError:
        sys.exit(0)  # `gatekeeper audit tail | head`
    except Exception as error:
        if os.environ.get("GATEKEEPER_TRACEBACK"):
            raise
        text = f"{type(error).__name__}: {error}"
        click.echo(f"error: unexpected {text} (set GATEKEEPER_TRACEBACK=1 to see where)", err=True)
        sys.exit(EXIT_BUG)
