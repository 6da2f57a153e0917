"""The JSON Schema of `gatekeeper.toml`, for editors: taken from the readers of its sections, so it is what they read.

Draft 7, which is what TOML language servers understand. It knows keys, types and choices; what must fit together
(`gatekeeper config check`) is beyond it.
"""

import tomllib

from gatekeeper.config.sections import read_settings
from gatekeeper.domain.recorder import Asked, Recorder, Schema

DRAFT = "http://json-schema.org/draft-07/schema#"

_LEADS_EVERYWHERE = """
[policy.bundles]
[policy.breaker]
max_people = 1
[policy.canary]
[policy.break_glass]
[groups.ldap]
[groups.scim]
[tls]
[[tls.certificate_for]]
[[listener]]
protocol = "imap"
[[listener]]
protocol = "smtp"
[[listener]]
protocol = "pop3"
[[listener]]
protocol = "sieve"
[upstream.imap]
service_user = "x"
[upstream.smtp]
[upstream.pop3]
[upstream.sieve]
[upstream.http]
[[delegation]]
[audit]
[[audit.remote]]
kind = "syslog"
[[audit.remote]]
kind = "http"
[[audit.checkpoint]]
kind = "file"
[[audit.checkpoint]]
kind = "syslog"
[[audit.checkpoint]]
kind = "http"
[evidence]
[[evidence.issuer]]
[limits]
max_line_octets = 8192
max_literal_octets = 8192
max_response_octets = 32768
max_commands = 100
max_errors = 3
"""
"""Wrong in every section, but every question is asked of it."""
_WITH_LISTS = """
[groups.ldap]
url = ["ldaps://a"]
[[listener]]
protocol = "imap"
[upstream.imap]
address = ["a:1"]
"""

_OF_THIS_MACHINE = (("server", "hostname"),)
"""Defaults that differ from machine to machine."""
_SECRET_FILES = (("store", "url_file"),)
_PERCENTAGES: Schema = {"type": "integer", "minimum": 1, "maximum": 99}
_PASSWORD = "service_password"  # noqa: S105  the name of a key


def json_schema() -> Schema:
    """The schema of the whole file."""
    asked = Asked()
    for document in (_LEADS_EVERYWHERE, _WITH_LISTS, ""):
        read_settings(Recorder(tomllib.loads(document), source="schema", faults=[], asked=asked), "schema")
    for section, key in _OF_THIS_MACHINE:
        asked.tables[section].values[key] = [{"type": "string"}]
    for section, key in _SECRET_FILES:
        asked.tables[section].values[key] = [{"type": "string"}]
    steps: Schema = {"type": "array", "items": _PERCENTAGES, "minItems": 1, "uniqueItems": True}
    asked.tables["policy"].tables["canary"].values["steps"] = [steps]  # read as it is, for a fault of the whole list
    for upstream in asked.tables["upstream"].tables.values():
        if upstream.values.pop(_PASSWORD, None) is not None:  # never in the file itself
            upstream.values[f"{_PASSWORD}_file"] = [{"type": "string"}]
    return {"$schema": DRAFT, "title": "gatekeeper.toml: how the gate is run", **asked.schema()}
