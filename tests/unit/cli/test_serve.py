"""`gatekeeper serve` that cannot start: one clear line, the exit code of a bad configuration, and nothing left behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.configuration import Configuration


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example with its files."""
    return Configuration(tmp_path)


def _serve(configuration: Configuration, *more: str) -> tuple[int, list[str]]:
    """Run it to its end; return the exit code and what it said, without the log's events."""
    command = [sys.executable, "-m", "gatekeeper", "--config", str(configuration.path), "serve", *more]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=configuration.directory,
        env=dict(os.environ),
    )
    assert done.stdout == ""
    return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("{")]


def _other_listener(configuration: Configuration, port: int) -> None:
    configuration.write({"listener": [{"name": "imaps", "protocol": "imap", "bind": f"127.0.0.1:{port}"}]})


@pytest.mark.parametrize("whose", ["listener", "admin"])
def test_a_port_in_use_is_one_line(configuration: Configuration, whose: str) -> None:
    """With the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if whose == "listener":
            _other_listener(configuration, port)
        else:
            configuration.write({"admin": {"bind": f"127.0.0.1:{port}"}})
        code, said = _serve(configuration)

    assert code == 75  # not a bad configuration: the other program may go away
    (line,) = said
    assert line.startswith("error: ")
    assert str(port) in line
    assert "in use" in line
    assert "Errno" not in line
    assert "change `bind`" in line


def _no_policy(configuration: Configuration) -> str:
    configuration.policy_path.unlink()
    return f"error: {configuration.policy_path}: cannot be read: No such file or directory"


def _no_certificate(configuration: Configuration) -> str:
    configuration.server.certificate.unlink()
    return f"error: {configuration.path}: tls.certificate: `{configuration.server.certificate}` does not exist"


def _no_configuration(configuration: Configuration) -> str:
    configuration.path.unlink()
    return (
        f"error: {configuration.path}: cannot be read: No such file or directory "
        "(name another with --config or $GATEKEEPER_CONFIG)"
    )


def _no_host(configuration: Configuration) -> str:
    configuration.write({"upstream": {"imap": {"address": "256.0.0.1:1", "tls": "implicit"}}})
    return "error: "


def _no_state(configuration: Configuration) -> str:
    (configuration.directory / "var").write_text("a file where a directory belongs")
    return "error: "


@pytest.mark.parametrize("spoil", [_no_policy, _no_certificate, _no_configuration, _no_host, _no_state])
def test_what_is_missing_is_one_line(configuration: Configuration, spoil: Callable[[Configuration], str]) -> None:
    """File, key and reason; no traceback."""
    expected = spoil(configuration)
    code, said = _serve(configuration)

    assert code == 78
    (line,) = said
    assert line.startswith(expected)


def test_a_wrong_option_is_told_with_the_usage(configuration: Configuration) -> None:
    """Exit code 2."""
    code, said = _serve(configuration, "--port", "5")
    assert code == 2
    assert said[-1] == "Error: No such option '--port'."


def test_it_starts_and_stops_at_a_signal(configuration: Configuration) -> None:
    """The control socket is its owner's alone; the exit code is 0."""
    command = [sys.executable, "-m", "gatekeeper", "--config", str(configuration.path), "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=configuration.directory) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if '"listening"' in line and "submission" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(30) == 0, rest
    assert "Traceback" not in rest
