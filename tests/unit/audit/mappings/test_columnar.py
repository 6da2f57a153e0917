"""A record as a row of typed columns."""

import json

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.mappings import table
from gatekeeper.audit.mappings.columnar import COLUMNS, row
from gatekeeper.audit.stored import read
from testkit.audit_log import NOW, event, line


def named(octets: bytes) -> dict[str, object]:
    return json.loads(row(read(octets), octets + b"\n", "ab" * 32))  # type: ignore[no-any-return]


def test_a_refusal_has_typed_columns() -> None:
    """Lists are lists, numbers are numbers, and the line goes along."""
    octets = line(event(), 7)
    found = named(octets)
    assert found["time"] == int(NOW.timestamp() * 1000)
    assert (found["sequence"], found["count"], found["evidence_age_s"], found["address_bits"]) == (7, 1, 412, 24)
    assert (found["rules"], found["matched"]) == (["no-tiktok"], ["ios:com.zhiliaoapp.musically"])
    assert (found["user"], found["device"], found["word"]) == ("alice@example.com", "ph-001", "block")
    assert found["record"] == octets.decode()


def test_what_a_record_does_not_say_is_not_there() -> None:
    """None, not an empty text."""
    found = named(line(event(code=EventCode.LOG_OPENED, connection=None, decision=None, account=None)))
    assert (found["user"], found["conn"], found["evidence_age_s"], found["rules"]) == (None, None, None, [])


def test_the_columns_are_those_of_the_csv() -> None:
    """Under the same names, in the same order, and the record."""
    assert tuple(COLUMNS) == (*table.COLUMNS, "record") == tuple(named(line(event())))


def test_a_number_that_no_column_holds_is_not_there() -> None:
    """Whatever somebody wrote into the log: it is exported, not refused; `record` has it."""
    octets = line(event()).replace(b'"evidence_age_s":412', b'"evidence_age_s":%d' % 10**30)
    assert str(10**30).encode() in octets
    assert named(octets)["evidence_age_s"] is None
