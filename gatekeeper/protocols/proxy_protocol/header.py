"""The header by which a load balancer says whose connection this is (haproxy's proxy-protocol.txt, §2.1 and §2.2).

What holds inside:

* `parse` is a function of the octets so far: whole, octet by octet, or with more behind it, a header is the same.
* What is announced is bounded before it is waited for, and what cannot become a header is refused at once.
* Of version 2's TLVs the checksum is verified, and what the load balancer says of a TLS session that it ended is told
  as facts; a common name in there is hearsay, never a client certificate.
"""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from gatekeeper.domain.request import ReportedTls
from gatekeeper.protocols.login import NEED_DATA, NeedData
from gatekeeper.protocols.proxy_protocol.crc32c import crc32c

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""Of version 2."""
MAX_V1_OCTETS = 107
"""The longest line of version 1 with its CRLF (§2.1)."""
MAX_OCTETS = 4096
"""Of a header of version 2; nginx's limit."""

_V1 = b"PROXY "
_FIXED_OCTETS = 16
"""Of version 2, before the addresses."""
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESS_OCTETS = {0x00: 0, _TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Family and transport; all but TCP's two fall back to the connection's own address (§2.2)."""
_CRC32C, _SSL, _SSL_VERSION, _SSL_CN = 0x03, 0x20, 0x21, 0x22
_HAS_TLS, _HAS_CERTIFICATE = 0x01, 0x02 | 0x04

Endpoint = tuple[str, int]
"""Address literal and port."""


class MalformedHeader(Exception):
    """What was sent is no PROXY header; the text is fixed, none of the peer's octets are in it."""


@dataclass(frozen=True, slots=True)
class Header:
    """A whole header."""

    octets: int
    """Its length: what follows is TLS or the dialogue."""
    is_local: bool = False
    """The load balancer's own connection, a health check."""
    source: Endpoint | None = None
    """The phone; None: the load balancer does not say (LOCAL, UNKNOWN, no TCP): the connection's own address stands."""
    destination: Endpoint | None = None
    """Where the phone connected to; set with `source`."""
    tls: ReportedTls | None = None


def parse(octets: bytes) -> Header | NeedData:
    """The header at the beginning of `octets`; NEED_DATA while it may still become one. Raises MalformedHeader."""
    if octets.startswith(SIGNATURE):
        return _version_2(octets)
    if octets.startswith(_V1):
        return _version_1(octets)
    if SIGNATURE.startswith(octets) or _V1.startswith(octets):
        return NEED_DATA
    raise MalformedHeader("no PROXY header")


def canonical(address: str) -> str:
    """An IPv4 address that is written as an IPv6 one (RFC 4291 §2.5.5.2) as what it is; others as they are."""
    if not address.startswith("::ffff:"):
        return address
    mapped = IPv6Address(address).ipv4_mapped
    return address if mapped is None else str(mapped)


# Version 1: one line.


def _version_1(octets: bytes) -> Header | NeedData:
    start = octets[:MAX_V1_OCTETS]
    end = start.find(b"\r\n")
    line = start[:end] if end >= 0 else start.removesuffix(b"\r")
    if b"\r" in line or b"\n" in line:
        raise MalformedHeader("a line of version 1 ends in CRLF alone")
    if end < 0:
        if len(start) == MAX_V1_OCTETS:
            raise MalformedHeader("a line of version 1 is too long")
        return NEED_DATA
    size = end + 2
    family, _, rest = line[len(_V1) :].partition(b" ")
    if family == b"UNKNOWN":  # whatever follows is ignored (§2.1)
        return Header(size)
    if family not in (b"TCP4", b"TCP6"):
        raise MalformedHeader("version 1 without a family")
    fields = rest.split(b" ")
    if len(fields) != 4:
        raise MalformedHeader("version 1 with other fields than two addresses and two ports")
    read = _ipv4 if family == b"TCP4" else _ipv6
    source, destination = read(fields[0]), read(fields[1])
    return Header(size, source=(source, _port(fields[2])), destination=(destination, _port(fields[3])))


def _ipv4(text: bytes) -> str:
    try:
        return str(IPv4Address(text.decode("ascii")))
    except (UnicodeDecodeError, AddressValueError):
        raise MalformedHeader("not an IPv4 address") from None


def _ipv6(text: bytes) -> str:
    if b"%" in text:  # Python reads a zone, the protocol has none
        raise MalformedHeader("not an IPv6 address")
    try:
        return canonical(str(IPv6Address(text.decode("ascii"))))
    except (UnicodeDecodeError, AddressValueError):
        raise MalformedHeader("not an IPv6 address") from None


def _port(text: bytes) -> int:
    if not text.isdigit() or len(text) > 5 or (text.startswith(b"0") and text != b"0") or int(text) > 65535:
        raise MalformedHeader("not a port")
    return int(text)


# Version 2: binary.


def _version_2(octets: bytes) -> Header | NeedData:
    command = octets[12] if len(octets) > 12 else _PROXY
    if command not in (_LOCAL, _PROXY):
        raise MalformedHeader("another version than 2, or another command than LOCAL and PROXY")
    if len(octets) < _FIXED_OCTETS:
        return NEED_DATA
    size = _FIXED_OCTETS + int.from_bytes(octets[14:16])
    if size > MAX_OCTETS:
        raise MalformedHeader("a header of version 2 is too long")
    family = octets[13]
    if command == _PROXY:
        address_octets = _ADDRESS_OCTETS.get(family)
        if address_octets is None:
            raise MalformedHeader("an unassigned family or transport")
        if size < _FIXED_OCTETS + address_octets:
            raise MalformedHeader("shorter than its addresses")
    if len(octets) < size:
        return NEED_DATA
    if command == _LOCAL:
        return Header(size, is_local=True)  # the rest of it, family and TLVs, is to be discarded (§2.2)
    if family not in (_TCP4, _TCP6):
        return Header(size)
    return _tcp(octets[:size], is_ipv4=family == _TCP4)


def _tcp(header: bytes, *, is_ipv4: bool) -> Header:
    width = 4 if is_ipv4 else 16
    ports = _FIXED_OCTETS + 2 * width
    addresses = header[_FIXED_OCTETS : _FIXED_OCTETS + width], header[_FIXED_OCTETS + width : ports]
    texts = [str(IPv4Address(packed)) if is_ipv4 else canonical(str(IPv6Address(packed))) for packed in addresses]
    end = ports + 4
    tls: ReportedTls | None = None
    is_checked = False
    for kind, at, size in _tlvs(header, end, len(header)):
        if kind == _CRC32C:
            if is_checked or size != 4:
                raise MalformedHeader("more than one checksum, or one of another size")
            is_checked = True
            if crc32c(header[:at] + bytes(4) + header[at + 4 :]) != int.from_bytes(header[at : at + 4]):
                raise MalformedHeader("the checksum is wrong")
        elif kind == _SSL:
            if tls is not None:
                raise MalformedHeader("TLS is reported twice")
            tls = _reported_tls(header, at, size)
    return Header(
        len(header),
        source=(texts[0], int.from_bytes(header[ports : ports + 2])),
        destination=(texts[1], int.from_bytes(header[ports + 2 : end])),
        tls=tls,
    )


def _tlvs(header: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    """Type, place and length of each value between `at` and `end`."""
    found = []
    while at < end:
        if end - at < 3:
            raise MalformedHeader("octets left over behind the last TLV")
        size = int.from_bytes(header[at + 1 : at + 3])
        if size > end - at - 3:
            raise MalformedHeader("a TLV is longer than its place")
        found.append((header[at], at + 3, size))
        at += 3 + size
    return found


def _reported_tls(header: bytes, at: int, size: int) -> ReportedTls | None:
    """PP2_TYPE_SSL (§2.2.6): a byte of flags, the outcome of the verification, further TLVs."""
    if size < 5:
        raise MalformedHeader("TLS is reported in too few octets")
    flags, failure = header[at], header[at + 1 : at + 5]
    texts = {kind: header[start : start + octets] for kind, start, octets in _tlvs(header, at + 5, at + size)}
    if not flags & _HAS_TLS:
        return None
    has_certificate = bool(flags & _HAS_CERTIFICATE)
    name = texts.get(_SSL_CN)
    return ReportedTls(
        version=texts.get(_SSL_VERSION, b"").decode("ascii", "replace"),
        # Zero is also what is sent when nobody asked for a certificate.
        is_certificate_verified=has_certificate and failure == bytes(4),
        common_name=None if name is None or not has_certificate else name.decode("utf-8", "replace"),
    )
