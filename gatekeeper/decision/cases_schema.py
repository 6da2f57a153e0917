"""The JSON Schema of a policy's tests (`*.test.toml`), for editors: taken from their reader, so it is what that reads.

Draft 7, as the schema of a policy. It knows keys, types and choices; which devices and rules there are
(`gatekeeper policy test`) is beyond it.
"""

import tomllib
from collections.abc import Mapping
from types import MappingProxyType

from gatekeeper.decision.cases import read_sheet
from gatekeeper.decision.json_schema import DRAFT, items_of, property_of, refine
from gatekeeper.domain.decision import Reason
from gatekeeper.domain.recorder import Asked, Recorder, Schema

_LEADS_EVERYWHERE = """
[device.a]
apps = [{ signer_sha256 = "x", version_code = 1 }, { signer_sha256 = ["x"] }]
ownership = "company"
collected = "2h"
flags = { compromised = true, unverified_boot = true, debuggable = true }
[[test]]
devices = ["a"]
session = { user = "a", groups = [] }
expect = { rules = [], reasons = [], posture = "clean", phase = "warn", exemptions = [] }
"""
"""Wrong in many places, but every question is asked of it."""
_DATES = frozenset({"at", "deadline", "valid_until", "first_seen", "collected"})
_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "policy": "The policy that is tested, relative to this file; by default the one with this file's name.",
        "zone": "Time zone of dates and times that name none, such as Europe/Berlin.",
        "device": "Registered devices, by a name of this file's own.",
        "apps": "What the device reported; without it, it never did.",
        "collected": 'When it reported: before the test (`"2h"`), or a date and time; by default at the test.',
        "at": "When the session comes.",
        "devices": "Those that count, by name; none: an unregistered device.",
        "session": "The session; by default of the first device's user, over IMAP.",
        "groups": "Of those that the policy takes from a directory; without it, it is not known who is in them.",
        "binding": "Tied to one device, or to the user only.",
        "expect": "What has to come out; what is left out does not matter.",
        "reasons": "Exactly these, in the decision's order.",
        "rules": "Exactly these, in the decision's order.",
        "message": "A part of what the person is told.",
    }
)


def cases_schema() -> Schema:
    """The schema of the whole file."""
    asked = Asked()
    for document in (_LEADS_EVERYWHERE, ""):
        root = Recorder(tomllib.loads(document), source="schema", faults=[], asked=asked)
        read_sheet(root, source="schema")
    schema = {"$schema": DRAFT, "title": "Tests of a Gatekeeper policy", **asked.schema()}
    schema["required"] = ["schema", "test"]
    property_of(schema, "schema").update(const=1)
    refine(schema, _DATES, _MEANINGS)
    property_of(schema, "test")["minItems"] = 1
    test, device = items_of(schema, "test"), property_of(schema, "device")["additionalProperties"]
    test["required"] = ["name", "at", "expect"]
    property_of(test, "expect")["required"] = ["verdict"]
    reasons = {"type": "array", "items": {"enum": [reason.value for reason in Reason]}, "minItems": 1}
    property_of(test, "expect")["properties"]["reasons"] = {**reasons, "description": _MEANINGS["reasons"]}
    device["required"] = ["user", "platform"]
    for table, names in (
        (device, ("device_id", "device_class")),
        (property_of(test, "session"), ("binding", "listener")),
    ):
        for name in names:
            property_of(table, name).pop("default")  # it depends on other keys
    items_of(device, "apps")["required"] = ["id"]
    return schema
