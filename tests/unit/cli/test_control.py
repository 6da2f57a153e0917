"""`gatekeeper status | reload | drain` against a small server on the control socket."""

import hashlib
import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from testkit.configuration import Configuration


class Gate(socketserver.ThreadingUnixStreamServer):
    """Answers as it is told and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        path.parent.mkdir(parents=True)
        super().__init__(str(path), _Handler)


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        gate = self.server
        assert isinstance(gate, Gate)
        gate.asked.append(f"{self.command} {self.path}")
        status, body = gate.answers[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/drain":
            # Like the real one: gone soon after.
            Path(str(gate.server_address)).unlink()

    do_GET = do_POST = _answer  # noqa: N815  the names of http.server

    def address_string(self) -> str:
        return "client"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of http.server
        pass


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example, its state directory where the control socket is."""
    return Configuration(tmp_path)


@pytest.fixture
def gate(tmp_path: Path, configuration: Configuration) -> Iterator[Gate]:
    """A running gate."""
    with Gate(tmp_path / "var" / "control.sock") as gate:
        thread = threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield gate
        gate.shutdown()
        thread.join()


def _run(configuration: Configuration, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(configuration.path), *arguments])


def test_a_policy_file_that_was_not_reloaded_is_told(configuration: Configuration, gate: Gate) -> None:
    """The gate goes on with what it has."""
    digest = hashlib.sha256(configuration.policy_path.read_bytes()).hexdigest()
    told = []
    for in_force in (digest, "0" * 64):
        body = {"policy": {"source": "policy.toml", "sha256": in_force}}
        gate.answers["/status"] = (200, json.dumps(body).encode())
        told.append(_run(configuration, "policy", "status").stdout.splitlines())

    path = configuration.policy_path
    assert told[0] == [
        f"gate       has in force policy.toml, sha256 {digest[:16]}",
        f"file       {path}, sha256 {digest[:16]}: the same",
    ]
    assert told[1][1] == f"file       {path}, sha256 {digest[:16]}: NOT in force until `gatekeeper reload`"


def test_status_is_told_in_words_and_for_machines(configuration: Configuration, gate: Gate) -> None:
    """A line for each fact."""
    body = {
        "version": "0.1.0",
        "ready": {"audit": "ok"},
        "listeners": {"imaps": {"protocol": "imap", "port": 9993, "tls": "implicit"}},
        "mail_servers": {"imap": {"192.0.2.1:993": "up", "192.0.2.2:993": "nothing listens"}},
        "break_glass": "",
    }
    gate.answers["/status"] = (200, json.dumps(body).encode())
    words = _run(configuration, "status")
    assert words.exit_code == 0
    assert [line.split() for line in words.stdout.splitlines()] == [
        ["version", "0.1.0"],
        ["health", "audit:", "ok"],
        ["listeners", "imaps:", "protocol", "imap,", "port", "9993,", "tls", "implicit"],
        ["mail_servers", "imap:", "192.0.2.1:993", "up,", "192.0.2.2:993", "nothing", "listens"],
        ["break_glass", "closed"],
    ]
    assert json.loads(_run(configuration, "status", "--json").stdout) == body
    assert gate.asked == ["GET /status"] * 2


def test_a_reload_is_asked_for_and_its_notes_are_told(configuration: Configuration, gate: Gate) -> None:
    """On stderr."""
    gate.answers["/reload"] = (200, b'{"reloaded": true, "faults": [], "notes": ["admin changed"]}')
    result = _run(configuration, "reload")
    assert (result.exit_code, result.stderr) == (0, "note: admin changed\n")
    assert gate.asked == ["POST /reload"]


def test_a_refused_reload_tells_every_fault(configuration: Configuration, gate: Gate) -> None:
    """And that nothing was changed."""
    gate.answers["/reload"] = (409, b'{"reloaded": false, "faults": ["a: b", "c: d"], "notes": []}')
    result = _run(configuration, "reload")
    assert result.exit_code == 78
    assert result.stderr.splitlines() == ["error: a: b", "error: c: d", "error: nothing was changed"]


@pytest.mark.parametrize("content", ["not toml [", "server = 5\n", ""])
def test_a_reload_can_be_asked_for_with_a_broken_configuration(
    configuration: Configuration,
    gate: Gate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
) -> None:
    """The running process tells what is wrong with it; the socket is where it is by default."""
    configuration.path.write_text(content)
    monkeypatch.chdir(tmp_path)
    gate.answers["/reload"] = (409, b'{"faults": ["x"]}')
    result = _run(configuration, "reload")
    assert result.exit_code == 78
    assert gate.asked == ["POST /reload"]


def test_the_environment_moves_the_control_socket(
    configuration: Configuration, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it moves the process's own."""
    configuration.write({"server": {"state_directory": "elsewhere"}})
    monkeypatch.setenv("GATEKEEPER_SERVER__STATE_DIRECTORY", str(tmp_path / "var"))
    gate.answers["/reload"] = (200, b"{}")
    assert _run(configuration, "reload").exit_code == 0


def test_a_drain_can_be_waited_for(configuration: Configuration, gate: Gate) -> None:
    """Until nobody answers any more."""
    gate.answers["/drain"] = (200, b'{"draining": true}')
    result = _run(configuration, "drain", "--wait", "10s")
    assert (result.exit_code, result.stdout) == (0, "Draining.\nStopped.\n")
    assert gate.asked == ["POST /drain"]


@pytest.mark.parametrize("command", ["status", "reload", "drain"])
def test_without_a_running_gate_it_is_said(configuration: Configuration, tmp_path: Path, command: str) -> None:
    """One line, and the exit code for trying again."""
    result = _run(configuration, command)
    assert result.exit_code == 75
    (line,) = result.stderr.splitlines()
    assert str(tmp_path / "var" / "control.sock") in line
    assert "is `gatekeeper serve` running?" in line


def test_an_answer_that_makes_no_sense_is_said(configuration: Configuration, gate: Gate) -> None:
    """Something else listens there."""
    gate.answers["/status"] = (200, b"hello")
    assert _run(configuration, "status").exit_code == 75
