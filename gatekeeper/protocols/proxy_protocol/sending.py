"""PROXY headers for a mail server that wants to be told whose connection this is (proxy-protocol.txt §2.1, §2.2)."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from gatekeeper.protocols.proxy_protocol.header import SIGNATURE, Endpoint

LOCAL = SIGNATURE + b"\x20\0\0\0"
"""Version 2: this connection is our own, nobody's behind us."""


def version_1(source: Endpoint, destination: Endpoint) -> bytes:
    """The line for a connection from `source` to `destination`."""
    source_ip, destination_ip = _of_one_family(source[0], destination[0])
    family = "TCP4" if isinstance(source_ip, IPv4Address) else "TCP6"
    return f"PROXY {family} {_text(source_ip)} {_text(destination_ip)} {source[1]} {destination[1]}\r\n".encode("ascii")


def version_2(source: Endpoint, destination: Endpoint, tls_version: str | None = None) -> bytes:
    """The header for a connection from `source` to `destination`, which TLS of that version protects; None: none does.

    Of TLS only the version is told, no client certificate: a mail server might log somebody in by its name.
    """
    source_ip, destination_ip = _of_one_family(source[0], destination[0])
    family = b"\x11" if isinstance(source_ip, IPv4Address) else b"\x21"
    body = source_ip.packed + destination_ip.packed + source[1].to_bytes(2) + destination[1].to_bytes(2)
    if tls_version is not None:
        # Flags: over TLS, without a certificate; the outcome of no verification is not zero (§2.2.6).
        body += _tlv(0x20, b"\x01" + (1).to_bytes(4) + _tlv(0x21, tls_version.encode("ascii")))
    return SIGNATURE + b"\x21" + family + len(body).to_bytes(2) + body


def _tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2) + value


def _of_one_family(source: str, destination: str) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """Both addresses, an IPv4 one beside an IPv6 one as mapped: a header has one family for both."""
    first, second = _address(source), _address(destination)
    if isinstance(first, IPv4Address) is isinstance(second, IPv4Address):
        return first, second
    return _mapped(first), _mapped(second)


def _address(text: str) -> IPv4Address | IPv6Address:
    return ip_address(text.partition("%")[0])  # a zone means nothing elsewhere


def _text(address: IPv4Address | IPv6Address) -> str:
    """As inet_ntop(3) writes it; Python's own form of a mapped address depends on its version."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address) if mapped is None else f"::ffff:{mapped}"


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    return IPv6Address(f"::ffff:{address}") if isinstance(address, IPv4Address) else address
