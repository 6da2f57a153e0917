"""JSON with one reading only."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.attestation.strict_json import MAX_DEPTH, NotStrictJson, loads, shown

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"a":2}', "duplicate key `a`"),
        (b'{"x":{"a":1,"\\u0061":2}}', "duplicate key `a`"),
        (b'{"a\\u001b":1,"a\\u001b":2}', "duplicate key `a?`"),
        (b'{"a":1.0}', "fraction"),
        (b'{"a":1e3}', "fraction"),
        (b'{"a":NaN}', "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "-Infinity"),
        (b"[" + b"9" * 30 + b"]", "too many digits"),
        (b'{"a":1} {}', "not JSON"),
        (b"", "not JSON"),
        (b"\xff", "not UTF-8 at octet 1"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper"),
        (b'{"a":' * 100_000, "nested deeper"),
    ],
)
def test_refuses_what_can_be_read_in_two_ways(data: bytes, reason: str) -> None:
    """Each trap of the standard library's reader is an error that says what is wrong."""
    with pytest.raises(NotStrictJson, match=re.escape(reason)):
        loads(data)


def test_reads_up_to_the_nesting_limit() -> None:
    """The deepest allowed value is read."""
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None


@given(VALUES)
def test_reads_what_json_writes(value: object) -> None:
    """Every value without floats comes back as it was written."""
    assert loads(json.dumps(value).encode()) == value


@given(st.binary(max_size=64))
def test_garbage_raises_only_its_own_error(data: bytes) -> None:
    """Arbitrary octets are read or refused, nothing else."""
    with contextlib.suppress(NotStrictJson):
        loads(data)


def test_shown_text_is_one_short_printable_line() -> None:
    """Text from outside cannot break out of a message."""
    assert shown("a\r\n\x1b[31m" + "x" * 100) == "a???[31m" + "x" * 56
