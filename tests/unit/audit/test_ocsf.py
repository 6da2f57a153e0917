"""Records of every event code against the schema that OCSF published, by a validator that is not ours."""

import json

import pytest

from gatekeeper.audit.codes import CLASSIFICATIONS
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.handbook import ACTIVITY_NAMES, CLASS_NAMES
from testkit.audit_log import NOW, balanced_connection, connection, event, line
from testkit.ocsf import faults, schema

_VARIANTS: dict[str, dict[str, object]] = {
    "full": {},
    "folded": {"count": 7, "start_time": NOW},
    "about-a-device": {"decision": None, "detail": {"device_id": "ph-001", "identifiers_n": 3}},
    "by-somebody": {"decision": None, "connection": None, "detail": {"reason": "why", "policy_version": 4}},
    "bare": {"connection": None, "decision": None, "account": None, "mechanism": None, "message": ""},
    "no-address": {"connection": connection(address="/run/socket")},
}


@pytest.mark.parametrize("code", EventCode)
@pytest.mark.parametrize("variant", _VARIANTS)
def test_records_of_every_code_are_valid(code: EventCode, variant: str) -> None:
    """Whatever is known or not, the record is an event of OCSF 1.8.0 with no attribute that the schema does not have."""
    assert faults(line(event(code=code, **_VARIANTS[variant]))) == []
    assert faults(line(event(code=code, **_VARIANTS[variant]), prefix=None)) == []


def test_a_record_that_came_through_a_load_balancer_is_valid() -> None:
    """What the PROXY header brought stands among our own facts."""
    assert faults(line(event(connection=balanced_connection()))) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("invented", 1), ("severity_id", 12), ("activity_id", "1"), ("src_endpoint", {"ip": "198.51.100.0/24"})],
)
def test_the_schema_refuses_what_is_no_event(name: str, value: object) -> None:
    """The check can fail: a foreign attribute, a number that is not in the list, a wrong type, a network for an address."""
    record = json.loads(line(event())) | {name: value}
    assert faults(json.dumps(record).encode())


@pytest.mark.parametrize("code", EventCode)
def test_names_are_the_schema_s(code: EventCode) -> None:
    """What the public table calls a class and an activity is what OCSF calls them."""
    row = CLASSIFICATIONS[code]
    found = schema().schema.schema["classes"][schema().lookup_class_name_from_uid(row.class_uid)]
    activities = found["attributes"]["activity_id"]["enum"]
    assert CLASS_NAMES[row.class_uid] == found["caption"]
    assert ACTIVITY_NAMES[row.fixed["type_uid"]] == activities[str(row.fixed["activity_id"])]["caption"]  # type: ignore[index]  # an int


def test_a_code_of_no_named_activity_says_which_it_is() -> None:
    """OCSF: whoever uses 99, Other, fills the sibling text."""
    for row in CLASSIFICATIONS.values():
        assert row.fixed["activity_id"] != 99 or row.fixed["activity_name"]
