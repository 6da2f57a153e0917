"""`gatekeeper serve`."""

import ssl
import sys
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.stores.engine import StoreError
from gatekeeper.cli.words import EXIT_CONFIG, fail, load_settings
from gatekeeper.domain.document import DocumentError
from gatekeeper.server.logs import configure_logs
from gatekeeper.server.run import serve as run


@click.command()
@click.pass_obj
def serve(config_path: Path) -> None:
    """Run the gate until SIGTERM. SIGHUP reloads configuration, policy and certificates."""
    configure_logs(sys.stderr)
    settings = load_settings(config_path)
    for note in settings.notes:
        click.echo(f"note: {note}", err=True)
    try:
        run(settings, config_path)
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_CONFIG)
    except (AuditLogError, StoreError, OSError, ssl.SSLError) as error:
        fail(str(error), code=EXIT_CONFIG)
