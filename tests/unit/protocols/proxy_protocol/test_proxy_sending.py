"""Our own headers, octet by octet, and read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.request import ReportedTls
from gatekeeper.protocols.proxy_protocol.header import Header, canonical, parse
from gatekeeper.protocols.proxy_protocol.sending import LOCAL, version_1, version_2

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
PHONE, GATE = ("192.0.2.7", 4711), ("198.51.100.1", 993)
PHONE_6, GATE_6 = ("2001:db8::7", 4711), ("2001:db8::1", 993)


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        (PHONE, GATE, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 993\r\n"),
        (PHONE_6, GATE_6, b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 993\r\n"),
        (PHONE, GATE_6, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 4711 993\r\n"),
        (PHONE_6, GATE, b"PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 4711 993\r\n"),
        (("fe80::7%eth0", 1), GATE_6, b"PROXY TCP6 fe80::7 2001:db8::1 1 993\r\n"),
    ],
)
def test_version_1_is_a_line(source: tuple[str, int], destination: tuple[str, int], line: bytes) -> None:
    """Both addresses of one family: an IPv4 one goes beside an IPv6 one as mapped."""
    assert version_1(source, destination) == line


def test_version_2_is_binary() -> None:
    """With and without TLS."""
    addresses = bytes([192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0x03, 0xE1])
    assert version_2(PHONE, GATE) == SIGNATURE + b"\x21\x11\0\x0c" + addresses
    tls = b"\x20\0\x0f\x01\0\0\0\x01\x21\0\x07TLSv1.3"
    assert version_2(PHONE, GATE, "TLSv1.3") == SIGNATURE + b"\x21\x11\0\x1e" + addresses + tls
    assert LOCAL == SIGNATURE + b"\x20\0\0\0"


ENDPOINTS = st.tuples(st.ip_addresses().map(str).map(canonical), st.integers(0, 65535))


@given(ENDPOINTS, ENDPOINTS)
def test_what_we_send_can_be_read(source: tuple[str, int], destination: tuple[str, int]) -> None:
    """By ourselves, in both versions, of any two families."""
    tls = ReportedTls(version="TLSv1.2", is_certificate_verified=False, common_name=None)
    line, binary = version_1(source, destination), version_2(source, destination, "TLSv1.2")
    assert parse(line) == Header(len(line), source=source, destination=destination)
    assert parse(binary) == Header(len(binary), source=source, destination=destination, tls=tls)
    assert parse(LOCAL) == Header(len(LOCAL), is_local=True)
