"""The schema that OCSF published (1.8.0), and what it has against a record."""

import json
from functools import cache

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema


@cache
def schema() -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))


def faults(made: bytes) -> list[str]:
    """What the schema has against a record."""
    record = json.loads(made)
    validator = _validator(record["class_uid"], tuple(record["metadata"]["profiles"]))
    return [f"{list(error.absolute_path)}: {error.message[:200]}" for error in validator.iter_errors(record)]


@cache
def _validator(class_uid: int, profiles: tuple[str, ...]) -> Draft202012Validator:
    name = schema().lookup_class_name_from_uid(class_uid)
    return Draft202012Validator(schema().get_class_schema(name, list(profiles)))
