"""Recording what a command did, although the audit log has one writer.

While the gate runs it is the writer, and is told by its control socket. While it does not run, this process may be the
writer for a moment. Either way the log tells what was done to the inventory.
"""

import asyncio
import os
import pwd
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError, AuditLogLocked
from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.several import hold, worker_directory, worker_origin
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.cli.control import ask_gate, control_socket
from gatekeeper.config.load import load
from gatekeeper.config.settings import Settings
from gatekeeper.domain.document import DocumentError
from gatekeeper.server.clock import SystemClock

_MESSAGES = {
    EventCode.INVENTORY_IMPORTED: "Inventory imported",
    EventCode.INVENTORY_REJECTED: "Inventory rejected; nothing was applied",
}


def record_inventory(config_path: Path, code: EventCode, detail: dict[str, str | int], *, gate_knows: bool) -> None:
    """Record an import's outcome; `gate_knows`: a running gate hears of it by the store's feed and records it itself.

    What cannot be recorded is said on stderr: the store has changed, or not, all the same.
    """
    _record(config_path, code, detail, gate_knows=gate_knows)


def record_policy(config_path: Path, code: EventCode, detail: dict[str, str | int]) -> None:
    """Record what came of a command on policies that the gate does not hear of by itself."""
    _record(config_path, code, detail, gate_knows=False)


def record_export(config_path: Path, directory: Path, detail: dict[str, str | int]) -> None:
    """Record that records were taken out of the log in `directory`; of a copy of a log nothing is recorded."""
    try:
        own = load(config_path, os.environ).audit.directory
    except DocumentError:
        own = None
    if own is None or directory.resolve() != own.resolve():
        click.echo("note: a copy of the log was read, so this is not recorded", err=True)
        return
    _record(config_path, EventCode.AUDIT_EXPORTED, {**detail, "by": whoever()}, gate_knows=False)


def record_on_log(config_path: Path, directory: Path, code: EventCode, detail: dict[str, str | int]) -> bool:
    """Record what was done to the log in `directory` itself; False: it is not on record, and stderr says why."""
    try:
        settings = load(config_path, os.environ)
    except DocumentError:
        settings = None
    if settings is None or directory.resolve() != settings.audit.directory.resolve():
        click.echo("note: this is no log of the configured gate, so nothing is recorded", err=True)
        return False
    clock = SystemClock()
    try:
        asyncio.run(_append(settings, Event(code=code, time=clock.now(), detail=detail), clock))
    except AuditLogLocked:
        told = {"code": code.value, "detail": detail}
        return ask_gate(control_socket(config_path), "POST", "/record", told)[0] == 200
    except AuditLogError as error:
        click.echo(f"warning: this is not recorded: {error}", err=True)
        return False
    return True


def record_pruned(config_path: Path, log: Path, origin: str, detail: dict[str, str | int]) -> bool:
    """Record in one log, perhaps one of several, that segments of it are removed; True: it is durable."""
    settings = load(config_path, os.environ)
    clock = SystemClock()
    event = Event(code=EventCode.LOG_PRUNED, time=clock.now(), detail=detail)
    try:
        asyncio.run(_append_held(log, origin, settings, event, clock))
    except AuditLogLocked:
        told = {"log": origin, "detail": detail}
        return ask_gate(control_socket(config_path), "POST", "/record-in", told)[0] == 200
    return True


def whoever() -> str:
    """The account on this machine that runs the command; who came by sudo is named too. Nothing of it is proven."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    before = os.environ.get("SUDO_USER")
    return f"{name} (sudo by {before})" if before else name


def _record(config_path: Path, code: EventCode, detail: dict[str, str | int], *, gate_knows: bool) -> None:
    try:
        settings = load(config_path, os.environ)
    except DocumentError:  # `--store` was given: there is a database, but no gate that it belongs to
        click.echo("note: not recorded in an audit log, for there is no configuration", err=True)
        return
    clock = SystemClock()
    event = Event(code=code, time=clock.now(), message=_MESSAGES.get(code, ""), detail=detail)
    try:
        asyncio.run(_append(settings, event, clock))
    except AuditLogLocked:
        if gate_knows:
            return
        status, _ = ask_gate(control_socket(config_path), "POST", "/record", {"code": code.value, "detail": detail})
        if status != 200:
            click.echo("warning: the running gate did not record this", err=True)
    except AuditLogError as error:
        click.echo(f"warning: this is not recorded: {error}", err=True)


async def _append(settings: Settings, event: Event, clock: SystemClock) -> None:
    directory, origin = settings.audit.directory, settings.audit.origin
    if settings.workers == 1:
        await _append_to(directory, origin, settings, event, clock)
        return
    lock_fd = hold(directory)  # a gate that runs holds it, also while one of its workers is down
    try:
        await _append_to(worker_directory(directory, 1), worker_origin(origin, 1), settings, event, clock)
    finally:
        os.close(lock_fd)


async def _append_held(log: Path, origin: str, settings: Settings, event: Event, clock: SystemClock) -> None:
    """Write to any log under the audit directory; a gate with several workers writes all of them."""
    directory = settings.audit.directory
    if log == directory:
        await _append_to(log, origin, settings, event, clock)
        return
    lock_fd = hold(directory)
    try:
        await _append_to(log, origin, settings, event, clock)
    finally:
        os.close(lock_fd)


async def _append_to(directory: Path, origin: str, settings: Settings, event: Event, clock: SystemClock) -> None:
    log = FileAuditLog.open(
        directory,
        origin=origin,
        clock=clock,
        address_prefix=None if settings.audit.full_addresses else (24, 48),
        signing_key=settings.audit.signing_key,
    )
    log.append(event)
    if not await log.close():
        raise AuditLogError("the audit log cannot be written")
