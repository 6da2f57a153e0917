"""`gatekeeper audit witness`: what an audit team runs, away from the gate, to cosign heads of logs that only grew.

It takes one request and answers it, so that any way of carrying octets will do, as `ssh` with a forced command.

Inside holds: what was cosigned is durable before the cosignature is given out; two at the same time take turns; a
signed head that contradicts what was cosigned is kept, for it is the proof of a fork.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.signing_key import load_or_make_key
from gatekeeper.adapters.sinks.tiles import put
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.cosignature import Conflict, CosignerKey, Inconsistent, Request, Unknown, cosign, witness
from gatekeeper.audit.proof import MAX_PROOF_OCTETS, ProofError
from gatekeeper.cli.audit_keys import vkey_option
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_FAILED, EXIT_INCOMPLETE, fail
from gatekeeper.server.clock import SystemClock
from gatekeeper.signing.note import NoteError, SigningKey, VerifierKey


@click.command("witness")
@click.option("--name", required=True, help="What the witness is called, as `audit.example.com/witness`.")
@click.option(
    "--state",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory of its own: its key, made the first time, and the last head of each log.",
)
@click.option("--show-key", is_flag=True, help="Show the key by which others know the witness, and end.")
@vkey_option
def witness_command(name: str, state: Path, show_key: bool, pinned: tuple[VerifierKey, ...]) -> None:
    """Cosign a head of a log that only grew, for a request on stdin (`audit prove consistency` makes it).

    The answer on stdout is a signature line (c2sp.org/tlog-cosignature), to be put at the end of the checkpoint.

    Exit codes: 0 cosigned, 1 refused: the log was forked, or cut, 2 wrong usage, 3 no head of a log that is known, or a
    request that goes on from another head than the last one, whose size then is on stdout.
    """
    key = _key(state, name)
    if show_key:
        click.echo(str(CosignerKey(name, key.verifier.public)))
        return
    if not pinned:
        raise click.UsageError("--vkey says whose logs are cosigned")
    try:
        request = Request.parse(sys.stdin.buffer.read(MAX_PROOF_OCTETS))
        origin = read_checkpoint(request.note)[0].origin
    except (ProofError, NoteError) as error:
        raise click.UsageError(f"what is on stdin {error}") from error
    place = state / f"{hashlib.sha256(origin.encode()).hexdigest()}.checkpoint"
    with _alone(state):
        try:
            _, note = witness(request, _last(place), pinned)
        except Unknown as error:
            fail(str(error), code=EXIT_INCOMPLETE)
        except Conflict as error:
            click.echo(str(error.size))
            fail(str(error), code=EXIT_INCOMPLETE)
        except Inconsistent as error:
            put(place.with_suffix(".refused"), request.note, FileOperations(), is_durable=True)
            fail(str(error), f"the head is kept in `{place.with_suffix('.refused')}`", code=EXIT_FAILED)
        except NoteError as error:
            fail(str(error), code=EXIT_FAILED)
        put(place, request.note, FileOperations(), is_durable=True)
        FileOperations().sync_directory(state)
        line = cosign(note, name, key.private, int(SystemClock().now().timestamp()))
    click.echo(str(line))


def _key(state: Path, name: str) -> SigningKey:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return load_or_make_key(state / "witness.key", name)
    except OSError as error:
        fail(f"`{state}` cannot be made: {error.strerror}", code=EXIT_CONFIG)
    except AuditLogError as error:
        fail(str(error), code=EXIT_CONFIG)


def _last(place: Path) -> Checkpoint | None:
    """The head that was cosigned last; one that cannot be read is a fault, never a first time."""
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return read_checkpoint(data)[0]
    except NoteError as error:
        fail(f"`{place}` {error}: the witness no longer knows what it cosigned", code=EXIT_CONFIG)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    fd = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
