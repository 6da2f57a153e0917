"""Recording what a command did, although the audit log has one writer.

While the gate runs it is the writer, and is told by its control socket. While it does not run, this process may be the
writer for a moment. Either way the log tells what was done to the inventory, and who read the log itself.

Inside holds: what is written belongs to the account that the log belongs to, for the gate has to go on from it; a read
that cannot be recorded is a read all the same, and stderr says so.
"""

import asyncio
import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError, AuditLogLocked, segment_paths
from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.several import hold, log_directories, worker_directory, worker_origin
from gatekeeper.adapters.sinks.succession import AUDIT_HEADS
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.cli.control import ask_gate, control_socket, gate_answer
from gatekeeper.config.load import load
from gatekeeper.config.settings import Settings
from gatekeeper.domain.document import DocumentError
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.names import open_names

_MESSAGES = {
    EventCode.INVENTORY_IMPORTED: "Inventory imported",
    EventCode.INVENTORY_REJECTED: "Inventory rejected; nothing was applied",
}
_GATE_WITHIN_S = 3.0
"""A gate that does not answer by then does not keep an auditor waiting."""


def record_inventory(config_path: Path, code: EventCode, detail: dict[str, str | int], *, gate_knows: bool) -> None:
    """Record an import's outcome; `gate_knows`: a running gate hears of it by the store's feed and records it itself.

    What cannot be recorded is said on stderr: the store has changed, or not, all the same.
    """
    _record(config_path, code, detail, gate_knows=gate_knows)


def record_policy(config_path: Path, code: EventCode, detail: dict[str, str | int]) -> None:
    """Record what came of a command on policies that the gate does not hear of by itself."""
    _record(config_path, code, detail, gate_knows=False)


def record_export(config_path: Path, directory: Path, detail: Mapping[str, str | int]) -> None:
    """Record that records were taken out of the log in `directory`; of a copy of a log nothing is recorded."""
    if _gate_of(config_path, directory) is not None:
        _record(config_path, EventCode.AUDIT_EXPORTED, {**detail, "by": whoever()}, gate_knows=False)


@dataclass(slots=True)
class Taken:
    """What a command has shown so far."""

    records: int = 0


@contextmanager
def recorded_read(config_path: Path | None, directory: Path, detail: Mapping[str, str | int]) -> Iterator[Taken]:
    """Record, when the block ends in whatever way, how many records of the log in `directory` somebody was shown."""
    taken = Taken()
    try:
        yield taken
    finally:
        record_read(config_path, directory, {**detail, "records_n": taken.records})


def record_read(config_path: Path | None, directory: Path, detail: Mapping[str, str | int]) -> None:
    """Record that somebody looked into the log in `directory`; what keeps it from being recorded is a note."""
    settings = _gate_of(config_path, directory)
    if settings is None or config_path is None or not any(map(segment_paths, log_directories(directory))):
        return
    facts = {**detail, "by": whoever()}
    told = {"code": EventCode.AUDIT_EXPORTED.value, "detail": facts}
    answer = gate_answer(control_socket(config_path), "POST", "/record", told, within_s=_GATE_WITHIN_S)
    if answer is not None:
        if answer[0] != 200:
            click.echo("note: the running gate did not record this", err=True)
        return
    clock = SystemClock()
    event = Event(code=EventCode.AUDIT_EXPORTED, time=clock.now(), detail=facts)
    try:
        asyncio.run(_append(settings, event, clock))
    except AuditLogLocked:
        click.echo("note: this is not recorded: the gate writes the log, and does not answer this account", err=True)
    except AuditLogError as error:
        click.echo(f"note: this is not recorded: {error}", err=True)


def _gate_of(config_path: Path | None, directory: Path) -> Settings | None:
    """The configuration of the gate whose log, or one of whose logs, this is; None, and a note, for a copy."""
    try:
        settings = None if config_path is None else load(config_path, os.environ)
    except DocumentError:
        settings = None
    if settings is not None:
        own = settings.audit.directory
        if directory.resolve() in {path.resolve() for path in (own, *log_directories(own))}:
            return settings
    click.echo("note: this is not the log of a gate that is configured here, so nothing is recorded", err=True)
    return None


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


@contextmanager
def as_owner_of(directory: Path) -> Iterator[None]:
    """As root, be the account that the directory belongs to; as another account than that, raise AuditLogError.

    The gate could neither read nor go on from files that belong to somebody else.
    """
    try:
        found = directory.stat()
    except FileNotFoundError:
        yield  # whoever makes it owns it
        return
    before = os.geteuid(), os.getegid()
    if found.st_uid == before[0]:
        yield
        return
    if before[0] != 0:
        raise AuditLogError(f"`{directory}` belongs to another account: only that one, or root, may write there")
    os.setegid(found.st_gid)
    os.seteuid(found.st_uid)
    try:
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])


async def _append(settings: Settings, event: Event, clock: SystemClock) -> None:
    with as_owner_of(settings.audit.directory):
        await _append_as_owner(settings, event, clock)


async def _append_as_owner(settings: Settings, event: Event, clock: SystemClock) -> None:
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
    with ExitStack() as stack:
        names = open_names(settings.audit)
        if names is not None:
            stack.callback(names.close)
        log = FileAuditLog.open(
            directory,
            origin=origin,
            clock=clock,
            address_prefix=None if settings.audit.full_addresses else (24, 48),
            signing_key=settings.audit.signing_key,
            remember_in=settings.state_directory / AUDIT_HEADS,
            names=names,
        )
        log.append(event)
        if not await log.close():
            raise AuditLogError("the audit log cannot be written")
