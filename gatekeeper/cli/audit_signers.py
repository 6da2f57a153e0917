"""`gatekeeper audit keys`: the keys that sign the audit log, for auditors to pin, and their change.

Inside holds: after a change both keys sign, until the older one is retired; it is not retired before every log is
signed by the newer one.
"""

from pathlib import Path

import click
from cryptography.hazmat.primitives import serialization

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.several import current_directories, worker_origin
from gatekeeper.adapters.sinks.signing_key import before, load_key, retire, rotate
from gatekeeper.adapters.sinks.tiles import read_checkpoint_file
from gatekeeper.audit.checkpoint import verified
from gatekeeper.cli.audit_keys import origin_of
from gatekeeper.cli.control import control_socket, gate_answer
from gatekeeper.cli.recording import as_owner_of
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_FAILED, fail, load_settings
from gatekeeper.signing.note import NoteError, SigningKey, VerifierKey


@click.group("keys", invoke_without_command=True)
@click.option("--each", "is_each", is_flag=True, help="One for each worker's log, as other programs want it.")
@click.option("--pem", "as_pem", is_flag=True, help="The newest public key for `openssl`.")
@click.pass_context
def keys(context: click.Context, is_each: bool, as_pem: bool) -> None:
    """Show the public key that verifies the audit log, for auditors to pin; after a change also the one before.

    `audit verify --vkey` takes it for the logs of all workers. Other programs know a key by its name, which is the
    origin of the log: --each.
    """
    if context.invoked_subcommand is not None:
        return
    settings = load_settings(context.obj)
    path, workers = settings.audit.signing_key, settings.workers
    names = [settings.audit.origin]
    if workers > 1 and is_each:
        names = [worker_origin(settings.audit.origin, number + 1) for number in range(workers)]
    newest = [_own(path, name) for name in names]
    if as_pem:
        pem = (
            newest[0]
            .private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        click.echo(pem.decode(), nl=False)
        return
    older = [key for key in (_loaded(before(path), name) for name in names) if key is not None]
    for text in dict.fromkeys(str(key.verifier) for key in (*newest, *older)):
        click.echo(text)


@keys.command("rotate")
@click.pass_obj
def rotate_command(config_path: Path) -> None:
    """Make a new signing key. From then on it and the one before sign, until `audit keys retire`.

    Give the new public key to those who pin it, over the way on which they got the first one, and retire the older one
    when all have it. The change is recorded in the log (GK9012I), under both signatures.
    """
    settings = load_settings(config_path)
    path, origin = settings.audit.signing_key, settings.audit.origin
    try:
        with as_owner_of(path.parent):
            key = rotate(path, origin)
    except AuditLogError as error:
        fail(str(error), code=EXIT_FAILED)
    click.echo(str(key.verifier))
    _tell_gate(config_path, "Both keys sign")


@keys.command("retire")
@click.pass_obj
def retire_command(config_path: Path) -> None:
    """Remove the key from before the last change, when everybody has pinned the new one. It cannot be had back."""
    settings = load_settings(config_path)
    path, origin = settings.audit.signing_key, settings.audit.origin
    key = _own(path, origin)
    if _loaded(before(path), origin) is None:
        fail(f"there is no key `{before(path)}` to retire", code=EXIT_FAILED)
    for log in current_directories(settings.audit.directory):
        if not _is_signed_by(log, key):
            fail(
                f"the log in `{log}` is not signed by the new key yet: reload or start the gate first", code=EXIT_FAILED
            )
    try:
        with as_owner_of(path.parent):
            retire(path)
    except AuditLogError as error:
        fail(str(error), code=EXIT_FAILED)
    _tell_gate(config_path, "Only the new key signs")


def _tell_gate(config_path: Path, what: str) -> None:
    """Have a running gate take up the keys."""
    answer = gate_answer(control_socket(config_path), "POST", "/reload")
    if answer is None:
        click.echo(f"{what} from the next start of the gate on.", err=True)
    elif answer[0] == 200:
        click.echo(f"{what} from now on.", err=True)
    else:
        click.echo(
            f"warning: the gate could not be reloaded (`gatekeeper reload` says why). {what} after that.", err=True
        )


def _is_signed_by(log: Path, key: SigningKey) -> bool:
    note = read_checkpoint_file(log)
    try:
        return note is None or verified(note, [VerifierKey(origin_of(log), key.verifier.public)]) is not None
    except NoteError as error:
        fail(f"`{log / 'checkpoint'}` {error}: see `gatekeeper audit verify`", code=EXIT_FAILED)


def _own(path: Path, name: str) -> SigningKey:
    key = _loaded(path, name)
    if key is None:
        fail(f"there is no signing key `{path}` yet; the gate makes it at its first start", code=EXIT_CONFIG)
    return key


def _loaded(path: Path, name: str) -> SigningKey | None:
    try:
        return load_key(path, name)
    except AuditLogError as error:
        fail(str(error), code=EXIT_CONFIG)
