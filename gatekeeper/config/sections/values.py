"""Kinds of values that several sections have."""

import ipaddress
from datetime import timedelta

from gatekeeper.domain.document import Table


def address(table: Table, name: str, default: str | None = None) -> tuple[str, int]:
    """`host:port`, the host of an IPv6 address in brackets."""
    text = table.text(name, default)
    return ("", 0) if table.raw(name) is None and not text else _address(table, name, text)


def addresses(table: Table, name: str, most: int) -> tuple[tuple[str, int], ...]:
    """One `host:port`, or a list of them, none twice."""
    if not isinstance(table.raw(name), list):
        return (address(table, name),)
    texts = table.texts(name)
    if not 1 <= len(texts) <= most:
        table.fault(name, f"must name 1 to {most} addresses")
    if len(set(texts)) != len(texts):
        table.fault(name, "names an address twice")
    return tuple(_address(table, name, text) for text in texts[:most])


def _address(table: Table, name: str, text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        table.fault(name, f"`{text}` is not an address and port such as 0.0.0.0:993 or [::1]:993")
        return "127.0.0.1", 0
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether an address, or `localhost`, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def networks(table: Table, name: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Networks such as 10.0.0.0/8, or single addresses; none of them all addresses, none within another."""
    found: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for text in table.texts(name):
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            table.fault(name, f"`{text}` is not a network such as 10.0.0.0/8 or fd00::/8: {error}")
            continue
        if network.prefixlen == 0:
            table.fault(name, f"`{text}` is everybody: whoever connects could say any address")
        elif isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
            table.fault(name, f"`{text}` is an IPv4 network, to be written as one")
        for other in found:
            if network.version == other.version and network.overlaps(other):
                table.fault(name, f"`{network}` and `{other}` overlap")
        found.append(network)
    return tuple(found)


def at_least(table: Table, name: str, default: str, low: timedelta) -> timedelta:
    """A duration that is not shorter than `low`."""
    value = table.duration(name, default)
    if value < low:
        table.fault(name, f"must be at least {int(low.total_seconds())}s")
    return value
