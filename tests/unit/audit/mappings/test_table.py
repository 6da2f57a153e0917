"""Records as rows of CSV."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.mappings.table import COLUMNS, harmless, header, record_row, row
from gatekeeper.audit.stored import read
from testkit.audit_log import NOW, event, line


def parsed(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def test_a_refusal_is_a_row() -> None:
    """A cell for each column."""
    (names, cells) = parsed(header() + record_row(read(line(event("c1", count=3, start_time=NOW), 7)), "ab" * 32))
    assert tuple(names) == COLUMNS
    assert dict(zip(names, cells, strict=True)) == {
        "time": "2020-07-10T17:00:00.000Z",
        "log": "tests.example/audit/1",
        "sequence": "7",
        "code": "GK1002W",
        "word": "block",
        "status": "block.app.match",
        "message": "Mail sign-in refused: TikTok is installed",
        "count": "3",
        "user": "alice@example.com",
        "device": "ph-001",
        "protocol": "imap",
        "listener": "imaps",
        "address": "198.51.100.0",
        "address_bits": "24",
        "conn": "c1",
        "rules": "no-tiktok",
        "matched": "ios:com.zhiliaoapp.musically",
        "phase": "enforce",
        "posture": "denied",
        "binding": "proven",
        "exemptions": "",
        "policy_sha256": "a" * 64,
        "evidence_sha256": "b" * 64,
        "evidence_age_s": "412",
        "evidence_source": "company-agents",
        "sha256": "ab" * 32,
    }


@pytest.mark.parametrize("code", EventCode)
def test_every_code_has_a_row_of_the_same_width(code: EventCode) -> None:
    """Also when next to nothing is known."""
    made = line(event(code=code, connection=None, decision=None, account=None, message=""))
    assert [len(cells) for cells in parsed(record_row(read(made), "ab" * 32))] == [len(COLUMNS)]


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        '=cmd|" /C calc"!A0',
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff201",
    ],
)
def test_no_cell_is_a_formula(cell: str) -> None:
    """Whoever names a device or an account like one: the cell is text."""
    assert harmless(cell) == f"'{cell}"
    made = line(event(account=cell, message=cell))
    cells = parsed(record_row(read(made), "ab" * 32))[0]
    assert not any(found.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b")) for found in cells)


@pytest.mark.parametrize("cell", ["", "alice@example.com", "1=1", " =1", "'=1"])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    """Nothing else is touched."""
    assert harmless(cell) == cell


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_cells_come_back_as_they_were_but_for_the_apostrophe(cells: list[str]) -> None:
    """Quotes, commas and line ends in a cell begin no other cell or row."""
    assert parsed(row(cells)) == [[harmless(cell) for cell in cells]]
