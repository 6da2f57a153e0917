"""The JSON Schema of a policy, for editors: taken from the reader of the language, so it is what that reads.

Draft 7, which is what TOML language servers understand. It knows keys, types and choices; what must fit together
(`gatekeeper policy check`) is beyond it.
"""

import tomllib
from collections.abc import Mapping
from typing import Any

from gatekeeper.decision.schema import read_policy
from gatekeeper.decision.schema_values import IDENTIFIER, LANGUAGE
from gatekeeper.domain.device import Platform
from gatekeeper.domain.recorder import Asked, Recorder, Schema

DRAFT = "http://json-schema.org/draft-07/schema#"

_LEADS_EVERYWHERE = """
[groups]
a = []
b = {}
[sources]
mdm = "mdm"
[defaults]
unknown_device = { default = "block", imap = "block", smtp = "block", pop3 = "block", sieve = "block", http = "block", \
mobile = "block", laptop = "block" }
stale = { action = "warn" }
insufficient = {}
no_evidence = {}
language = { groups = { a = "de" } }
[[rule]]
apps = [{ platform = "ios", signer_sha256 = "x", installer = "x", not_installer = "x" }, {}]
only_apps = [{ platform = "ios", signer_sha256 = "x", installer = "x", not_installer = "x" }, {}]
required_apps = [{ platform = "ios", signer_sha256 = "x", installer = "x", not_installer = "x" }, {}]
min_os = { ios = "1" }
grace = { cap = 2020-01-01 }
rollout = [{}]
message = { en = {} }
[[exemption]]
approved_by = []
"""
"""Wrong in many places, but every question is asked of it."""
_IN_SHORT = """
[defaults]
unknown_device = "block"
stale = "block"
insufficient = "block"
no_evidence = "block"
language = "en"
"""
_DATES = frozenset({"observe", "warn", "enforce", "cap", "from", "expires"})

_MEANINGS = {
    "apps": "None of these apps may be on the device.",
    "only_apps": "Nothing but these apps may be on the device.",
    "required_apps": "Each of these apps must be on the device.",
    "min_os": "The oldest version of the operating system that is good, by platform.",
    "flags": "The device must have none of these.",
    "action": "The most that the rule does, whatever the phase.",
    "scope": "Whom the rule is for; empty: everybody.",
    "phases": "When it begins to be recorded, to warn, to be enforced.",
    "grace": "More time for devices that are registered late.",
    "rollout": "The share of the devices that it is enforced for, by date.",
    "message": "What the person is told, by language tag.",
    "id": "Stable, never used for anything else.",
    "title": "What, for people.",
    "reason": "Why, for auditors.",
    "expires": "Required; a date without a time counts to the end of that day.",
    "zone": "Time zone of dates that name none, such as Europe/Berlin.",
    "version": 'Such as ">=1.0,<2.3 || code<2023705000".',
    "min_evidence": "What a source below this level says does not count.",
    "unknown_device": "What happens to a device that nobody registered.",
    "evidence_max_age": "Older evidence is stale.",
    "stale": "What happens when the evidence is stale.",
    "insufficient": "What happens when the list cannot prove that an app is absent.",
    "no_evidence": "What happens to a registered device that never reported.",
    "short": "What is wrong. May contain {app}, {check_url}, {deadline}, {code}.",
    "fix": "What to do. May contain {app}, {check_url}, {deadline}, {code}.",
}


def json_schema() -> Schema:
    """The schema of the whole file."""
    asked = Asked()
    for document in (_LEADS_EVERYWHERE, _IN_SHORT, ""):
        root = Recorder(tomllib.loads(document), source="schema", faults=[], asked=asked)
        read_policy(root, b"", source="schema")
    schema = {"$schema": DRAFT, "title": "A Gatekeeper policy: who may read mail", **asked.schema()}
    schema["required"] = ["schema"]
    property_of(schema, "schema").update(const=1)
    refine(schema)
    rule, exemption = (items_of(schema, name) for name in ("rule", "exemption"))
    rule["required"] = ["id", "phases"]
    exemption["required"] = ["id", "rule", "expires", "reason", "approved_by"]
    for name in ("only_apps", "required_apps"):  # read, to be refused with a reason
        items_of(rule, name)["properties"].pop("min_evidence")
    property_of(rule, "action")["enum"].remove("quarantine")  # likewise
    property_of(rule, "id")["pattern"] = f"^{IDENTIFIER}$"
    property_of(rule, "min_os")["propertyNames"] = {"enum": [platform.value for platform in Platform]}
    property_of(rule, "message")["propertyNames"] = {"pattern": f"^{LANGUAGE}$"}
    return schema


def refine(schema: object, dates: frozenset[str] = _DATES, meanings: Mapping[str, str] = _MEANINGS) -> None:
    """Dates may be TOML's own, and keys are explained."""
    if isinstance(schema, list):
        for each in schema:
            refine(each, dates, meanings)
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    for name, found in properties.items() if isinstance(properties, dict) else ():
        if name in dates and isinstance(found, dict):
            found.clear()
            found["description"] = "A date, or a date and time such as 2020-07-10T17:00:00-07:00."
        if name in meanings and isinstance(found, dict):
            found["description"] = meanings[name]
    for each in schema.values():
        refine(each, dates, meanings)


def items_of(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Of a list among the properties."""
    found: dict[str, Any] = property_of(schema, name)["items"]
    return found


def property_of(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The schema of one key."""
    found: dict[str, Any] = schema["properties"][name]
    return found
