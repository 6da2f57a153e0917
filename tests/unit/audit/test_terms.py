"""The terms by which an index finds lines."""

import json
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.stored import read
from gatekeeper.audit.terms import Kind, _terms_of_odd, last_key, network_key, terms_of
from testkit.audit_log import balanced_connection, event, line


def test_a_refusal_is_found_by_all_that_it_names() -> None:
    """Who, which device, what, by which rule, for which app, from where, in which connection."""
    assert sorted(terms_of(line(event("c1"))).words) == [
        (Kind.ACCOUNT, b"alice@example.com"),
        (Kind.DEVICE, b"ph-001"),
        (Kind.CODE, b"GK1002W"),
        (Kind.RULE, b"no-tiktok"),
        (Kind.APP, b"ios:com.zhiliaoapp.musically"),
        (Kind.ADDRESS_4, bytes([198, 51, 100, 0, 24])),
        (Kind.CONN, b"c1"),
    ]


@pytest.mark.parametrize("code", EventCode)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"connection": balanced_connection()},
        {"decision": None, "detail": {"device_id": "ph-9"}},
        {"decision": None, "account": None},
        {"connection": None, "decision": None, "account": None},
    ],
    ids=["full", "balanced", "device", "nobody", "bare"],
)
def test_the_quick_way_and_the_tolerant_way_agree(code: EventCode, more: dict[str, object]) -> None:
    """Every record has the same terms both ways, and they are what filters compare."""
    made = line(event(code=code, **more))
    assert terms_of(made) == _terms_of_odd(read(made))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("user",), 7),
        (("user", "name"), None),
        (("device",), []),
        (("unmapped", "gatekeeper", "rules"), "text"),
        (("unmapped", "gatekeeper", "matched"), [1, "ios:x"]),
        (("unmapped", "gatekeeper", "src_prefix"), True),
        (("unmapped", "gatekeeper", "src_prefix"), [24]),
        (("unmapped", "gatekeeper", "src_prefix"), 10**30),
        (("unmapped", "gatekeeper", "src_prefix"), -1),
        (("unmapped", "gatekeeper", "conn"), 1),
        (("src_endpoint", "ip"), "nonsense"),
    ],
)
def test_what_is_of_a_wrong_type_is_absent_and_the_rest_is_found(path: tuple[str, ...], value: object) -> None:
    """A record that `audit query` can read has the terms that it reads."""
    document = json.loads(line(event()))
    holder = document
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    made = json.dumps(document).encode()
    assert terms_of(made) == _terms_of_odd(read(made))


@pytest.mark.parametrize("made", [b"", b"garbage", b"[]", b"{}", b"[" * 100_000, b'{"time": 1}'])
def test_what_is_no_record_has_no_terms(made: bytes) -> None:
    """It is said, and nothing else happens."""
    with pytest.raises(ValueError):
        terms_of(made)


def test_a_time_that_no_calendar_has_is_no_record() -> None:
    """Nor one that the index could not hold."""
    with pytest.raises(ValueError, match="time"):
        terms_of(line(event()).replace(b'"time":1594400400000', b'"time":9000000000000000000'))


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4), st.integers(0, 32))
def test_keys_of_networks_within_one_lie_between_its_key_and_its_last(
    outer: object, outer_bits: int, inner: object, inner_bits: int
) -> None:
    """A range of keys is exactly the networks in a network."""
    one = ip_network(f"{outer}/{outer_bits}", strict=False)
    other = ip_network(f"{inner}/{inner_bits}", strict=False)
    is_between = network_key(one)[1] <= network_key(other)[1] <= last_key(one)
    assert is_between is other.subnet_of(one)  # type: ignore[arg-type]  # both are of version 4
