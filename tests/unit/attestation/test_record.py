"""One device of an inventory; what its members may be is tested through the files they stand in."""

from datetime import UTC, datetime

import pytest

from gatekeeper.attestation.record import digest, read_report
from gatekeeper.attestation.strict_json import Json

NOW = datetime(2026, 7, 10, 17, 0, tzinfo=UTC)
MEMBERS: dict[str, Json] = {
    "device_id": "ph-001",
    "user": "alice@example.com",
    "platform": "android",
    "collected_at": "2026-07-10T16:20:00Z",
    "apps": [{"id": "com.example.notes"}],
}


def test_a_report_comes_without_faults() -> None:
    """And the digest of what was read."""
    faults: list[tuple[str, str]] = []
    report = read_report(MEMBERS, now=NOW, fault=lambda path, reason: faults.append((path, reason)))

    assert report is not None
    assert report.result.evidence_sha256 == digest(MEMBERS)
    assert faults == []


@pytest.mark.parametrize(
    "change", [{"device_class": "phone"}, {"apps": [{"id": ""}]}, {"unknown": 1}, {"identifiers": {"serial": 1}}]
)
def test_no_report_comes_with_a_fault(change: dict[str, Json]) -> None:
    """Wherever in the record it is, and although a default could stand in."""
    faults: list[tuple[str, str]] = []
    report = read_report({**MEMBERS, **change}, now=NOW, fault=lambda path, reason: faults.append((path, reason)))

    assert report is None
    assert len(faults) == 1


def test_the_digest_is_that_of_the_canonical_octets() -> None:
    """A stored digest can be recomputed by anybody: sorted members, no spaces, ASCII."""
    assert digest({"b": "\u00e9", "a": 1}) == "6071e7aa781e8adc235db31b17e6d0ee414a17031b1744a38fbf2cd17effcbce"
