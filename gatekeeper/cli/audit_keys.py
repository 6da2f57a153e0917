"""Whose signature on an audit log is believed: `--vkey`, or the keys that the gate signs with."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.adapters.sinks.several import log_directories
from gatekeeper.adapters.sinks.signing_key import before, load_key
from gatekeeper.adapters.sinks.tiles import read_checkpoint_file
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint, verified
from gatekeeper.audit.cosignature import CosignerKey
from gatekeeper.audit.signed import as_known
from gatekeeper.audit.stored import read
from gatekeeper.cli.named import named_octets
from gatekeeper.config.load import load
from gatekeeper.domain.document import DocumentError
from gatekeeper.signing.note import MAX_NOTE_OCTETS, NoteError, VerifierKey

_MAX_KEY_OCTETS = 4096
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Known:
    """The keys that are believed for one log."""

    keys: tuple[VerifierKey, ...]
    is_pinned: bool
    """They were named by whoever verifies, not found beside the log."""


def known_for(context: click.Context, log: Path, pinned: tuple[VerifierKey, ...]) -> Known:
    """The pinned keys, as far as they may sign the log in this directory; without any, the one that the gate has."""
    origin = origin_of(log)
    if pinned:
        return Known(tuple(as_known(pinned, origin)) or pinned, is_pinned=True)
    for path in _key_files(context, log):
        try:
            found = [load_key(file, origin) for file in (path, before(path))]
        except (AuditLogError, NoteError) as error:
            click.echo(f"note: {error}", err=True)
        else:
            if found[0] is not None:
                return Known(tuple(key.verifier for key in found if key is not None), is_pinned=False)
    return Known((), is_pinned=False)


def origin_of(log: Path) -> str:
    """What the log says it is, by its head or its first record; whether the two agree is told elsewhere."""
    note = read_checkpoint_file(log)
    with suppress(NoteError):
        if note is not None:
            return read_checkpoint(note)[0].origin
    with suppress(ValueError):
        for line in lines(log):
            return read(line).log
    return ""


def vkeys(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[VerifierKey, ...]:
    """`--vkey`: each a verifier key, or a file with some, one a line."""
    return tuple(key for value in values for key in _parsed(value, VerifierKey.parse))


def cosigners(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[CosignerKey, ...]:
    """`--witness`: the same for keys of witnesses."""
    return tuple(key for value in values for key in _parsed(value, CosignerKey.parse))


def _parsed(value: str, parse: Callable[[str], _Key]) -> list[_Key]:
    try:
        return [parse(value)]
    except NoteError as error:
        try:
            with Path(value).open("rb") as file:
                text = file.read(_MAX_KEY_OCTETS).decode("utf-8", "replace")
        except OSError:
            raise click.BadParameter(f"`{value[:100]}` is no file, and {error}") from error
    try:
        found = [parse(line) for line in text.splitlines() if line.strip()]
    except NoteError as error:
        raise click.BadParameter(f"`{value}`: a line {error}") from error
    if not found:  # else nothing would be pinned, and whatever key lies beside the log be believed
        raise click.BadParameter(f"`{value}` holds no key")
    return found


vkey_option = click.option(
    "--vkey",
    "pinned",
    multiple=True,
    callback=vkeys,
    help="The verifier key that you pinned, or a file with it (`audit keys` shows it; repeat for more).",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A head that somebody kept from before."""

    path: Path
    checkpoint: Checkpoint
    note: bytes

    def is_signed_by(self, known: Known) -> bool:
        """Whether a known key signed it; wrong usage when the signature is false."""
        try:
            return verified(self.note, as_known(known.keys, self.checkpoint.origin)) is not None
        except NoteError as error:
            raise click.UsageError(f"{self.path}: {error}") from error


def kept(_context: click.Context, _parameter: click.Parameter, values: tuple[Path, ...]) -> tuple[Kept, ...]:
    """`--since-checkpoint`: files with older heads."""
    return tuple(read_kept(path) for path in values)


def read_kept(path: Path) -> Kept:
    """The head in a file, or the end of the command."""
    note = named_octets(path, MAX_NOTE_OCTETS)
    try:
        checkpoint, _ = read_checkpoint(note)
    except NoteError as error:
        raise click.BadParameter(f"`{path}` {error}") from error
    return Kept(path, checkpoint, note)


def _key_files(context: click.Context, log: Path) -> list[Path]:
    """Beside the log, beside the one that goes on, beside the logs of all workers, and where it is configured."""
    files = [place / "signing.key" for place in (log, log.parent, log.parent.parent)]
    config: Path | None = context.obj
    if config is not None and config.exists():
        with suppress(DocumentError):  # an auditor needs no configuration, so a faulty one is no matter here
            settings = load(config, os.environ).audit
            if log.resolve() in {each.resolve() for each in log_directories(settings.directory)}:
                files.insert(0, settings.signing_key)
    return files
