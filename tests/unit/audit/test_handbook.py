"""The public page of event codes."""

import json
from pathlib import Path

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.handbook import ALWAYS, FIELDS, page
from testkit.audit_log import balanced_connection, event, line

PAGE = Path(__file__).parents[3] / "docs" / "audit-events.md"


def test_the_page_is_what_the_tables_say() -> None:
    """Stale? `gatekeeper audit codes --markdown > docs/audit-events.md`."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_code_has_its_row() -> None:
    """Each stands at the beginning of exactly one row."""
    rows = [text.split("|")[1].strip(" *`") for text in page().splitlines() if text.startswith(("| `GK", "| **`GK"))]
    assert rows == sorted(code.value for code in EventCode)


@pytest.mark.parametrize("code", EventCode)
@pytest.mark.parametrize("is_bare", [False, True], ids=["full", "bare"])
def test_every_field_of_a_record_is_explained(code: EventCode, is_bare: bool) -> None:
    """No field that we add ourselves is a riddle, and those with a star are always there."""
    bare = {"connection": None, "decision": None, "account": None, "mechanism": None, "message": ""}
    made = event(code=code, **(bare if is_bare else {"connection": balanced_connection()}))
    facts = json.loads(line(made))["unmapped"]["gatekeeper"]
    assert set(facts) <= set(FIELDS)
    assert set(facts) >= ALWAYS
    assert set(FIELDS) >= ALWAYS
