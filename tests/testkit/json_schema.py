"""As much of JSON Schema (draft 7) as the published schemas use, so that a test can hold documents against them."""

import re
from collections.abc import Iterator

KNOWN = {
    "$schema", "title", "description", "default", "type", "enum", "const", "pattern", "minimum", "maximum", "minItems",
    "uniqueItems", "items", "properties", "additionalProperties", "propertyNames", "required", "anyOf",
}  # fmt: skip
_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}


def complaints(schema: object, value: object, place: str = "") -> Iterator[str]:
    """What is wrong with `value`; a keyword that is not known here fails the test."""
    if schema in (True, {}):
        return
    if schema is False:
        yield f"{place}: not allowed"
        return
    assert isinstance(schema, dict)
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
        yield f"{place}: is no {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value!r} is not one of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{place}: is not {schema['const']}"
    if "anyOf" in schema and all(any(complaints(each, value, place)) for each in schema["anyOf"]):
        yield f"{place}: is none of the possible"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{place}: does not match {schema['pattern']}"
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{place}: out of range"
    if isinstance(value, list):
        yield from _of_items(schema, value, place)
    if isinstance(value, dict):
        yield from _of_keys(schema, value, place)


def _of_items(schema: dict, value: list, place: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{place}: too few"
    for index, item in enumerate(value):
        yield from complaints(schema.get("items", True), item, f"{place}[{index}]")


def _of_keys(schema: dict, value: dict, place: str) -> Iterator[str]:
    yield from (f"{place}.{name}: is required" for name in schema.get("required", ()) if name not in value)
    for name, item in value.items():
        yield from complaints(schema.get("propertyNames", True), name, f"{place}.{name}")
        inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
        yield from complaints(inner, item, f"{place}.{name}")
