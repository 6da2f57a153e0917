"""How findings and places read."""

from gatekeeper.audit.report import Finding, Kind, Place


def test_a_finding_says_what_and_where() -> None:
    """Kind, what, segment, line, offset, and the sequence when it is known."""
    place = Place("s.jsonl", 3, 120, 7)
    assert str(Finding(Kind.MISSING, place, "record 6 is missing")) == (
        "missing: record 6 is missing at s.jsonl line 3, offset 120 (sequence 7)"
    )
    assert (
        str(Finding(Kind.UNREADABLE, Place("s.jsonl", 3, 120), "no")) == "unreadable: no at s.jsonl line 3, offset 120"
    )
    assert str(Finding(Kind.TRUNCATED, None, "empty")) == "truncated: empty"
