"""`gatekeeper policy key new | show`: the keys of those who approve policies. Key files lie with their owners."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gatekeeper.cli.named import InputFile, named_octets, unwritable
from gatekeeper.cli.words import EXIT_FAILED, EXIT_USAGE, fail
from gatekeeper.signing.keys import MAX_KEY_FILE_OCTETS, KeyFileError, locked, shown, unlocked
from gatekeeper.signing.note import NoteError, SigningKey

Command = TypeVar("Command", bound=Callable[..., None])


@click.group("key")
def key() -> None:
    """The keys of authors and approvers."""


def passphrase_option(command: Command) -> Command:
    """Add `--passphrase-file`, which stands in for the question."""
    return click.option(
        "--passphrase-file",
        type=InputFile(),
        help="Read the passphrase from the first line of this file instead of asking.",
    )(command)


@key.command("new")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
def new(name: str, file: Path, passphrase_file: Path | None) -> None:
    """Make a key for NAME (one word, such as a.ruiz or example.com/a.ruiz) in FILE, locked by a passphrase.

    Prints the verifier key: that is what goes into the configuration.
    """
    checkout = _checkout(file)
    if checkout is not None:
        fail(f"`{checkout}` is a source checkout, where no key must lie: name a file elsewhere", code=EXIT_USAGE)
    passphrase = _passphrase(passphrase_file, confirm=True)
    made = SigningKey(name, Ed25519PrivateKey.generate())
    try:
        octets = locked(made, passphrase)
    except (KeyFileError, NoteError) as error:
        fail(str(error), code=EXIT_USAGE)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:  # noqa: PTH123  a descriptor, not a path
            stream.write(octets)
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        unwritable(file, error)
    click.echo(made.verifier)


@key.command()
@click.argument("file", type=InputFile())
def show(file: Path) -> None:
    """Print the verifier key of the key in FILE; needs no passphrase."""
    try:
        click.echo(shown(named_octets(file, MAX_KEY_FILE_OCTETS)))
    except KeyFileError as error:
        fail(f"`{file}` {error}", code=EXIT_FAILED)


def unlock(file: Path, passphrase_file: Path | None) -> SigningKey:
    """The private key in a file; ends the command when it cannot be had."""
    data = named_octets(file, MAX_KEY_FILE_OCTETS)
    try:
        name = shown(data).name
        return unlocked(data, _passphrase(passphrase_file, whose=name))
    except KeyFileError as error:
        fail(f"`{file}` {error}", code=EXIT_FAILED)


def _passphrase(file: Path | None, *, whose: str = "", confirm: bool = False) -> bytes:
    if file is None:
        question = f"Passphrase of {whose}" if whose else "Passphrase"
        answer: str = click.prompt(question, hide_input=True, confirmation_prompt=confirm, err=True)
        return answer.encode()
    return named_octets(file, MAX_KEY_FILE_OCTETS).partition(b"\n")[0].rstrip(b"\r")


def _checkout(file: Path) -> Path | None:
    """The source checkout in which a file would lie."""
    return next((folder for folder in file.absolute().parents if (folder / ".git").exists()), None)
