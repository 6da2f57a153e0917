"""A load balancer's header: what is read from it, and every way in which it can be wrong."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatekeeper.domain.request import ReportedTls
from gatekeeper.protocols.login import NEED_DATA
from gatekeeper.protocols.proxy_protocol.crc32c import crc32c
from gatekeeper.protocols.proxy_protocol.header import (
    MAX_OCTETS,
    MAX_V1_OCTETS,
    SIGNATURE,
    Header,
    MalformedHeader,
    canonical,
    parse,
)

ADDRESSES_4 = bytes([192, 0, 2, 1, 198, 51, 100, 1]) + (40000).to_bytes(2) + (993).to_bytes(2)
ADDRESSES_6 = bytes.fromhex("20010db8000000000000000000000007 20010db8000000000000000000000001") + ADDRESSES_4[8:]
PHONE_4, GATE_4 = ("192.0.2.1", 40000), ("198.51.100.1", 993)
PHONE_6, GATE_6 = ("2001:db8::7", 40000), ("2001:db8::1", 993)


def v2(body: bytes = b"", *, command: int = 0x21, family: int = 0x11, octets: int | None = None) -> bytes:
    """A header of version 2."""
    return SIGNATURE + bytes([command, family]) + (len(body) if octets is None else octets).to_bytes(2) + body


def tlv(kind: int, value: bytes, octets: int | None = None) -> bytes:
    """One TLV."""
    return bytes([kind]) + (len(value) if octets is None else octets).to_bytes(2) + value


def checked(body: bytes, spoilt: int = 0) -> bytes:
    """A header of version 2 for IPv4 with its checksum, in the middle of its TLVs."""
    before, behind = ADDRESSES_4 + body, tlv(0x04, b"padding")
    zeroed = v2(before + tlv(0x03, bytes(4)) + behind)
    return v2(before + tlv(0x03, (crc32c(zeroed) ^ spoilt).to_bytes(4)) + behind)


TLS = tlv(0x20, b"\x07\0\0\0\0" + tlv(0x21, b"TLSv1.3") + tlv(0x22, "Älice's phone".encode()) + tlv(0x23, b"AES"))
NO_CERTIFICATE = tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.2"))
UNTRUSTED = tlv(0x20, b"\x03\0\0\0\x13" + tlv(0x22, b"mallory"))

HEADERS: dict[str, tuple[bytes, Header]] = {
    "v1 IPv4": (
        b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 993\r\n",
        Header(45, source=PHONE_4, destination=GATE_4),
    ),
    "v1 IPv6": (
        b"PROXY TCP6 2001:DB8:0:0:0:0:0:7 2001:db8::1 40000 993\r\n",
        Header(55, source=PHONE_6, destination=GATE_6),
    ),
    "v1 IPv4 as IPv6": (
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6401 40000 993\r\n",
        Header(56, source=PHONE_4, destination=GATE_4),
    ),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", Header(15)),
    "v1 unknown, the longest": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", Header(MAX_V1_OCTETS)),
    "v1 lowest and highest port": (
        b"PROXY TCP4 192.0.2.1 198.51.100.1 0 65535\r\n",
        Header(43, source=("192.0.2.1", 0), destination=("198.51.100.1", 65535)),
    ),
    "v2 IPv4": (v2(ADDRESSES_4), Header(28, source=PHONE_4, destination=GATE_4)),
    "v2 IPv6": (v2(ADDRESSES_6, family=0x21), Header(52, source=PHONE_6, destination=GATE_6)),
    "v2 IPv4 as IPv6": (
        v2(
            b"".join(bytes(10) + b"\xff\xff" + ADDRESSES_4[at : at + 4] for at in (0, 4)) + ADDRESSES_4[8:], family=0x21
        ),
        Header(52, source=PHONE_4, destination=GATE_4),
    ),
    "v2 local": (v2(command=0x20, family=0), Header(16, is_local=True)),
    "v2 local with what is to be ignored": (
        v2(b"any", command=0x20, family=0xFF),
        Header(19, is_local=True),
    ),
    "v2 unspecified": (v2(b"whatever", family=0), Header(24)),
    "v2 unix": (v2(bytes(216), family=0x31), Header(232)),
    "v2 datagrams": (v2(ADDRESSES_4, family=0x12), Header(28)),
    "v2 as long as may be": (
        v2(ADDRESSES_4 + tlv(0xE0, bytes(MAX_OCTETS - 31))),
        Header(MAX_OCTETS, source=PHONE_4, destination=GATE_4),
    ),
    "v2 unknown TLVs": (
        v2(ADDRESSES_4 + tlv(0x01, b"imap") + tlv(0x02, b"mail.example.com") + tlv(0x05, b"") + tlv(0xFF, b"x")),
        Header(61, source=PHONE_4, destination=GATE_4),
    ),
    "v2 checksum": (checked(b""), Header(45, source=PHONE_4, destination=GATE_4)),
    "v2 checksum over TLS": (
        checked(TLS),
        Header(
            86,
            source=PHONE_4,
            destination=GATE_4,
            tls=ReportedTls(version="TLSv1.3", is_certificate_verified=True, common_name="Älice's phone"),
        ),
    ),
    "v2 TLS without a certificate": (
        v2(ADDRESSES_4 + NO_CERTIFICATE),
        Header(
            46,
            source=PHONE_4,
            destination=GATE_4,
            tls=ReportedTls(version="TLSv1.2", is_certificate_verified=False, common_name=None),
        ),
    ),
    "v2 TLS with a certificate that is not believed": (
        v2(ADDRESSES_4 + UNTRUSTED),
        Header(
            46,
            source=PHONE_4,
            destination=GATE_4,
            tls=ReportedTls(version="", is_certificate_verified=False, common_name="mallory"),
        ),
    ),
    "v2 no TLS": (v2(ADDRESSES_4 + tlv(0x20, bytes(5))), Header(36, source=PHONE_4, destination=GATE_4)),
}
every_header = pytest.mark.parametrize(("octets", "header"), HEADERS.values(), ids=HEADERS)


@every_header
def test_a_header_is_read_to_the_octet(octets: bytes, header: Header) -> None:
    """However many octets follow, which may look like anything."""
    assert header.octets == len(octets)
    for behind in (b"", b"\x16\x03\x01", octets, b"\r\n", b"\0" * 5000):
        assert parse(octets + behind) == header


@every_header
def test_a_header_is_waited_for_to_its_last_octet(octets: bytes, header: Header) -> None:
    """Wherever it is split, and never refused before it is whole."""
    assert {parse(octets[:at]) for at in range(len(octets))} == {NEED_DATA}


V1 = {
    "nothing of the sort": b"a LOGIN alice wonderland\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP": b"GET / HTTP/1.1\r\n",
    "lower case": b"proxy TCP4 192.0.2.1 198.51.100.1 40000 993\r\n",
    "tab": b"PROXY\tTCP4 192.0.2.1 198.51.100.1 40000 993\r\n",
    "no family": b"PROXY \r\n",
    "other family": b"PROXY UDP4 192.0.2.1 198.51.100.1 40000 993\r\n",
    "family in lower case": b"PROXY tcp4 192.0.2.1 198.51.100.1 40000 993\r\n",
    "unknown with more": b"PROXY UNKNOWNS\r\n",
    "no addresses": b"PROXY TCP4\r\n",
    "one port": b"PROXY TCP4 192.0.2.1 198.51.100.1 40000\r\n",
    "three ports": b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 993 1\r\n",
    "two spaces": b"PROXY TCP4 192.0.2.1  198.51.100.1 40000 993\r\n",
    "space at the end": b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 993 \r\n",
    "bare LF": b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 993\n",
    "bare CR": b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 993\rEHLO",
    "LF within": b"PROXY UNKNOWN \n\r\n",
    "two CR": b"PROXY UNKNOWN\r\r\n",
    "leading zero": b"PROXY TCP4 192.0.02.1 198.51.100.1 40000 993\r\n",
    "three numbers": b"PROXY TCP4 192.0.2 198.51.100.1 40000 993\r\n",
    "too large a number": b"PROXY TCP4 192.0.2.256 198.51.100.1 40000 993\r\n",
    "IPv6 for IPv4": b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 993\r\n",
    "IPv4 for IPv6": b"PROXY TCP6 192.0.2.1 198.51.100.1 40000 993\r\n",
    "zone": b"PROXY TCP6 fe80::1%eth0 2001:db8::1 40000 993\r\n",
    "brackets": b"PROXY TCP6 [2001:db8::7] 2001:db8::1 40000 993\r\n",
    "mixed families": b"PROXY TCP4 192.0.2.1 2001:db8::1 40000 993\r\n",
    "name": b"PROXY TCP4 phone.example gate.example 40000 993\r\n",
    "other digits": "PROXY TCP4 192.0.2.\N{ARABIC-INDIC DIGIT ONE} 198.51.100.1 40000 993\r\n".encode(),
    "8 bit": b"PROXY TCP4 192.0.2.\xff 198.51.100.1 40000 993\r\n",
    "8 bit in IPv6": b"PROXY TCP6 2001:db8::\xff 2001:db8::1 40000 993\r\n",
    "NUL": b"PROXY TCP4 192.0.2.1\0 198.51.100.1 40000 993\r\n",
    "port too high": b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 993\r\n",
    "port with a zero": b"PROXY TCP4 192.0.2.1 198.51.100.1 040 993\r\n",
    "port with a sign": b"PROXY TCP4 192.0.2.1 198.51.100.1 +40 993\r\n",
    "negative port": b"PROXY TCP4 192.0.2.1 198.51.100.1 -1 993\r\n",
    "port of six digits": b"PROXY TCP4 192.0.2.1 198.51.100.1 000993 993\r\n",
    "port of words": b"PROXY TCP4 192.0.2.1 198.51.100.1 imaps 993\r\n",
    "no port": b"PROXY TCP4 192.0.2.1 198.51.100.1  993\r\n",
    "a line too long by one": b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    "a line without an end": b"PROXY UNKNOWN " + b"f" * 93,
}
V2 = {
    "half a signature": SIGNATURE[:11] + b"\r",
    "version 1 in binary": v2(ADDRESSES_4, command=0x11),
    "version 3": v2(ADDRESSES_4, command=0x31),
    "unassigned command": v2(ADDRESSES_4, command=0x22),
    "unassigned family": v2(ADDRESSES_4, family=0x41),
    "unassigned transport": v2(ADDRESSES_4, family=0x13),
    "family without transport": v2(ADDRESSES_4, family=0x10),
    "shorter than two IPv4 addresses": v2(ADDRESSES_4[:11]),
    "shorter than two IPv6 addresses": v2(ADDRESSES_6[:35], family=0x21),
    "shorter than two paths": v2(bytes(215), family=0x31),
    "nothing": v2(),
    "too long by one": v2(octets=MAX_OCTETS - 15),
    "too long, local": v2(command=0x20, family=0, octets=0xFFFF),
    "half a TLV": v2(ADDRESSES_4 + b"\x01\0"),
    "one octet of a TLV": v2(ADDRESSES_4 + b"\x01"),
    "a TLV longer than its place": v2(ADDRESSES_4 + tlv(0x01, b"imap", 5)),
    "a wrong checksum": checked(TLS, spoilt=1),
    "another checksum": v2(ADDRESSES_4 + tlv(0x03, bytes(4))),
    "half a checksum": v2(ADDRESSES_4 + tlv(0x03, bytes(2))),
    "TLS in four octets": v2(ADDRESSES_4 + tlv(0x20, bytes(4))),
    "TLS twice": v2(ADDRESSES_4 + TLS + NO_CERTIFICATE),
    "TLS with half a TLV": v2(ADDRESSES_4 + tlv(0x20, b"\x01\0\0\0\0\x21")),
    "TLS with a TLV that reaches beyond it": v2(ADDRESSES_4 + tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"T", 9)) + tlv(4, b"padding")),
}  # fmt: skip


@pytest.mark.parametrize("octets", (V1 | V2).values(), ids=V1 | V2)
def test_what_is_no_header_is_refused(octets: bytes) -> None:
    """As a whole, with more behind it, and octet by octet: never taken for one; and once refused, always refused."""
    with pytest.raises(MalformedHeader):
        parse(octets)
    refused = False
    for at in range(len(octets) + 1):
        try:
            assert parse(octets[:at]) is NEED_DATA
            assert not refused
        except MalformedHeader:
            refused = True
    with pytest.raises(MalformedHeader):
        parse(octets + b"\r\nmore")


def test_two_checksums_are_refused() -> None:
    """Also when the first is right."""
    first = checked(b"")
    zeroed = v2(first[16:] + tlv(0x03, bytes(4)))
    with pytest.raises(MalformedHeader):
        parse(v2(first[16:] + tlv(0x03, crc32c(zeroed).to_bytes(4))))


def test_the_checksum_is_castagnolis() -> None:
    """The check value of RFC 3720's CRC32c."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize(
    ("octets", "at"),
    [(b"PROXY UNKNOWN " + b"f" * 500, MAX_V1_OCTETS), (v2(octets=0xFFFF), 16), (b"GET / HTTP/1.1", 1)],
    ids=["v1", "v2", "neither"],
)
def test_too_long_is_known_before_it_is_waited_for(octets: bytes, at: int) -> None:
    """At the announcement, or where a line had to end."""
    assert parse(octets[: at - 1]) is NEED_DATA
    with pytest.raises(MalformedHeader):
        parse(octets[:at])


@pytest.mark.parametrize(
    ("address", "is_"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:1:2:3", "::ffff:1:2:3"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_an_address_has_one_form(address: str, is_: str) -> None:
    """A phone is not two phones on a socket for both families."""
    assert canonical(address) == is_


GARBAGE = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=200).map(lambda rest: b"PROXY " + rest),
    st.text("TCP46UNKOW .:0123456789abcdef\r\n", max_size=120).map(lambda rest: b"PROXY TCP" + rest.encode()),
    st.binary(max_size=300).map(lambda rest: SIGNATURE + rest),
    st.builds(
        lambda command, family, body, octets: v2(body, command=command, family=family, octets=octets),
        st.sampled_from([0x20, 0x21]),
        st.sampled_from([0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32]),
        st.binary(max_size=300),
        st.one_of(st.none(), st.integers(0, 300)),
    ),
    st.lists(st.builds(tlv, st.sampled_from([1, 3, 4, 0x20]), st.binary(max_size=40)), max_size=4).map(
        lambda tlvs: v2(ADDRESSES_4 + b"".join(tlvs))
    ),
)


@given(GARBAGE)
@example(v2(ADDRESSES_4 + TLS))
def test_garbage_raises_nothing_else_and_is_the_same_however_it_comes(octets: bytes) -> None:
    """A header is found at the same place octet by octet as at once; a refusal is final."""
    found: list[object] = []
    for at in range(len(octets) + 1):
        try:
            found.append(parse(octets[:at]))
        except MalformedHeader:
            found.append(None)
    ended = [at for at, step in enumerate(found) if step is not NEED_DATA]
    if not ended:
        assert len(octets) < MAX_OCTETS
        return
    assert found[ended[0] :] == [found[-1]] * (len(octets) + 1 - ended[0])
    if isinstance(found[-1], Header):
        assert found[-1].octets == ended[0]
