"""`gatekeeper policy break-glass`: for some minutes everybody with a valid password gets mail, loudly."""

import time
from pathlib import Path

import click

from gatekeeper.adapters.bundles.durable import replace
from gatekeeper.cli.control import control_socket, gate_answer
from gatekeeper.cli.named import InputFile, unwritable
from gatekeeper.cli.policy_desk import read_octets
from gatekeeper.cli.policy_keys import passphrase_option, unlock
from gatekeeper.cli.words import EXIT_CONFIG, EXIT_FAILED, EXIT_TRY_AGAIN, fail, load_settings
from gatekeeper.config.settings import Settings
from gatekeeper.publishing.break_glass import OPEN, BreakGlassError, BreakGlassSettings, opening, parse_opening
from gatekeeper.server.break_glass import NOTE_FILE
from gatekeeper.server.clock import SystemClock

_WITHIN_S = 5.0


@click.command("break-glass")
@click.option("--minutes", type=click.IntRange(1, 60), help="How long; it ends by itself.")
@click.option("--reason", help="Why, in one line; it is signed and recorded.")
@click.option("--key", "key_file", type=InputFile(), help="The key file of policy.break_glass.")
@passphrase_option
@click.option("--allow-all", is_flag=True, help="Do not ask whether it is meant.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Only write the note, to be used elsewhere.")
@click.option("--note", "note_file", type=InputFile(), help="Use a note that was made elsewhere.")
@click.option("--end", is_flag=True, help="Close it before its time; wants no key.")
@click.pass_obj
def break_glass(  # noqa: PLR0913  one for each option
    config_path: Path,
    *,
    minutes: int | None,
    reason: str | None,
    key_file: Path | None,
    passphrase_file: Path | None,
    allow_all: bool,
    output: Path | None,
    note_file: Path | None,
    end: bool,
) -> None:
    """Let everybody through whose password is right, whatever the policy says of the device, for some minutes.

    The mail server still checks the password, every log-in is still decided and recorded (as what would be blocked),
    and the audit log must still be writable. Nothing else is waived.

    \b
    Examples:
      gatekeeper policy break-glass --minutes 30 --reason "MDM outage" --key /media/safe/glass.key
      gatekeeper policy break-glass --end
    """  # noqa: D301  click's paragraph mark
    settings = load_settings(config_path)
    if settings.break_glass is None:
        fail(
            f"{config_path}: policy.break_glass.key names no key that may do this: make one with"
            " `gatekeeper policy key new`, keep it offline, and set the key to what that prints",
            code=EXIT_CONFIG,
        )
    place = settings.state_directory / NOTE_FILE
    if end:
        place.unlink(missing_ok=True)
        _wait(config_path, is_open=False)
        return
    if note_file is not None:
        data = read_octets(note_file)
    else:
        data = _made(settings.break_glass, minutes, reason, key_file, passphrase_file)
    until = _checked(settings.break_glass, data)
    if output is not None:
        _write(output, data)
        click.echo(f"{output}: good until {until}; `policy break-glass --note {output}` where the gate runs", err=True)
        return
    if not allow_all:
        question = f"Until {until} EVERYBODY with a valid password gets mail on ANY device. Go on?"
        click.confirm(question, abort=True, err=True)
    _install(settings, place, data)
    _wait(config_path, is_open=True)


def _made(
    settings: BreakGlassSettings,
    minutes: int | None,
    reason: str | None,
    key_file: Path | None,
    passphrase: Path | None,
) -> bytes:
    if minutes is None or reason is None or key_file is None:
        raise click.UsageError("give --minutes, --reason and --key; or --note; or --end")
    try:
        found = opening(settings.origin, minutes, reason, SystemClock().now())
    except BreakGlassError as error:
        fail(str(error), code=EXIT_FAILED)
    return unlock(key_file, passphrase).sign(found.note).encode()


def _checked(settings: BreakGlassSettings, data: bytes) -> str:
    """Until when the note opens; ends the command when the gate would refuse it."""
    now = SystemClock().now()
    try:
        found = parse_opening(data, settings, now)
    except BreakGlassError as error:
        fail(str(error), "nothing was opened", code=EXIT_FAILED)
    if found.until <= now:
        fail(f"it was good until {found.until:%Y-%m-%d %H:%M:%S} UTC", "nothing was opened", code=EXIT_FAILED)
    return f"{found.until:%Y-%m-%d %H:%M:%S} UTC"


def _install(settings: Settings, place: Path, data: bytes) -> None:
    try:
        settings.state_directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        fail(f"`{settings.state_directory}` cannot be made: {error.strerror}", code=EXIT_FAILED)
    _write(place, data)


def _write(path: Path, data: bytes) -> None:
    try:
        replace(path, data)
    except OSError as error:
        unwritable(path, error)


def _wait(config_path: Path, *, is_open: bool) -> None:
    """Say when the gate has done it, with all its workers."""
    deadline = time.monotonic() + _WITHIN_S
    while (answer := gate_answer(control_socket(config_path), "GET", "/status")) is not None:
        said = str(answer[1].get("break_glass") or "")
        if said.startswith(OPEN) if is_open else not said:
            click.echo(f"break-glass: {said or 'closed'}")
            return
        if time.monotonic() > deadline:
            fail("the gate has not followed yet: see `gatekeeper status`", code=EXIT_TRY_AGAIN)
        time.sleep(0.05)
    click.echo("no gate answers: it takes the note when it starts, if that is in time", err=True)
