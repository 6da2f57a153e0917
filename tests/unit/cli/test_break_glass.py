"""The command `policy break-glass`, without a gate that runs."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from gatekeeper.signing.keys import locked
from testkit.configuration import Configuration
from testkit.publishing import MALLORY, key

GLASS = key("break-glass")
PASSPHRASE = "correct horse battery"


class Bench:
    """A configuration with an offline key."""

    def __init__(self, directory: Path) -> None:
        self.configuration = Configuration(directory)
        self.configuration.write({"policy": {"break_glass": {"key": str(GLASS.verifier), "max_length": "30m"}}})
        self.note = directory / "var" / "break-glass.note"
        (directory / "passphrase").write_text(PASSPHRASE)
        for each in (GLASS, MALLORY):
            (directory / each.name).write_bytes(locked(each, PASSPHRASE.encode()))
        self.made = directory / "made.note"

    def run(self, *arguments: object, typed: str = "") -> Result:
        """The command."""
        command = ["--config", str(self.configuration.path), "policy", "break-glass", *map(str, arguments)]
        return CliRunner().invoke(cli, command, input=typed)

    def open(self, *more: object, minutes: int = 30, by: str = "break-glass", typed: str = "") -> Result:
        """Open it with somebody's key."""
        directory = self.configuration.directory
        key_options = ["--key", directory / by, "--passphrase-file", directory / "passphrase"]
        return self.run("--minutes", minutes, "--reason", "MDM outage", *key_options, *more, typed=typed)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """In a directory of its own."""
    return Bench(tmp_path)


def test_it_asks_whether_it_is_meant(bench: Bench) -> None:
    """In words that nobody can misread; without a yes nothing is opened."""
    refused = bench.open(typed="n\n")
    assert refused.exit_code == 1
    assert "EVERYBODY with a valid password gets mail on ANY device" in refused.output
    assert not bench.note.exists()

    assert bench.open(typed="y\n").exit_code == 0
    assert bench.note.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"by": "mallory"}, "is not signed by `break-glass`"), ({"minutes": 31}, "longer than 30 minutes")],
)
def test_what_the_gate_would_refuse_is_refused_here(bench: Bench, options: dict[str, object], words: str) -> None:
    """Before anything is written."""
    done = bench.open("--allow-all", **options)

    assert done.exit_code == 1
    assert words in done.stderr
    assert not bench.note.exists()


def test_a_note_can_be_made_elsewhere(bench: Bench) -> None:
    """The key never comes near the gate."""
    assert bench.open("-o", bench.made).exit_code == 0
    assert not bench.note.exists()
    assert bench.run("--note", bench.made, "--allow-all").exit_code == 0
    assert bench.note.read_bytes() == bench.made.read_bytes()
    assert bench.run("--end").exit_code == 0
    assert not bench.note.exists()


def test_without_a_key_in_the_configuration_nobody_can(tmp_path: Path) -> None:
    """Exit code 78."""
    configuration = Configuration(tmp_path)
    done = CliRunner().invoke(cli, ["--config", str(configuration.path), "policy", "break-glass", "--end"])

    assert done.exit_code == 78
    assert "policy.break_glass.key names no key" in done.stderr


def test_something_must_be_said(bench: Bench) -> None:
    """Exit code 2."""
    assert bench.run("--minutes", 5).exit_code == 2
    assert bench.run("--minutes", 500, "--reason", "x").exit_code == 2
