"""`gatekeeper audit registry`: which logs there must be; `audit verify --all` looks whether they are there, and sound.

Inside holds: a log is taken in only when it verifies, under a key that was named or that lies beside it, which is said;
the file is replaced as a whole.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import click

from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.several import audit_root, log_directories
from gatekeeper.adapters.sinks.tiles import put
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.record import clean
from gatekeeper.audit.registry import MAX_OCTETS, Ended, Entry, Registry
from gatekeeper.audit.stored import StoredRecord, read, stamp
from gatekeeper.cli.audit_keys import Known, known_for, origin_of, vkey_option
from gatekeeper.cli.audit_options import audit_directory, existing
from gatekeeper.cli.audit_outcome import Muster, Required
from gatekeeper.cli.audit_report import Verified, print_report, verify_log
from gatekeeper.cli.recording import whoever
from gatekeeper.cli.words import EXIT_FAILED, EXIT_USAGE, fail, say_json, say_table
from gatekeeper.server.clock import SystemClock
from gatekeeper.signing.note import VerifierKey

VARIABLE = "GATEKEEPER_AUDIT_REGISTRY"
_BEGINNING = 100
"""Records in which a log says what it follows: they stand right after its opening."""

registry_option = click.option(
    "--registry",
    "file",
    type=click.Path(path_type=Path),
    envvar=VARIABLE,
    show_envvar=True,
    help="The file in which the auditor keeps which logs there must be.",
)


def muster(registry: Registry, more: Iterable[Path] = ()) -> Muster:
    """Look for every log of the registry, and for others beside them, and in `more` audit directories."""
    roots = dict.fromkeys(audit_root(Path(entry.directory)) for entry in registry.logs.values())
    found: dict[str, list[Path]] = {}
    for log in dict.fromkeys(log for root in (*roots, *more) for log in log_directories(root)):
        origin = origin_of(log) if log.is_dir() else ""
        if origin:
            found.setdefault(origin, []).append(log)
    required, gone = [], []
    for origin, entry in sorted(registry.logs.items()):
        places = found.pop(origin, [])
        checkpoint = entry.checkpoint
        older = () if checkpoint is None else (checkpoint,)
        required += [Required(place, Known(entry.keys, is_pinned=True), older) for place in places]
        if not places and entry.ended is None:
            gone.append((origin, 0 if checkpoint is None else checkpoint.size))
    strange = [(origin, place) for origin, places in sorted(found.items()) for place in places]
    return Muster(tuple(required), tuple(gone), tuple(strange))


def read_registry(file: Path | None) -> Registry:
    """The registry in the file, or the end of the command."""
    if file is None:
        raise click.UsageError(f"--registry (or ${VARIABLE}) names the file in which you keep which logs there must be")
    try:
        with file.open("rb") as stream:
            return Registry.parse(stream.read(MAX_OCTETS))
    except OSError as error:
        fail(f"`{file}` cannot be read: {error.strerror}", code=EXIT_USAGE)
    except ValueError as error:
        fail(f"`{file}` {error}", code=EXIT_USAGE)


def write_registry(file: Path, found: Registry) -> None:
    """Put the file down, or end the command."""
    try:
        put(file, found.dump(), FileOperations(), is_durable=True)
    except OSError as error:
        fail(f"`{file}` cannot be written: {error.strerror}", code=EXIT_FAILED)


def advanced(registry: Registry, verified: Iterable[Verified]) -> Registry:
    """The registry with the heads under which logs were found sound just now."""
    for one in verified:
        checkpoint = one.signed.checkpoint
        entry = None if checkpoint is None else registry.logs.get(checkpoint.origin)
        note = one.note
        if entry is not None and note is not None:
            registry = registry.having(replace(entry, head=note.decode(), directory=str(one.directory.resolve())))
    return _followed(registry)


@click.group("registry")
def registry_group() -> None:
    """Keep a list of the logs that there must be."""


@registry_group.command("add")
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path, file_okay=False, exists=True))
@registry_option
@vkey_option
@click.pass_context
def add(
    context: click.Context, directories: tuple[Path, ...], file: Path | None, pinned: tuple[VerifierKey, ...]
) -> None:
    """Take in every log in DIRECTORIES (default: the audit directory), after it was verified.

    Of a log that is known already a new key is taken in, when it signed the log and --vkey names it.

    Exit codes: those of `audit verify`; nothing is taken in unless it is 0.
    """
    registry = read_registry(file) if file is None or file.exists() else Registry({})
    for log in [
        log for place in directories or (existing(audit_directory(context)),) for log in log_directories(place)
    ]:
        known = known_for(context, log, pinned)
        verified = verify_log(log, known)
        key = verified.signed.key
        if verified.status or key is None:
            print_report(verified)
            context.exit(verified.status)
        registry = _with(registry, verified, key)
        if not known.is_pinned:
            click.echo(
                f"note: the key of {log} was found beside it: compare {key} with what its owners tell you", err=True
            )
    if file is not None:
        write_registry(file, _followed(registry))


@registry_group.command("list")
@registry_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(file: Path | None, as_json: bool) -> None:
    """Show the logs that there must be."""
    registry = read_registry(file)
    if as_json:
        say_json(
            [{"origin": one.origin, "directory": one.directory, "state": _state(one)} for one in _sorted(registry)]
        )
        return
    rows = [
        (one.origin, _size(one), one.since or "-", _state(one), " ".join(key.key_id.hex() for key in one.keys))
        for one in _sorted(registry)
    ]
    say_table(("log", "records", "since", "state", "keys"), [[clean(cell, 200) for cell in row] for row in rows])


@registry_group.command("end")
@click.argument("origin")
@click.option("--reason", required=True, help="Why it need not be there any more.")
@registry_option
def end(origin: str, reason: str, file: Path | None) -> None:
    """Say that the log ORIGIN is at its end: archived, or set aside after a restore. It stays on the list.

    It need not be there any more. Where it is there it is still verified, against what it has now: of a log that was
    restored from a backup the end is gone, and that is hereby known.
    """
    registry = read_registry(file)
    entry = registry.logs.get(origin)
    if entry is None or file is None:
        fail(f"there is no log `{origin}` in the registry", code=EXIT_USAGE)
    at = SystemClock().now().isoformat(timespec="seconds").replace("+00:00", "Z")
    ended = replace(entry, ended=Ended(at, whoever(), clean(reason, 500)))
    for one in muster(registry).required:
        if origin_of(one.directory) == origin:
            verified = verify_log(one.directory, one.known)
            if not verified.status and verified.note is not None:
                ended = replace(ended, head=verified.note.decode())
    write_registry(file, registry.having(ended))
    click.echo(f"{origin}: {_size(ended)} records, {_state(ended)}")


def _with(registry: Registry, verified: Verified, key: VerifierKey) -> Registry:
    origin = key.name
    first_ms = verified.report.first_time_ms
    before = registry.logs.get(origin)
    if before is not None:
        keys = before.keys if key in before.keys else (*before.keys, key)
        if keys != before.keys:
            click.echo(f"{origin}: another key, {key.key_id.hex()}")
        return registry.having(replace(before, keys=keys))
    click.echo(f"{origin}: {verified.report.entries:,} records, key {key.key_id.hex()}")
    return registry.having(
        Entry(
            origin=origin,
            directory=str(verified.directory.resolve()),
            keys=(key,),
            since=stamp(first_ms),
            head=None if verified.note is None else verified.note.decode(),
        )
    )


def _followed(registry: Registry) -> Registry:
    """With what logs say of those that they follow."""
    for entry in _sorted(registry):
        record = _succession(Path(entry.directory))
        before = None if record is None else registry.logs.get(record.text("predecessor") or "")
        if record is not None and before is not None and before.successor is None and record.log == entry.origin:
            registry = registry.having(replace(before, successor=entry.origin, until=stamp(record.time_ms)))
    return registry


def _succession(log: Path) -> StoredRecord | None:
    with suppress(OSError):
        for line in islice(lines(log), _BEGINNING):
            with suppress(ValueError):
                record = read(line)
                if record.code == EventCode.LOG_SUCCEEDS:
                    return record
    return None


def _sorted(registry: Registry) -> Iterator[Entry]:
    for _, entry in sorted(registry.logs.items()):
        yield entry


def _size(entry: Entry) -> str:
    checkpoint = entry.checkpoint
    return "-" if checkpoint is None else f"{checkpoint.size:,}"


def _state(entry: Entry) -> str:
    if entry.ended is not None:
        return f"ended {entry.ended.at} by {entry.ended.by}: {entry.ended.reason}"
    return "goes on" if entry.successor is None else f"followed by {entry.successor} at {entry.until}"
