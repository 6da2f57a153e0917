"""`gatekeeper audit verify`: chain, tree, tiles and signature of every log, and heads that were kept elsewhere."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from gatekeeper.adapters.sinks.several import log_directories
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.cosignature import Cosigned, CosignerKey, cosigned_by
from gatekeeper.cli.audit_keys import Kept, Known, cosigners, kept, known_for, origin_of, read_kept, vkey_option
from gatekeeper.cli.audit_options import audit_directory, existing
from gatekeeper.cli.audit_outcome import Muster, Outcome, Required
from gatekeeper.cli.audit_registry import advanced, muster, read_registry, registry_option, write_registry
from gatekeeper.cli.audit_report import print_report, verify_log
from gatekeeper.cli.named import InputFile
from gatekeeper.signing.note import NoteError, VerifierKey


@click.command("verify")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@vkey_option
@click.option(
    "--since-checkpoint",
    "since",
    type=InputFile(),
    multiple=True,
    callback=kept,
    help="A `checkpoint` that was kept elsewhere: the log must begin with what it signed (repeat for several logs).",
)
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    callback=cosigners,
    help="The key of a witness, or a file with it: it must have cosigned each kept checkpoint, or a head of each log "
    "(repeat for more).",
)
@click.option("--all", "is_all", is_flag=True, help="Every log of the registry; none may be missing or unknown.")
@registry_option
@click.option("--update", "is_updated", is_flag=True, help="When all are sound, note in the registry what they signed.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def verify(  # noqa: PLR0913, PLR0917  one for each option
    context: click.Context,
    directory: Path | None,
    pinned: tuple[VerifierKey, ...],
    since: tuple[Kept, ...],
    witnesses: tuple[CosignerKey, ...],
    is_all: bool,
    file: Path | None,
    is_updated: bool,
    as_json: bool,
) -> None:
    """Verify that nothing was changed, dropped, inserted, reordered or cut off, and that the right key signed it.

    Of several workers each has a log of its own; all are verified, and the worst result counts. With --all those of a
    registry are (`audit registry`), each under its own key and against what it had signed before.

    Exit codes: 0 sound, 1 tampering, 2 wrong usage, 3 incomplete, or not signed or cosigned by the keys that are known.
    """
    if is_all:
        if pinned or since:
            raise click.UsageError("--all takes keys and older heads from the registry")
        registry = read_registry(file)
        found = muster(registry, [] if directory is None else [existing(directory)])
    elif is_updated:
        raise click.UsageError("--update goes with --all")
    else:
        registry, found = None, _found(context, directory, pinned, since)
    seen = {one.path: _cosigned(one, witnesses) for one in since}
    unseen = [str(path) for path, witnessed in seen.items() if len(witnessed) < len(witnesses)]
    if witnesses:
        found, beside, lacking = _with_heads_beside(found, {one.checkpoint.origin for one in since}, witnesses)
        seen |= beside
        unseen += lacking
    verified = []
    for number, one in enumerate(found.required):
        verified.append(verify_log(one.directory, one.known, one.older))
        if not as_json:
            if number:
                click.echo()
            print_report(verified[-1])
    outcome = Outcome(verified, found, {str(path): each for path, each in seen.items()}, unseen)
    lines = [json.dumps(outcome.document(is_with_witnesses=bool(witnesses)))] if as_json else outcome.lines()
    for line in lines:
        click.echo(line)
    if is_updated and registry is not None and file is not None and not outcome.status:
        write_registry(file, advanced(registry, verified))
    context.exit(outcome.status)


def _found(
    context: click.Context, directory: Path | None, pinned: tuple[VerifierKey, ...], since: tuple[Kept, ...]
) -> Muster:
    """The logs of one audit directory, and those of kept heads that are not there."""
    logs = log_directories(existing(directory or audit_directory(context)))
    required = []
    for log in logs:
        known = known_for(context, log, pinned)
        required.append(Required(log, known, tuple(_older(log, known, since))))
    origins = {origin_of(log) for log in logs}
    heads = [one.checkpoint for one in since]
    gone = [(head.origin, head.size) for head in heads if head.origin not in origins]
    return Muster(tuple(required), tuple(gone))


def _cosigned(one: Kept, witnesses: tuple[CosignerKey, ...]) -> tuple[Cosigned, ...]:
    try:
        return cosigned_by(read_checkpoint(one.note)[1], witnesses)
    except NoteError as error:
        raise click.UsageError(f"{one.path}: {error}") from error


def _with_heads_beside(
    found: Muster, kept: set[str], witnesses: tuple[CosignerKey, ...]
) -> tuple[Muster, dict[Path, tuple[Cosigned, ...]], list[str]]:
    """The logs, which have to begin with the cosigned heads beside them as well; who saw those; and what nobody saw.

    Whoever can write there can remove such a head, but not make one; `kept`: logs of which one was kept elsewhere.
    """
    seen: dict[Path, tuple[Cosigned, ...]] = {}
    required, unseen = [], []
    for one in found.required:
        beside: dict[Path, tuple[Cosigned, ...]] = {}
        older = []
        for head in _heads_beside(one.directory):
            with suppress(click.UsageError):  # a signature that does not fit: it is no head
                witnessed = _cosigned(head, witnesses) if head.is_signed_by(one.known) else ()
                if witnessed:
                    beside[head.path] = witnessed
                    older.append(head.checkpoint)
        required.append(replace(one, older=(*one.older, *older)))
        seen |= beside
        by = {cosigned.witness for each in beside.values() for cosigned in each}
        origin = origin_of(one.directory)
        if origin not in kept and len(by) < len(witnesses):
            unseen.append(f"the log {origin}")
    return replace(found, required=tuple(required)), seen, unseen


def _heads_beside(log: Path) -> list[Kept]:
    """What witnesses cosigned of the log, as the gate keeps it (`cosigned/*`); what cannot be read is none."""
    found = []
    for path in sorted((log / "cosigned").glob("*")):
        with suppress(click.BadParameter, OSError):
            head = read_kept(path)
            if head.checkpoint.origin == origin_of(log):
                found.append(head)
    return found


def _older(log: Path, known: Known, since: tuple[Kept, ...]) -> list[Checkpoint]:
    """The kept heads of this log, which the key of the log must have signed."""
    of_it = [one for one in since if one.checkpoint.origin == origin_of(log)]
    for one in of_it:
        if known.keys and not one.is_signed_by(known):
            raise click.UsageError(f"{one.path} is not signed by a key that is known")
    return [one.checkpoint for one in of_it]
