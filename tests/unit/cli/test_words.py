"""What the commands share."""

import json

import pytest

from gatekeeper.cli.words import counted, fail, say_json, say_table


def test_faults_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """And the command is over."""
    with pytest.raises(SystemExit) as ended:
        fail("one", "two", code=69)

    assert ended.value.code == 69
    assert capsys.readouterr() == ("", "error: one\nerror: two\n")


def test_one_is_not_many() -> None:
    """With a plural of its own where adding an s is none."""
    assert counted(1, "rule") == "1 rule"
    assert counted(2000, "rule") == "2,000 rules"
    assert counted(0, "person", "people") == "0 people"


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """By its widest cells, without blanks at the ends."""
    say_table(["A", "LONG"], [["wide cell", "x"], ["", "y"]])

    assert capsys.readouterr().out == "A          LONG\nwide cell  x\n           y\n"


def test_an_empty_table_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else."""
    say_table(["A", "B"], [])

    assert capsys.readouterr().out == "A  B\n"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Readable: names as people write them."""
    say_json({"name": "Müller"})
    out = capsys.readouterr().out

    assert json.loads(out) == {"name": "Müller"}
    assert "Müller" in out
