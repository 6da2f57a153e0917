"""The configuration and policy that a site starts from: what lies in `config/` of a checkout, for whoever has none."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from gatekeeper.config.json_schema import json_schema
from gatekeeper.decision.cases_schema import cases_schema
from gatekeeper.decision.json_schema import json_schema as policy_schema

_TEXTS = ("gatekeeper.toml", "policy.toml", "policy.test.toml")
_SCHEMAS = {
    "gatekeeper.schema.json": json_schema,
    "policy.schema.json": policy_schema,
    "policy.test.schema.json": cases_schema,
}


def starter(directory: Path) -> Mapping[str, str]:
    """The files by name; those that the configuration names stand in `directory`, as a path from where it is used."""
    place = json.dumps(str(directory), ensure_ascii=False)[1:-1]  # TOML escapes as JSON does
    texts = {name: (files(__package__) / "starter_files" / name).read_text(encoding="utf-8") for name in _TEXTS}
    texts["gatekeeper.toml"] = texts["gatekeeper.toml"].replace('"config/', f'"{place}/')
    schemas = {name: json.dumps(schema(), ensure_ascii=False, indent=2) + "\n" for name, schema in _SCHEMAS.items()}
    return texts | schemas
