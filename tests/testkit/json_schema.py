"""The published JSON Schemas, held against documents by a library that knows JSON Schema; and documents gone bad."""

import copy
from collections.abc import Iterable, Iterator

from jsonschema import Draft7Validator

Document = dict[str, object]


def complaints(schema: Document, document: object) -> list[str]:
    """What the schema has against a document; fails when the schema itself is none."""
    Draft7Validator.check_schema(schema)
    return [f"{error.json_path}: {error.message[:200]}" for error in Draft7Validator(schema).iter_errors(document)]


def unmarked(schema: Document, documents: Iterable[tuple[str, Document]]) -> list[str]:
    """Which of these documents that are bad fit all the same, by where they are."""
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema)
    return [where for where, document in documents if validator.is_valid(document)]


def gone_bad(document: Document, dates: frozenset[str]) -> list[tuple[str, Document]]:
    """The document with one thing wrong each, and where: an unknown key in each table, a value of a wrong type.

    A schema has no opinion on `dates`: these stay.
    """
    found = [("no_such_key", {**document, "no_such_key": 1})]
    for path in _paths(document):
        bad = copy.deepcopy(document)
        *above, last = path
        place: object = bad
        for step in above:
            place = place[step]  # type: ignore[index]
        value = place[last]  # type: ignore[index]
        if last in dates:
            continue
        if isinstance(value, dict):
            value["no_such_key"] = 1
            found.append((".".join(map(str, (*path, "no_such_key"))), bad))
        else:
            place[last] = {"of": {"another": "type"}}  # type: ignore[index]
            found.append((".".join(map(str, path)), bad))
    return found


def _paths(value: object, at: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    if at:
        yield at
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, (*at, name))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, (*at, index))
