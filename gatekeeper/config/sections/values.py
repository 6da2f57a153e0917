"""Kinds of values that several sections have."""

import ipaddress
from datetime import timedelta

from gatekeeper.domain.document import Table


def address(table: Table, name: str, default: str | None = None) -> tuple[str, int]:
    """`host:port`, the host of an IPv6 address in brackets."""
    text = table.text(name, default)
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if text and (not separator or not host or not port.isdecimal() or int(port) > 65535):
        table.fault(name, f"`{text}` is not an address and port such as 0.0.0.0:993 or [::1]:993")
        return "127.0.0.1", 0
    return host, int(port or 0)


def is_loopback(host: str) -> bool:
    """Whether an address, or `localhost`, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def at_least(table: Table, name: str, default: str, low: timedelta) -> timedelta:
    """A duration that is not shorter than `low`."""
    value = table.duration(name, default)
    if value < low:
        table.fault(name, f"must be at least {int(low.total_seconds())}s")
    return value
