"""The commands `policy key new` and `policy key show`."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatekeeper.cli.main import cli
from gatekeeper.signing.keys import unlocked
from gatekeeper.signing.note import VerifierKey

PASSPHRASE = "correct horse battery"


def run(*arguments: object, typed: str | None = None) -> Result:
    """Run `policy key`."""
    return CliRunner().invoke(cli, ["policy", "key", *map(str, arguments)], input=typed)


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    """A file with the passphrase."""
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    return path


def test_a_new_key_is_locked_and_its_owners_alone(tmp_path: Path, passphrase: Path) -> None:
    """The verifier key is printed, the file opens with the passphrase, nobody else may read it."""
    file = tmp_path / "ruiz.key"
    made = run("new", "a.ruiz", file, "--passphrase-file", passphrase)

    assert made.exit_code == 0
    assert unlocked(file.read_bytes(), PASSPHRASE.encode()).verifier == VerifierKey.parse(made.stdout)
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("show", file).stdout == made.stdout


def test_the_passphrase_is_asked_for_twice(tmp_path: Path) -> None:
    """At the terminal, without showing it."""
    made = run("new", "a.ruiz", tmp_path / "key", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")

    assert made.exit_code == 0
    assert PASSPHRASE not in made.output


def test_a_key_is_never_written_over(tmp_path: Path, passphrase: Path) -> None:
    """Whoever holds it could not approve any more."""
    file = tmp_path / "ruiz.key"
    file.write_text("mine")
    made = run("new", "a.ruiz", file, "--passphrase-file", passphrase)

    assert (made.exit_code, file.read_text()) == (2, "mine")
    assert "cannot be written: File exists" in made.stderr


def test_no_key_in_a_source_checkout(tmp_path: Path, passphrase: Path) -> None:
    """It would be committed some day."""
    (tmp_path / "source" / ".git").mkdir(parents=True)
    made = run("new", "a.ruiz", tmp_path / "source" / "ruiz.key", "--passphrase-file", passphrase)

    assert made.exit_code == 2
    assert "where no key must lie" in made.stderr


@pytest.mark.parametrize(("name", "words"), [("two words", "is not a key name"), ("a+b", "is not a key name")])
def test_a_name_that_cannot_stand_in_a_note_is_refused(tmp_path: Path, passphrase: Path, name: str, words: str) -> None:
    """Nothing is written then."""
    made = run("new", name, tmp_path / "key", "--passphrase-file", passphrase)

    assert made.exit_code == 2
    assert words in made.stderr
    assert not (tmp_path / "key").exists()


def test_a_short_passphrase_and_a_file_that_is_no_key_are_told(tmp_path: Path, passphrase: Path) -> None:
    """In one line each."""
    passphrase.write_text("short")
    assert "shorter than 12" in run("new", "a", tmp_path / "key", "--passphrase-file", passphrase).stderr
    assert "is no key file" in run("show", passphrase).stderr
    assert "cannot be read" in run("show", tmp_path / "nothing").stderr
