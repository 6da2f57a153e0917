"""`gatekeeper demo`: the whole story in seconds, on this machine alone.

Inside holds: whatever happens, the processes are ended and the directory is removed (unless `--keep`); the extra
packages are imported only when they are there.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import aiohttp
import click

from gatekeeper.cli.demo.teller import Teller
from gatekeeper.cli.words import EXIT_FAILED, EXIT_USAGE, fail, say_json

_EXTRAS = ("aioimaplib", "pymap")
_NOISY = ("aioimaplib", "pymap", "mail", "asyncio")
"""Loggers of the packages in this process; what the gate logs is in a file of its own."""
_INTERRUPTED = "interrupted"
_LOG_LINES = 60
_MAX_SOCKET_OCTETS = 107
"""Of a Unix socket's name (unix(7))."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Only the outcome, as one JSON document.")
@click.option("--keep", is_flag=True, help="Keep the directory with configuration, certificates and audit log.")
def demo(*, as_json: bool, keep: bool) -> None:
    """Show it: two phones, one with TikTok, a mail server and the gate, all on this machine.

    Needs no root and no network. Exit codes: 0 when everything held, 1 when something did not.
    """
    missing = [name for name in _EXTRAS if find_spec(name) is None]
    if missing:
        fail(f"the demo needs {' and '.join(missing)}: `pip install '.[demo]'`, or `make demo`", code=EXIT_USAGE)
    teller = Teller(is_silent=as_json)
    directory = _directory()
    fault: str | None = "an unexpected error"
    try:
        with _silence():
            fault = asyncio.run(_tell(teller, directory))
    except (KeyboardInterrupt, asyncio.CancelledError):
        fault = _INTERRUPTED
    finally:
        if fault != _INTERRUPTED and (fault or teller.failures):
            _show_log(directory / "gate.log")
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    if as_json:
        kept = {"directory": str(directory)} if keep else {}
        say_json({**teller.document(), "ok": not fault and not teller.failures, "fault": fault, **kept})
    else:
        _say_the_end(teller, directory if keep else None, fault)
    if fault or teller.failures:
        raise SystemExit(EXIT_FAILED)


def _directory() -> Path:
    from gatekeeper.cli.demo.gate import CONTROL_SOCKET  # noqa: PLC0415  it imports an extra

    directory = Path(tempfile.mkdtemp(prefix="gatekeeper-demo-"))
    if len(os.fsencode(directory / CONTROL_SOCKET)) > _MAX_SOCKET_OCTETS:
        directory.rmdir()
        place = f"the name of `{directory.parent}` is too long for a socket in it"
        fail(f"{place}: set TMPDIR to another directory", code=EXIT_USAGE)
    return directory


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the packages of this process from logging between the lines of the story."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def _tell(teller: Teller, directory: Path) -> str | None:
    """Play the story; returns what ended it early."""
    from aioimaplib.aioimaplib import AioImapException  # noqa: PLC0415  an extra

    from gatekeeper.cli.demo.story import tell  # noqa: PLC0415  imports the extras

    story = asyncio.current_task()
    if story is not None:
        # Ended as by Ctrl-C, so that nothing is left behind.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, story.cancel)
    try:
        await tell(teller, directory)
    except (OSError, aiohttp.ClientError, AioImapException) as error:
        return f"{type(error).__name__}: {error}"
    return None


def program(called: str) -> str:
    """What to type for this program, anywhere: its name, or where it is when the shell would not find it.

    `called`: how it was started (`sys.argv[0]`).
    """
    own = Path(called)
    if own.name == "__main__.py":
        return f"{sys.executable} -m gatekeeper"
    return own.name if shutil.which(own.name) else str(own.absolute())


def _show_log(path: Path) -> None:
    if path.is_file():
        click.echo("the gate's log ended with:", err=True)
        for line in path.read_text(errors="replace").splitlines()[-_LOG_LINES:]:
            click.echo(f"  {line}", err=True)


def _say_the_end(teller: Teller, kept: Path | None, fault: str | None) -> None:
    if fault:
        click.echo(f"\nerror: the story ended early: {fault}", err=True)
    for failure in teller.failures:
        click.echo(f"error: step {failure.step}: this did not hold: {failure.text}", err=True)
    if not fault and not teller.failures:
        teller.chapter("What to look at next.")
        teller.notes(
            [
                "README.md              running it for real, and what it does not do",
                "docs/policy.md         who may read mail: rules, phases, exemptions",
                "docs/security.md       who can cheat, what catches it, what is not caught",
            ]
        )
        if kept is None:
            teller.note(f"{program(sys.argv[0])} demo --keep keeps the files, for `device why` and `audit`")
    if kept is not None:
        click.echo(f"\nThe files are in {kept}. There:")
        for command in ("device why bob@example.com", "audit query --verdict block", "audit verify"):
            click.echo(f"  {program(sys.argv[0])} --config gatekeeper.toml {command}")
    if not fault and not teller.failures:
        click.echo(f"\nEverything held, in {teller.facts['seconds']} s.")
