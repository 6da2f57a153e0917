"""`gatekeeper demo`: the whole story holds in one command, and nothing is left behind, whatever happens."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatekeeper.cli.demo import story
from gatekeeper.cli.demo.command import program
from gatekeeper.cli.demo.teller import Teller
from gatekeeper.cli.main import cli
from testkit.ports import LOOPBACK

WITHIN_S = 110
MAIL_WITHIN_S = 1.0
CUT_WITHIN_S = 2.0


def _start(directory: Path, *options: str) -> subprocess.Popen[str]:
    # A shell starts what runs in the background with SIGINT ignored, and that is inherited: so not by the demo.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "gatekeeper", "demo", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(directory)},
        )
    finally:
        signal.signal(signal.SIGINT, inherited)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a name that leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="gk-demo-") as directory:
        yield Path(directory)


def test_a_place_without_room_for_a_socket_is_named(tmp_path: Path) -> None:
    """Instead of a gate that nobody reaches; nothing is left there."""
    place = tmp_path / ("x" * 100)
    place.mkdir()
    with _start(place) as demo:
        out, err = demo.communicate(timeout=WITHIN_S)

    assert (demo.returncode, out) == (2, "")
    assert err == f"error: the name of `{place}` is too long for a socket in it: set TMPDIR to another directory\n"
    assert list(place.iterdir()) == []


def test_the_story_holds(short: Path) -> None:
    """Everything that is expected holds, in time; the log verifies, also by hand in the kept directory."""
    with _start(short, "--json", "--keep") as demo:
        out, err = demo.communicate(timeout=WITHIN_S)

    assert demo.returncode == 0, out + err
    told = json.loads(out)
    assert told["ok"] is True
    assert told["fault"] is None
    assert {one["step"] for one in told["expectations"]} == {1, 2, 3, 4, 5, 6}
    assert all(one["held"] for one in told["expectations"])
    assert 0 < told["restored_s"] < MAIL_WITHIN_S
    assert 0 < told["cut_s"] < CUT_WITHIN_S
    assert told["replies"]["imap"].startswith("NO [UNAVAILABLE] Mail is paused: TikTok")
    assert told["replies"]["smtp"].startswith("535 5.7.1 Mail is paused: TikTok")
    assert told["audit"]["is_sound"] is True
    assert told["audit"]["records"] >= 20
    assert list(short.iterdir()) == [Path(told["directory"])]
    verify = [sys.executable, "-m", "gatekeeper", "audit", "verify", f"{told['directory']}/var/audit"]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_story_leaves_nothing_behind(short: Path, number: signal.Signals) -> None:
    """The gate has ended and the directory is gone, and no error is shown but that it was interrupted."""
    with _start(short) as demo:
        assert demo.stdout is not None
        ports = (int(line.split(":")[1].split(",")[0]) for line in demo.stdout if "admin port" in line)
        admin_port = next(ports, None)
        assert admin_port is not None, demo.communicate(timeout=WITHIN_S)[1]
        demo.send_signal(number)
        _, err = demo.communicate(timeout=WITHIN_S)

    assert demo.returncode == 1
    assert err.strip() == "error: the story ended early: interrupted"
    with socket.socket() as probe:
        assert probe.connect_ex((LOOPBACK, admin_port)) != 0
    assert list(short.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absent package costs one clear line and exit code 2."""
    monkeypatch.setitem(sys.modules, "pymap", None)
    result = CliRunner().invoke(cli, ["demo"])

    assert result.exit_code == 2
    assert result.stderr == "error: the demo needs pymap: `pip install '.[demo]'`, or `make demo`\n"


def test_what_did_not_hold_is_named(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    """A failed expectation is told with its step, the gate's log is shown, and the exit code is 1."""

    async def tell(teller: Teller, directory: Path) -> None:
        (directory / "gate.log").write_text("what the gate said\n")
        teller.chapter("A step.")
        teller.expect("mail works", held=False)

    monkeypatch.setattr(story, "tell", tell)
    monkeypatch.setattr("tempfile.tempdir", str(short))
    result = CliRunner().invoke(cli, ["demo"])

    assert result.exit_code == 1
    assert "error: step 1: this did not hold: mail works" in result.stderr
    assert "what the gate said" in result.stderr
    assert list(short.iterdir()) == []


def test_a_story_that_ends_early_says_why(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    """A mail client or gate that fails ends the story with its reason and exit code 1, also for machines."""

    async def tell(_teller: Teller, _directory: Path) -> None:
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(story, "tell", tell)
    monkeypatch.setattr("tempfile.tempdir", str(short))
    result = CliRunner().invoke(cli, ["demo", "--json"])

    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False
    assert json.loads(result.stdout)["fault"] == "ConnectionRefusedError: nobody listens"


def test_what_it_says_to_type_next_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where the program is on no search path, as after `make demo`."""
    installed = tmp_path / "gatekeeper"
    installed.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program(str(installed)) == "gatekeeper"
    assert program("/somewhere/gatekeeper/__main__.py") == f"{sys.executable} -m gatekeeper"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert program(str(installed)) == str(installed)
    assert program(".venv/bin/gatekeeper") == f"{Path.cwd()}/.venv/bin/gatekeeper"
