"""Where a connection comes from, as limits and delays count it: an IPv4 address, or an IPv6 network of /64."""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network

PREFIX = 64
"""One IPv6 site has at least so many addresses to itself (RFC 6177): to count single ones would count nothing."""


def source_of(address: str) -> str:
    """The source of `address`; what is no address (a Unix socket) is its own source."""
    return _network(address) if ":" in address else address


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, PREFIX), strict=False))
