"""`gatekeeper audit export` and `check-export`: records in a form for other programs, with a manifest.

Inside holds: what is written is readable by its owner alone, nothing is written over, and the manifest comes last, so
that an export that was cut short has none.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Unpack

import click

from gatekeeper.adapters.sinks.several import log_directories
from gatekeeper.adapters.sinks.tiles import read_checkpoint_file
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.manifest import Manifest, Outline, Tally
from gatekeeper.audit.mappings import cef, columnar, ecs, ocsf, table
from gatekeeper.audit.stored import StoredRecord, read
from gatekeeper.audit.wanted import Wanted
from gatekeeper.cli.audit_filters import Filters, asked, filters, searching, wanted_of
from gatekeeper.cli.audit_options import audit_directory, existing
from gatekeeper.cli.audit_parquet import require_duckdb, to_parquet
from gatekeeper.cli.audit_tlog import export_tlog
from gatekeeper.cli.named import InputFile
from gatekeeper.cli.policy_keys import passphrase_option, unlock
from gatekeeper.cli.recording import record_export, whoever
from gatekeeper.cli.words import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_USAGE, fail
from gatekeeper.server.clock import SystemClock
from gatekeeper.signing.note import MAX_NOTE_OCTETS, NoteError, VerifierKey, parse_note, signed_by

MANIFEST = "MANIFEST"
_STEP = 1 << 20


_Written = Callable[[StoredRecord, bytes, str], bytes]
"""What is written of a record; from its line, which has its newline, and the SHA-256 (hex) of that without it."""


def _view(written: Callable[[StoredRecord, str], bytes]) -> _Written:
    return lambda record, _, sha256: written(record, sha256)


_FORMATS: dict[str, tuple[str, bytes, _Written]] = {
    "jsonl": ("jsonl", b"", lambda _, line, __: line),
    "csv": ("csv", table.header(), _view(table.record_row)),
    "ocsf": ("jsonl", b"", _view(ocsf.line)),
    "ecs": ("jsonl", b"", _view(ecs.line)),
    "cef": ("cef", b"", _view(cef.line)),
    "parquet": ("parquet", b"", columnar.row),
}
"""Ending of the file, its first octets, and how a record is written. Parquet is made of its rows in the end."""
_TLOG = "tlog"


@click.command("export")
@click.option("--format", "name", type=click.Choice([*_FORMATS, _TLOG]), default="jsonl", show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where to write: a directory that is empty or not there yet.",
)
@filters
@click.option("--sign", "key_file", type=InputFile(), help="Sign the manifest with this key file.")
@passphrase_option
@click.pass_context
def export(
    context: click.Context,
    /,
    *,
    name: str,
    out: Path,
    without_index: bool,
    key_file: Path | None,
    passphrase_file: Path | None,
    **filtered: Unpack[Filters],
) -> None:
    """Write the records that fit every filter into a directory, with a manifest.

    jsonl is the log's own lines, which prove themselves; csv is for spreadsheets, and no cell of it is a formula; ocsf,
    ecs, cef and parquet are for other programs. The manifest says what was asked, how many records of which logs came,
    and the file's SHA-256; --sign signs it. That records were taken out is recorded in the log.

    tlog is the whole signed log as static files (c2sp.org/tlog-tiles), and proves itself: no filters, no manifest.

    \b
    Examples:
      gatekeeper audit export --since 30d --format csv --out november
      gatekeeper audit export --user alice@example.com --out alice --sign auditor.key
    """  # noqa: D301  click's paragraph mark
    directory = existing(audit_directory(context))
    wanted = wanted_of(filtered)
    key = None if key_file is None else unlock(key_file, passphrase_file)
    if name == _TLOG:
        _export_tlog(context, directory, out, is_plain=wanted == Wanted() and key is None)
        return
    if name == "parquet":
        require_duckdb()
    ending, beginning, written = _FORMATS[name]
    file = _fresh(out) / f"records.{ending}"
    checkpoints = _checkpoints(directory)  # before the log is read: they can only be behind it
    tally = Tally()
    with searching(directory, wanted, without_index=without_index) as search:
        octets, sha256 = _write(file, beginning, search.all(), written, tally)
    if name == "parquet":
        octets, sha256 = _columns(file)
    manifest = Manifest(
        format=name,
        made=SystemClock().now().isoformat(timespec="seconds").replace("+00:00", "Z"),
        by=whoever(),
        asked=asked(filtered, wanted.also),  # it goes where the key of the names may not
        read="log" if without_index or not wanted.is_indexed else "index",
        file=file.name,
        octets=octets,
        sha256=sha256,
        tally=tally,
        checkpoints=checkpoints,
    )
    note = manifest.note() if key is None else key.sign(manifest.note())
    with _new_file(out / MANIFEST) as stream:
        stream.write(note.encode())
    detail: dict[str, str | int] = {"what": "export", "format": name, "asked": asked(filtered) or "everything"}
    record_export(context.obj, directory, {**detail, "records_n": tally.records, "sha256": sha256})
    click.echo(f"{tally.records:,} records in {file}, sha256 {sha256}")


def _export_tlog(context: click.Context, directory: Path, out: Path, *, is_plain: bool) -> None:
    if not is_plain:
        raise click.UsageError("tlog is the whole log, signed already: it takes no filters and no --sign")
    written = export_tlog(log_directories(directory), _fresh(out))
    records = sum(checkpoint.size for checkpoint in written)
    record_export(
        context.obj, directory, {"what": "export", "format": _TLOG, "asked": "everything", "records_n": records}
    )
    for checkpoint in written:
        click.echo(f"{checkpoint.size:,} records of {checkpoint.origin} in {out}")


@click.command("check-export")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--vkey", help="The verifier key (name+id+base64) that has to have signed the manifest.")
def check_export(directory: Path, vkey: str | None) -> None:
    """Check that an export is what its manifest says, and who signed that.

    Exit codes: 0 it is, 1 it is not, 2 wrong usage, 3 not signed by --vkey.
    """
    try:
        known = [] if vkey is None else [VerifierKey.parse(vkey)]
    except NoteError as error:
        fail(f"--vkey {error}", code=EXIT_USAGE)
    try:
        with (directory / MANIFEST).open("rb") as stream:
            note = parse_note(stream.read(MAX_NOTE_OCTETS + 1))
        outline = Outline.parse(note.text)
        signers = signed_by(note, known)
        octets, sha256 = _measured(directory / outline.file)
    except NoteError as error:
        fail(f"`{directory / MANIFEST}` {error}", code=EXIT_FAILED)
    except OSError as error:
        fail(f"`{error.filename}` cannot be read: {error.strerror}", code=EXIT_FAILED)
    if (octets, sha256) != (outline.octets, outline.sha256):
        fail(f"`{directory / outline.file}` is not the file that the manifest names: it was changed", code=EXIT_FAILED)
    if known and not signers:
        fail(f"the manifest is not signed by `{known[0].name}`", code=EXIT_INCOMPLETE)
    signed = f"signed by {signers[0].name}" if signers else "whose signature was not looked at (--vkey)"
    click.echo(f"OK: {outline.records:,} records in {outline.file}, as the manifest says, {signed}")


def _fresh(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            fail(f"there is something in `{directory}` already: name an empty directory", code=EXIT_USAGE)
    except OSError as error:
        fail(f"`{directory}` cannot be used: {error.strerror}", code=EXIT_USAGE)
    return directory


def _new_file(path: Path) -> BinaryIO:
    """A file that was not there before, its owner's alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return open(descriptor, "wb")  # noqa: PTH123  a descriptor, not a path; the caller closes it


def _write(file: Path, beginning: bytes, lines: Iterable[bytes], written: _Written, tally: Tally) -> tuple[int, str]:
    """Write the records; returns octets and SHA-256 of the file."""
    digest, octets = hashlib.sha256(beginning), len(beginning)
    try:
        with _new_file(file) as stream:
            stream.write(beginning)
            for line in lines:
                record = read(line)
                tally.add(record)
                data = written(record, line, hashlib.sha256(line.removesuffix(b"\n")).hexdigest())
                stream.write(data)
                digest.update(data)
                octets += len(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        fail(f"`{file}` cannot be written: {error.strerror}", code=EXIT_FAILED)
    return octets, digest.hexdigest()


def _columns(file: Path) -> tuple[int, str]:
    """Make a Parquet file of the rows that were written into it; returns its octets and SHA-256."""
    rows = file.with_suffix(".rows")
    try:
        file.rename(rows)
        with _new_file(file):
            pass
        to_parquet(rows, file, columnar.COLUMNS)
        rows.unlink()
        return _measured(file)
    except OSError as error:
        fail(f"`{file}` cannot be written: {error.strerror or error}", code=EXIT_FAILED)


def _measured(file: Path) -> tuple[int, str]:
    digest, octets = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while data := stream.read(_STEP):
            digest.update(data)
            octets += len(data)
    return octets, digest.hexdigest()


def _checkpoints(directory: Path) -> list[Checkpoint]:
    found = []
    for log in log_directories(directory):
        data = read_checkpoint_file(log)
        with suppress(NoteError):
            if data is not None:
                found.append(read_checkpoint(data)[0])
    return found
