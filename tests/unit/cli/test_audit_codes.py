"""The command `audit codes`, and event codes as options."""

import json

import pytest
from click.testing import CliRunner

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.handbook import page
from gatekeeper.cli.audit import audit


def test_codes_are_listed() -> None:
    """A line for each, for people."""
    lines = CliRunner().invoke(audit, ["codes"]).stdout.splitlines()
    assert [text.split()[0] for text in lines] == ["CODE", *sorted(EventCode)]
    assert lines[2].split(maxsplit=2)[1:] == ["block", "A log-in was refused because a denied app is on the device."]


def test_codes_for_machines() -> None:
    """The same as a document."""
    listed = json.loads(CliRunner().invoke(audit, ["codes", "--json"]).stdout)
    assert [each["code"] for each in listed] == sorted(EventCode)
    assert listed[1]["type_uid"] == 300201


def test_the_page_is_printed_as_it_is() -> None:
    """Its octets are what goes into the file."""
    assert CliRunner().invoke(audit, ["codes", "--markdown"]).stdout == page()


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("gk1001w", "did you mean GK1001I? "),
        ("gk1001", "did you mean GK1001I? "),
        ("gk1000w", "did you mean GK1"),
        ("blocked", "`blocked`: `gatekeeper audit codes` lists them"),
    ],
)
def test_a_mistyped_code_is_answered_with_those_near_it(typed: str, hint: str, tmp_path: str) -> None:
    """One readable sentence, not a list of all."""
    result = CliRunner().invoke(audit, ["--directory", str(tmp_path), "query", "--code", typed])
    assert result.exit_code == 2
    said = result.stderr.splitlines()[-1]
    assert f"there is no event code `{typed}`" in said
    assert hint in said
    assert len(said) < 160
