"""Laws of the PROXY header: what we write is read as what was meant, of any prefix more is wanted, and no more is read.

Derandomized: the same examples on every run. What holds for any octets is in `test_wire_properties`.
"""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.protocols.login import NEED_DATA
from gatekeeper.protocols.proxy_protocol.header import MAX_OCTETS, SIGNATURE, Header, MalformedHeader, canonical, parse
from gatekeeper.protocols.proxy_protocol.sending import LOCAL, version_1, version_2

LAW = settings(max_examples=200, deadline=None, derandomize=True)
ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number))),
    st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number))),
    st.integers(0, 2**32 - 1).map(lambda number: f"::ffff:{IPv4Address(number)}"),
)
ENDPOINTS = st.tuples(ADDRESSES, st.integers(0, 65535))
BEHIND = st.binary(max_size=40) | st.just(LOCAL) | st.just(b"PROXY UNKNOWN\r\n")
TLVS = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind not in (0x03, 0x20)), st.binary(max_size=60)), max_size=6
)


def _read(header: bytes, behind: bytes) -> Header:
    """The header; more is wanted of every prefix, and none of what is behind is taken."""
    assert all(parse(header[:at]) is NEED_DATA for at in range(len(header)))
    found = parse(header + behind)
    assert isinstance(found, Header)
    assert found.octets == len(header)
    assert found == parse(header)
    return found


def _canonical(end: tuple[str, int]) -> tuple[str, int]:
    return canonical(str(IPv6Address(end[0]))) if ":" in end[0] else end[0], end[1]


@LAW
@given(ENDPOINTS, ENDPOINTS, BEHIND)
def test_what_we_write_parses_back(source: tuple[str, int], destination: tuple[str, int], behind: bytes) -> None:
    """In both versions, of any two families."""
    for header in (version_1(source, destination), version_2(source, destination)):
        found = _read(header, behind)
        assert (found.source, found.destination) == (_canonical(source), _canonical(destination))
        assert not found.is_local


@LAW
@given(ENDPOINTS, ENDPOINTS, TLVS, BEHIND)
def test_values_behind_the_addresses_change_nothing(
    source: tuple[str, int], destination: tuple[str, int], tlvs: list[tuple[int, bytes]], behind: bytes
) -> None:
    """Of unknown kinds: they are stepped over to the octet; one octet less or more in their lengths is refused."""
    plain = version_2(source, destination)
    more = b"".join(bytes([kind]) + len(value).to_bytes(2) + value for kind, value in tlvs)
    size = len(plain) - 16 + len(more)
    header = plain[:14] + size.to_bytes(2) + plain[16:] + more
    found = _read(header, behind)
    assert (found.source, found.destination) == (_canonical(source), _canonical(destination))
    if more:
        with pytest.raises(MalformedHeader):
            parse(header[:14] + (size - 1).to_bytes(2) + header[16:-1])
        with pytest.raises(MalformedHeader):
            parse(header[:14] + (size + 1).to_bytes(2) + header[16:] + b"\x04")


@LAW
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=300))
def test_any_second_version_is_read_refused_or_waited_for(command: int, family: int, size: int, rest: bytes) -> None:
    """Whatever is announced: never more than the longest header is waited for, and only LOCAL and TCP are a header."""
    octets = SIGNATURE + bytes([command, family]) + size.to_bytes(2) + rest
    try:
        found = parse(octets)
    except MalformedHeader:
        return
    assert command in (0x20, 0x21)
    if isinstance(found, Header):
        assert found.octets == 16 + size <= len(octets)
        assert (found.source is not None) == (command == 0x21 and family in (0x11, 0x21))
    else:
        assert len(octets) < 16 + size <= MAX_OCTETS
