"""`gatekeeper serve`."""

import errno
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError, AuditLogLocked
from gatekeeper.adapters.stores.engine import StoreError
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_TRY_AGAIN, fail, load_settings
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
    if settings.workers == 1:
        _guarded(lambda: run(settings, config_path))
        return
    from gatekeeper.server.workers.parent import serve_several  # noqa: PLC0415  one worker needs nothing of it

    _guarded(lambda: serve_several(settings, config_path, _guarded))


def _guarded(run: Callable[[], None]) -> None:
    """Say what keeps a process from starting, and end with the exit code for it."""
    try:
        run()
    except DocumentError as error:
        fail(*map(str, error.faults), code=EXIT_CONFIG)
    except AuditLogLocked as error:
        fail(f"{error} (is the gate running twice?)", code=EXIT_TRY_AGAIN)
    except (AuditLogError, StoreError, ssl.SSLError) as error:
        fail(str(error), code=EXIT_CONFIG)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        advice = " (stop what listens there, or change `bind`)" if in_use else ""
        fail(f"{error.strerror or error}{advice}", code=EXIT_TRY_AGAIN if in_use else EXIT_CONFIG)
