"""Records as events of OCSF on their own."""

import json

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.mappings import ocsf
from gatekeeper.audit.stored import read
from testkit.audit_log import event, line
from testkit.ocsf import faults


@pytest.mark.parametrize("code", EventCode)
@pytest.mark.parametrize("is_bare", [False, True], ids=["full", "bare"])
def test_events_of_every_code_are_valid(code: EventCode, is_bare: bool) -> None:
    """By the schema that OCSF published."""
    bare = {"connection": None, "decision": None, "account": None, "mechanism": None, "message": ""}
    assert faults(ocsf.line(read(line(event(code=code, **(bare if is_bare else {})))), "ab" * 32)) == []


def test_what_ties_it_to_its_log_comes_along() -> None:
    """Name of the log, digest of the line, and observables; everything else as it stood."""
    made = line(event("c1"), 7)
    found = json.loads(ocsf.line(read(made), "ab" * 32))
    assert found.pop("raw_data_hash") == {"algorithm_id": 3, "algorithm": "SHA-256", "value": "ab" * 32}
    assert found.pop("observables") == [
        {"name": "user.name", "type_id": 4, "value": "alice@example.com"},
        {"name": "src_endpoint.ip", "type_id": 2, "value": "198.51.100.0"},
        {"name": "device.uid", "type_id": 47, "value": "ph-001"},
    ]
    assert found["metadata"].pop("log_name") == "tests.example/audit/1"
    assert found == json.loads(made)
