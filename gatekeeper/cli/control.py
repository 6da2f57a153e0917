"""`gatekeeper status | reload | drain`: talk to the running process by its control socket."""

import http.client
import json
import os
import socket
import time
from pathlib import Path

import click

from gatekeeper.cli.words import EXIT_CONFIG, EXIT_TRY_AGAIN, fail, load_settings, say_json
from gatekeeper.config.load import state_directory
from gatekeeper.config.settings import CONTROL_SOCKET
from gatekeeper.domain.document import parse_duration

_TIMEOUT_S = 30.0
_WHEN_EMPTY = {"break_glass": "closed"}
"""What `status` says for a fact without words."""
_TITLES = {"ready": "health"}
"""What it calls a fact: what is not ready may stand under `ready` for machines only."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, within_s: float) -> None:
        super().__init__("localhost", timeout=within_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _ask(config_path: Path, method: str, path: str) -> tuple[int, dict[str, object]]:
    control = load_settings(config_path).state_directory / CONTROL_SOCKET
    return ask_gate(control, method, path)


def ask_gate(control: Path, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    """Ask the running gate; ends the command when none answers."""
    try:
        return _ask_socket(control, method, path, body, _TIMEOUT_S)
    except (OSError, http.client.HTTPException, ValueError) as error:
        fail(f"no gatekeeper answers at `{control}`: {error} (is `gatekeeper serve` running?)", code=EXIT_TRY_AGAIN)


def gate_answer(
    control: Path, method: str, path: str, body: object = None, *, within_s: float = _TIMEOUT_S
) -> tuple[int, dict[str, object]] | None:
    """Ask the running gate; None when none answers."""
    try:
        return _ask_socket(control, method, path, body, within_s)
    except (OSError, http.client.HTTPException, ValueError):
        return None


def _ask_socket(control: Path, method: str, path: str, body: object, within_s: float) -> tuple[int, dict[str, object]]:
    connection = _UnixConnection(control, within_s)
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body))
        response = connection.getresponse()
        answer: dict[str, object] = json.loads(response.read())
        return response.status, answer
    finally:
        connection.close()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_obj
def status(config_path: Path, *, as_json: bool) -> None:
    """What the running gate is doing."""
    _, body = _ask(config_path, "GET", "/status")
    if as_json:
        say_json(body)
        return
    for key, value in body.items():
        title = _TITLES.get(key, key)
        if isinstance(value, dict):
            for name, detail in value.items():
                facts = [f"{fact} {said}" for fact, said in detail.items()] if isinstance(detail, dict) else [detail]
                click.echo(f"{title:14} {name}: {', '.join(facts)}")
        else:
            click.echo(f"{title:14} {value or _WHEN_EMPTY.get(key, value)}")


@click.command()
@click.pass_obj
def reload(config_path: Path) -> None:
    """Check configuration, policy and certificates, and put them in force; on any fault the old ones stay."""
    # The running process knows its own configuration file; a broken one must not keep us from asking.
    control = control_socket(config_path)
    code, body = ask_gate(control, "POST", "/reload")
    if code != 200:
        faults = body.get("faults")
        fail(*map(str, faults if isinstance(faults, list) else [body]), "nothing was changed", code=EXIT_CONFIG)
    notes = body.get("notes")
    for note in notes if isinstance(notes, list) else ():
        click.echo(f"note: {note}", err=True)
    click.echo("Reloaded. Open sessions have been decided again.")


def control_socket(config_path: Path) -> Path:
    """Where the running process listens, even when its configuration has become unreadable."""
    return state_directory(config_path, os.environ) / CONTROL_SOCKET


@click.command()
@click.option("--wait", "wait", default="0s", help="Wait so long for the end, e.g. 120s.")
@click.pass_obj
def drain(config_path: Path, wait: str) -> None:
    """Take no new connections, end the sessions politely, and stop."""
    window = parse_duration(wait)
    if window is None:
        raise click.BadParameter('a duration such as "120s"', param_hint="--wait")
    control = load_settings(config_path).state_directory / CONTROL_SOCKET
    ask_gate(control, "POST", "/drain")
    click.echo("Draining.")
    deadline = time.monotonic() + window.total_seconds()
    while time.monotonic() < deadline:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(control))
        except OSError:
            click.echo("Stopped.")
            return
        time.sleep(0.1)
    if window:
        fail("still draining", code=EXIT_TRY_AGAIN)
