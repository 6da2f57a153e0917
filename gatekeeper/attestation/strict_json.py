"""JSON that can be read in one way only (RFC 8259, narrowed).

INVARIANT: what `loads` returns is what every other careful reader sees in the same bytes. The standard library alone
takes duplicate keys (the last one wins), NaN, Infinity and floats where whole numbers belong; here all of them are
errors, and so is nesting deeper than the reader expects.
"""

import json
from typing import NoReturn, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | None"

MAX_DEPTH = 8
_MAX_DIGITS = 20
"""A signed 64-bit integer has 19 digits and a sign."""
_SHOWN_KEY_LENGTH = 64


class NotStrictJson(ValueError):
    """The bytes are not JSON, or can be read in two ways; the text says what is wrong, without quoting values."""


def loads(data: bytes) -> Json:
    """Read one JSON value from UTF-8 bytes. Raises `NotStrictJson`."""
    try:
        value: Json = json.loads(
            data.decode("utf-8", "strict"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_refuse_float,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as exc:
        raise NotStrictJson(f"not UTF-8 at octet {exc.start + 1}") from exc
    except json.JSONDecodeError as exc:
        raise NotStrictJson(f"not JSON: {exc.msg} at character {exc.pos + 1}") from exc
    except RecursionError as exc:
        raise NotStrictJson(f"nested deeper than {MAX_DEPTH} levels") from exc
    if _is_deeper(value, MAX_DEPTH):
        raise NotStrictJson(f"nested deeper than {MAX_DEPTH} levels")
    return value


def shown(text: str) -> str:
    """`text` from outside, cut and cleaned so that it can be part of a one-line message."""
    return "".join(char if char.isprintable() else "?" for char in text[:_SHOWN_KEY_LENGTH])


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members: dict[str, Json] = {}
    for key, value in pairs:
        if key in members:
            raise NotStrictJson(f"duplicate key `{shown(key)}`")
        members[key] = value
    return members


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise NotStrictJson("a number has too many digits")
    return int(digits)


def _refuse_float(_text: str) -> NoReturn:
    raise NotStrictJson("a number with a fraction or an exponent where only whole numbers belong")


def _refuse_constant(text: str) -> NoReturn:
    raise NotStrictJson(f"{text} is not a JSON value")


def _is_deeper(value: Json, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_is_deeper(member, levels - 1) for member in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deeper(member, levels - 1) for member in value)
    return False
