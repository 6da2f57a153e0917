"""`gatekeeper audit verify`: chain, tree, tiles and signature of every log, and heads that were kept elsewhere."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from gatekeeper.adapters.sinks.several import log_directories
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.cosignature import Cosigned, CosignerKey, cosigned_by
from gatekeeper.audit.record import clean
from gatekeeper.cli.audit_keys import Kept, Known, cosigners, kept, known_for, origin_of, vkey_option
from gatekeeper.cli.audit_options import audit_directory, existing
from gatekeeper.cli.audit_report import as_document, print_report, verify_log, worst_of
from gatekeeper.cli.words import EXIT_FAILED, EXIT_INCOMPLETE
from gatekeeper.signing.note import NoteError, VerifierKey

_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z, the last instant that datetime can say


@click.command("verify")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@vkey_option
@click.option(
    "--since-checkpoint",
    "since",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    callback=kept,
    help="A `checkpoint` that was kept elsewhere: the log must begin with what it signed (repeat for several logs).",
)
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    callback=cosigners,
    help="The key of a witness, or a file with it: kept checkpoints must bear its cosignature (repeat for more).",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def verify(
    context: click.Context,
    directory: Path | None,
    pinned: tuple[VerifierKey, ...],
    since: tuple[Kept, ...],
    witnesses: tuple[CosignerKey, ...],
    as_json: bool,
) -> None:
    """Verify that nothing was changed, dropped, inserted, reordered or cut off, and that the right key signed it.

    Of several workers each has a log of its own; all are verified, and the worst result counts.

    Exit codes: 0 sound, 1 tampering, 2 wrong usage, 3 incomplete, or not signed or cosigned by the keys that are known.
    """
    logs = log_directories(existing(directory or audit_directory(context)))
    verified = []
    for number, log in enumerate(logs):
        known = known_for(context, log, pinned)
        verified.append(verify_log(log, known, _older(log, known, since)))
        if not as_json:
            if number:
                click.echo()
            print_report(verified[-1])
    origins = {origin_of(log) for log in logs}
    gone = [one.checkpoint for one in since if one.checkpoint.origin not in origins]
    seen = {one.path: _cosigned(one, witnesses) for one in since}
    unseen = [path for path, witnessed in seen.items() if len(witnessed) < len(witnesses)]
    status = EXIT_FAILED if gone else worst_of(verified).status or (EXIT_INCOMPLETE if unseen else 0)
    if as_json:
        documents = [{"directory": str(one.directory), **as_document(one)} for one in verified]
        result = "TAMPERED" if gone else worst_of(verified).result
        several = {"result": result, "gone": [one.origin for one in gone], "logs": documents}
        document = documents[0] if len(logs) == 1 and not gone else several
        witnessed = [{"name": one.witness.name, "time": one.time} for each in seen.values() for one in each]
        click.echo(json.dumps({**document, "witnessed": witnessed} if witnesses else document))
    else:
        for one in gone:
            what = f"there is no log `{clean(one.origin)}`, of which {one.size} records were signed"
            click.echo(f"FOUND      gone: {what}")
        for path, each in seen.items():
            for cosigned in each:
                click.echo(f"witness    {path}: {cosigned.witness.name} saw it at {_instant(cosigned.time)}")
        for path in unseen:
            click.echo(f"missing    {path} is not cosigned by every known witness")
    context.exit(status)


def _cosigned(one: Kept, witnesses: tuple[CosignerKey, ...]) -> tuple[Cosigned, ...]:
    try:
        return cosigned_by(read_checkpoint(one.note)[1], witnesses)
    except NoteError as error:
        raise click.UsageError(f"{one.path}: {error}") from error


def _instant(seconds: int) -> str:
    if seconds > _LATEST:
        return f"{seconds} s after 1970"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _older(log: Path, known: Known, since: tuple[Kept, ...]) -> list[Checkpoint]:
    """The kept heads of this log, which the key of the log must have signed."""
    of_it = [one for one in since if one.checkpoint.origin == origin_of(log)]
    for one in of_it:
        if known.keys and not one.is_signed_by(known):
            raise click.UsageError(f"{one.path} is not signed by a key that is known")
    return [one.checkpoint for one in of_it]
