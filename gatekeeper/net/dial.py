"""Dialling the mail server: a non-blocking connection that becomes a `Transport`, over TLS with the name verified."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from errno import EINPROGRESS
from functools import lru_cache
from ipaddress import ip_address
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    TCP_CONGESTION,
    TCP_NODELAY,
    socket,
)

from gatekeeper.net.poller import Poller
from gatekeeper.net.transport import Transport

_ON_LOOPBACK = b"reno"
"""Congestion control to a server on this machine, where nothing is ever congested: every kernel has and allows it. What
the system chooses for its networks may pace what is sent, by timers (BBR does): an eighth of what an upload costs."""


class TlsMode(StrEnum):
    """How a connection gets its TLS."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where a mail server is and how it is reached."""

    host: str
    """As configured: an address literal, or a name."""
    address: str
    """Address literal that `host` stands for."""
    port: int
    tls: TlsMode
    context: ssl.SSLContext | None
    """Set unless `tls` is off."""
    client_address: str = "none"
    """How the server learns the phone's address: `id`, `proxy`, `proxy-v2`, `xclient` or `none`."""
    preconnect: bool = True
    """Whether a connection may be made while its phone is on its way to log in."""

    @property
    def wants_proxy_header(self) -> bool:
        """Whether a connection begins with a PROXY header."""
        return self.client_address in ("proxy", "proxy-v2")

    @property
    def place(self) -> str:
        """`address:port`, for operators."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        return _is_loopback(self.address)


@lru_cache(maxsize=64)
def _is_loopback(address: str) -> bool:
    return ip_address(address).is_loopback


def dial(
    upstream: Upstream, protocol: asyncio.Protocol, *, poller: Poller, loop: asyncio.AbstractEventLoop
) -> Transport:
    """Start connecting; the protocol hears from the server, or of the failure, by its usual methods.

    `connection_made` is called only where we have to talk first (TLS, PROXY header): elsewhere the server's greeting
    says as much, one event earlier. Raises OSError when the attempt fails at once (no route, no descriptors).
    """
    family = AF_INET6 if ":" in upstream.address else AF_INET
    sock = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
    try:
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        if upstream.is_loopback:
            with suppress(OSError):
                sock.setsockopt(IPPROTO_TCP, TCP_CONGESTION, _ON_LOOPBACK)
        error = sock.connect_ex((upstream.address, upstream.port))
    except OSError:
        sock.close()
        raise
    if error not in (0, EINPROGRESS):
        sock.close()
        raise OSError(error, f"cannot connect to {upstream.host}:{upstream.port}")
    talks_first = upstream.tls is TlsMode.IMPLICIT or upstream.wants_proxy_header
    return Transport(sock, protocol, poller=poller, loop=loop, connecting=talks_first)
