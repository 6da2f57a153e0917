"""`gatekeeper audit prove`: proofs that a record is in the log, and that the log only grew, for people without the log.

Inside holds: a proof is verified against the signed head and the record before it is handed out.
"""

import sys
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError, first_sequence
from gatekeeper.adapters.sinks.reader import LineCursor
from gatekeeper.adapters.sinks.several import current_directories
from gatekeeper.adapters.sinks.tiles import hashes_at, read_checkpoint_file
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint, verified
from gatekeeper.audit.proof import (
    MAX_PROOF_OCTETS,
    InclusionProof,
    ProofError,
    consistency,
    consistency_text,
    inclusion,
    is_consistent,
    is_included,
)
from gatekeeper.audit.record import MAX_RECORD
from gatekeeper.audit.signed import as_known
from gatekeeper.audit.tree import EMPTY_ROOT, leaf_hash
from gatekeeper.cli.audit_keys import read_kept, vkey_option
from gatekeeper.cli.audit_options import audit_directory, existing
from gatekeeper.cli.named import InputFile, named_octets, unwritable
from gatekeeper.cli.recording import record_read
from gatekeeper.cli.words import EXIT_FAILED, EXIT_INCOMPLETE, fail
from gatekeeper.signing.note import NoteError, VerifierKey

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def prove() -> None:
    """Prove that a record is in the log, or that the log only grew; check such a proof."""


@prove.command("inclusion")
@click.argument("sequence", type=click.IntRange(0))
@click.option("-o", "--output", type=_FILE, help="Write the proof there instead of to stdout.")
@click.option("--record", "record_file", type=_FILE, help="Write the record there, exactly as it was signed.")
@click.pass_context
def prove_inclusion(context: click.Context, sequence: int, output: Path | None, record_file: Path | None) -> None:
    """Prove that the record with this number is in the signed log (c2sp.org/tlog-proof).

    Exit codes: 0 proven, 1 tampering, 2 wrong usage, 3 not signed yet, or pruned.
    """
    log = _one_log(context)
    note, checkpoint = _head(log)
    if sequence >= checkpoint.size:
        fail(f"record {sequence} is not among the {checkpoint.size} that are signed", code=EXIT_INCOMPLETE)
    if sequence < first_sequence(log):
        what = f"record {sequence} is not there any more: the log begins with record {first_sequence(log)}"
        fail(f"{what}; `gatekeeper audit verify` says whether it was pruned", code=EXIT_INCOMPLETE)
    try:
        line = LineCursor(log, sequence).take(1)[0][:-1]
        path = inclusion(sequence, checkpoint.size, hashes_at(log, checkpoint.size))
    except AuditLogError as error:
        fail(f"{error}; `gatekeeper audit verify` says more", code=EXIT_FAILED)
    if not is_included(leaf_hash(line), sequence, checkpoint.size, path, checkpoint.root):
        fail(f"record {sequence} is not the one that was signed: see `gatekeeper audit verify`", code=EXIT_FAILED)
    if record_file is not None:
        _write(line, record_file)
    _write(InclusionProof(sequence, tuple(path), note).encode(), output)
    if record_file is not None:
        record_read(context.obj, log, {"what": "prove", "asked": f"seq={sequence}", "records_n": 1})


@prove.command("consistency")
@click.argument("older", required=False, type=InputFile())
@click.option("-o", "--output", type=_FILE, help="Write the proof there instead of to stdout.")
@click.pass_context
def prove_consistency(context: click.Context, older: Path | None, output: Path | None) -> None:
    """Prove that the signed log begins with what OLDER signed, a `checkpoint` that was kept; without it, nothing.

    The proof is what a witness takes (c2sp.org/tlog-witness): the old size, hashes, the newest checkpoint.

    Exit codes: 0 proven, 1 tampering, 2 wrong usage, 3 incomplete.
    """
    log = _one_log(context)
    note, checkpoint = _head(log)
    before = Checkpoint(checkpoint.origin, 0, EMPTY_ROOT) if older is None else read_kept(older).checkpoint
    if before.origin != checkpoint.origin:
        raise click.UsageError(f"`{older}` is of the log `{before.origin}`, not `{checkpoint.origin}`")
    try:
        path = consistency(before.size, checkpoint.size, hashes_at(log, checkpoint.size))
    except (ProofError, AuditLogError) as error:
        fail(str(error), code=EXIT_FAILED)
    if not is_consistent(before.size, before.root, checkpoint.size, checkpoint.root, path):
        fail(f"the log does not begin with the {before.size} records that `{older}` signed", code=EXIT_FAILED)
    _write(consistency_text(before.size, path, note), output)


@prove.command("check")
@click.argument("proof_file", metavar="PROOF", type=InputFile())
@click.argument("record_file", metavar="RECORD", type=InputFile())
@vkey_option
def check(proof_file: Path, record_file: Path, pinned: tuple[VerifierKey, ...]) -> None:
    """Check that a record is in the log that the head in PROOF signed; the log is not needed.

    Exit codes: 0 proven, 1 not proven, 2 wrong usage, 3 signed by a key that is not known.
    """
    data = named_octets(proof_file, MAX_PROOF_OCTETS)
    line = named_octets(record_file, MAX_RECORD + 1).removesuffix(b"\n")
    try:
        proof = InclusionProof.parse(data)
        checkpoint, _ = read_checkpoint(proof.checkpoint)
    except (ProofError, NoteError) as error:
        raise click.UsageError(f"`{proof_file}` {error}") from error
    if not is_included(leaf_hash(line), proof.index, checkpoint.size, proof.path, checkpoint.root):
        fail(f"`{record_file}` is not record {proof.index} of the signed log", code=EXIT_FAILED)
    try:
        is_known = verified(proof.checkpoint, as_known(pinned, checkpoint.origin)) is not None
    except NoteError as error:
        fail(f"`{proof_file}` {error}", code=EXIT_FAILED)
    if not is_known:
        fail("the head in it is not signed by a key that is known: `--vkey`", code=EXIT_INCOMPLETE)
    click.echo(f"record {proof.index} of {checkpoint.origin}: signed among {checkpoint.size}")


def _one_log(context: click.Context) -> Path:
    logs = current_directories(existing(audit_directory(context)))
    if len(logs) > 1:
        names = ", ".join(str(log) for log in logs)
        raise click.UsageError(f"there are several logs; choose one with `audit --directory`: {names}")
    return logs[0]


def _head(log: Path) -> tuple[bytes, Checkpoint]:
    note = read_checkpoint_file(log)
    if note is None:
        fail(f"there is no checkpoint in `{log}`: nothing is signed", code=EXIT_INCOMPLETE)
    try:
        return note, read_checkpoint(note)[0]
    except NoteError as error:
        fail(f"`{log / 'checkpoint'}` {error}", code=EXIT_FAILED)


def _write(data: bytes, output: Path | None) -> None:
    if output is not None:
        try:
            output.write_bytes(data)
        except OSError as error:
            unwritable(output, error)
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
