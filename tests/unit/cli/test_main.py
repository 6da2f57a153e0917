"""The command line as a whole: what it lists, what it imports, and how it fails."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gatekeeper.cli import main as module
from gatekeeper.cli.main import cli, main

COMMANDS = ["serve", "status", "reload", "drain", "doctor", "demo", "config", "policy", "device", "inventory", "audit"]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_every_command_with_what_it_does() -> None:
    """And how to name the configuration."""
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    listed = {line.split()[0]: line for line in result.output.splitlines() if line.startswith("  ") and line.split()}
    for command in COMMANDS:
        assert len(listed[command].split()) > 2
    assert "--config" in result.output
    assert "config/gatekeeper.toml" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    """None is listed that cannot be loaded."""
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage: " in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nonsense"], "No such option"),
        (["servve"], "No such command"),
        (["serve", "--nonsense"], "No such option"),
        (["drain", "--wait", "soon"], 'a duration such as "120s"'),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_code_2(arguments: list[str], text: str) -> None:
    """On stderr, with the usage."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""


def test_the_version_is_told() -> None:
    """As `gatekeeper, version …`."""
    assert "version 0." in CliRunner().invoke(cli, ["--version"]).output


def test_serve_does_not_import_what_only_other_commands_need() -> None:
    """A worker stays lean; rich is not asked about, for structlog imports it where it happens to be installed."""
    done = _python(
        "import gatekeeper.cli.serve, sys\n"
        "print([name for name in ('aioimaplib', 'pymap', 'joserfc', 'hypothesis', 'gatekeeper.cli.demo')"
        " if name in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr


def test_the_command_line_itself_imports_no_command() -> None:
    """`gatekeeper --help` would else pay for a server."""
    done = _python(
        "import gatekeeper.cli.main, sys\nprint('gatekeeper.server' in sys.modules, 'aiohttp' in sys.modules)"
    )
    assert done.stdout == "False False\n", done.stderr


def test_the_module_runs_as_a_program() -> None:
    """`python -m gatekeeper`."""
    done = subprocess.run(
        [sys.executable, "-m", "gatekeeper", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "gatekeeper")


def _fails() -> None:
    raise ZeroDivisionError("by zero")


def test_an_unexpected_error_is_one_line_and_exit_code_70(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the way to see more."""
    monkeypatch.delenv("GATEKEEPER_TRACEBACK", raising=False)
    monkeypatch.setattr(module, "cli", lambda **_: _fails())
    with pytest.raises(SystemExit) as raised:
        main()
    assert raised.value.code == 70
    assert capsys.readouterr().err.splitlines() == [
        "error: unexpected ZeroDivisionError: by zero (set GATEKEEPER_TRACEBACK=1 to see where)"
    ]
    monkeypatch.setenv("GATEKEEPER_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main()


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """`gatekeeper … | head` ends without a word."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gatekeeper", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    process.wait(30)
    assert error == b""


def test_the_environment_names_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--config` stands over it."""
    seen: list[Path] = []

    @click.command()
    @click.pass_obj
    def show(path: Path) -> None:
        seen.append(path)

    monkeypatch.setitem(module._COMMANDS, "show", f"{__name__}:show")
    monkeypatch.setitem(globals(), "show", show)
    monkeypatch.setenv("GATEKEEPER_CONFIG", str(tmp_path / "a.toml"))
    assert CliRunner().invoke(cli, ["show"]).exit_code == 0
    assert CliRunner().invoke(cli, ["--config", "b.toml", "show"]).exit_code == 0
    monkeypatch.delenv("GATEKEEPER_CONFIG")
    CliRunner().invoke(cli, ["show"])
    assert seen == [tmp_path / "a.toml", Path("b.toml"), Path("config/gatekeeper.toml")]
