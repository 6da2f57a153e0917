"""`gatekeeper audit witness`: what an audit team runs, away from the gate, to cosign heads of logs that only grew.

It serves requests by HTTP, or takes one and answers it, so that any way of carrying octets will do, as `ssh` with a
forced command.
"""

import asyncio
import ssl
import sys
from pathlib import Path

import click

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.witnessing import MEMORY_FAULT, Answer, WitnessDesk
from gatekeeper.audit.proof import MAX_PROOF_OCTETS
from gatekeeper.audit.record import clean
from gatekeeper.cli.audit_keys import vkey_option
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_FAILED, EXIT_INCOMPLETE, fail
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.witness import serve_witness
from gatekeeper.signing.note import VerifierKey

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


def _address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"`{value}` is no address such as 192.0.2.7:8443 or [::1]:8443")
    return host.removeprefix("[").removesuffix("]"), int(port)


@click.command("witness")
@click.option("--name", required=True, help="What the witness is called, as `audit.example.com/witness`.")
@click.option(
    "--state",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory of its own: its key, made the first time, and the last head of each log.",
)
@click.option("--show-key", is_flag=True, help="Show the key by which others know the witness, and end.")
@click.option("--listen", callback=_address, metavar="HOST:PORT", help="Serve `POST /add-checkpoint` there.")
@click.option("--certificate", type=_FILE, help="With --listen: serve by TLS, with this chain (PEM).")
@click.option("--private-key", type=_FILE, help="Its key (PEM), when it is in another file.")
@vkey_option
def witness_command(  # noqa: PLR0913, PLR0917  one for each option
    name: str,
    state: Path,
    show_key: bool,
    listen: tuple[str, int] | None,
    certificate: Path | None,
    private_key: Path | None,
    pinned: tuple[VerifierKey, ...],
) -> None:
    """Cosign heads of logs that only grew: by HTTP with --listen, else one, for a request on stdin.

    A request is the body of `add-checkpoint` (c2sp.org/tlog-witness); `audit prove consistency` makes it, and a gate
    with `[[audit.checkpoint]] kind = "witness"` asks by itself. The answer is a signature line
    (c2sp.org/tlog-cosignature), to be put at the end of the checkpoint.

    Exit codes: 0 cosigned, 1 refused: the log was forked, or cut, 2 wrong usage, 3 no head of a log that is known, or a
    request that goes on from another head than the last one, whose size then is on stdout.
    """
    try:
        desk = WitnessDesk(state, name, pinned, SystemClock().now)
    except AuditLogError as error:
        fail(str(error), code=EXIT_CONFIG)
    if show_key:
        click.echo(str(desk.key))
        return
    if not pinned:
        raise click.UsageError("--vkey says whose logs are cosigned")
    if listen is not None:
        _serve(desk, listen, _context(certificate, private_key))
        return
    _say(desk.answer(sys.stdin.buffer.read(MAX_PROOF_OCTETS + 1)))


def _say(answer: Answer) -> None:
    if not answer.why:
        click.echo(answer.body.decode(), nl=False)
    elif answer.kept is not None:
        fail(answer.why, f"the head is kept in `{answer.kept}`", code=EXIT_FAILED)
    elif answer.is_forged:
        fail(answer.why, code=EXIT_FAILED)
    elif answer.status == MEMORY_FAULT:
        fail(answer.why, code=EXIT_CONFIG)
    elif answer.status == 400:
        raise click.UsageError(answer.why)
    else:
        if answer.status == 409:
            click.echo(answer.body.decode(), nl=False)
        fail(answer.why, code=EXIT_INCOMPLETE)


def _serve(desk: WitnessDesk, address: tuple[str, int], context: ssl.SSLContext | None) -> None:
    scheme, (host, port) = "http" if context is None else "https", address

    def listening(bound: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"{desk.key.name} listens on {scheme}://{shown}:{bound}/add-checkpoint", err=True)

    def told(answer: Answer) -> None:
        if answer.why and (answer.status != 409 or answer.is_proof):
            what = "FORKED" if answer.is_proof else "refused"
            kept = "" if answer.kept is None else f" (kept in {answer.kept})"
            at = f"{SystemClock().now():%Y-%m-%dT%H:%M:%SZ}"
            click.echo(f"{at} {what} ({answer.status}): {clean(answer.why)}{kept}", err=True)

    try:
        asyncio.run(serve_witness(desk, host, port, context=context, listening=listening, told=told))
    except OSError as error:
        fail(f"cannot listen on {host}:{port}: {error.strerror}", code=EXIT_CONFIG)


def _context(certificate: Path | None, private_key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if private_key is not None:
            raise click.UsageError("--private-key goes with --certificate")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        fail(f"`{certificate}` cannot be used: {error}", code=EXIT_CONFIG)
    return context
