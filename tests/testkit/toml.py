"""Writing TOML: as much as a configuration of the gate needs (the standard library only reads it)."""

import json
from collections.abc import Mapping, Sequence
from datetime import date


def dumps(document: Mapping[str, object]) -> str:
    """Return `document` as TOML text; values are text, numbers, booleans, dates, lists, tables, and lists of tables."""
    return "\n".join(_table(document, ())) + "\n"


def merged(base: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return `base` with `changes` laid over it, table by table; None takes a key away."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(old, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def _table(table: Mapping[str, object], path: tuple[str, ...]) -> list[str]:
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not _is_tables(value)]
    for key, value in table.items():
        here = (*path, key)
        if isinstance(value, Mapping):
            lines += [f"[{'.'.join(here)}]", *_table(value, here)]
        elif _is_tables(value):
            assert isinstance(value, Sequence)
            for item in value:
                lines += [f"[[{'.'.join(here)}]]", *_table(item, here)]
    return lines


def _is_tables(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
    )


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, Mapping):  # in a list with others
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    # JSON's numbers, booleans and escaped strings are TOML's too.
    return json.dumps(str(value) if not isinstance(value, bool | int | float) else value)
