"""One device of an inventory; what its members may be is tested through the files they stand in."""

from datetime import UTC, datetime

import pytest

from gatekeeper.attestation.record import digest, read_report
from gatekeeper.attestation.strict_json import Json
from gatekeeper.domain.posture import DeviceFlag

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


def test_facts_of_the_device_and_of_what_installed_an_app() -> None:
    """Null says nothing."""
    said: dict[str, Json] = {
        "os_version": "17.4.1",
        "flags": {"compromised": True, "debuggable": None},
        "apps": [{"id": "com.example.notes", "installer": "com.android.vending"}],
    }
    report = read_report({**MEMBERS, **said}, now=NOW, fault=lambda path, reason: pytest.fail(f"{path}: {reason}"))

    assert report is not None
    assert (report.result.os_version, report.result.flags) == ("17.4.1", {DeviceFlag.COMPROMISED: True})
    assert report.result.apps.apps[0].installer == "com.android.vending"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"os_version": ""}, ("os_version", "must not be empty")),
        ({"os_version": 17}, ("os_version", "must be a text")),
        ({"flags": ["compromised"]}, ("flags", "must be an object")),
        ({"flags": {"compromized": True}}, ("flags.compromized", "unknown key (did you mean `compromised`?)")),
        ({"flags": {"compromised": "yes"}}, ("flags.compromised", "must be true or false")),
        ({"apps": [{"id": "a", "installer": 1}]}, ("apps[0].installer", "must be a text")),
    ],
)
def test_faults_of_facts(change: dict[str, Json], expected: tuple[str, str]) -> None:
    """With their place."""
    faults: list[tuple[str, str]] = []

    assert read_report({**MEMBERS, **change}, now=NOW, fault=lambda path, why: faults.append((path, why))) is None
    assert faults == [expected]
