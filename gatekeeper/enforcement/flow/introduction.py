"""A load balancer introduces a phone: its PROXY header says whose connection this is.

What holds inside:

* Only peers from the configured networks introduce anybody, and they must; anybody else who sends a header has sent
  garbage.
* A header that is missing or malformed lets nothing through: the connection is closed.
* Health checks that end by themselves are recorded together, with their count: a check every two seconds would bury
  everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.domain.request import Connection, LoadBalancer
from gatekeeper.ports.audit import AuditLog
from gatekeeper.ports.clock import Clock
from gatekeeper.protocols.login import NeedData
from gatekeeper.protocols.proxy_protocol.header import parse

Network = IPv4Network | IPv6Network

FOLD_S = 600.0
"""How long health checks are counted before they are recorded."""


def is_load_balancer(address: str, networks: Sequence[Network]) -> bool:
    """Whether a connection from that address begins with a PROXY header."""
    peer = ip_address(address.partition("%")[0])
    return any(peer in network for network in networks)


def introduced(connection: Connection, octets: bytes) -> tuple[Connection, int] | None:
    """The connection as the load balancer says, and the header's length; None while it is not whole.

    Raises MalformedHeader.
    """
    header = parse(octets)
    if isinstance(header, NeedData):
        return None
    balancer = LoadBalancer(connection.client_address, is_health_check=header.is_local, tls=header.tls)
    address, port = header.source or (connection.client_address, connection.client_port)
    said = replace(
        connection,
        client_address=address,
        client_port=port,
        load_balancer=balancer,
        server=header.destination,
    )
    return said, header.octets


@dataclass(slots=True)
class HealthChecks:
    """A listener's health checks that ended and are not recorded yet."""

    audit: AuditLog
    clock: Clock
    _count: int = 0
    _last: Connection | None = None
    _due: float = 0.0

    def ended(self, connection: Connection, now: float) -> None:
        """One ended by itself, without a log-in; monotonic seconds."""
        if not self._count:
            self._due = now + FOLD_S
        self._count += 1
        self._last = connection

    def tick(self, now: float) -> None:
        """Record them when it is time."""
        if self._count and now >= self._due:
            self.record()

    def record(self) -> None:
        """Record what was counted, as the last of them."""
        count, self._count = self._count, 0
        if count:
            self.audit.append(
                Event(
                    code=EventCode.CONNECTION_CLOSED,
                    time=self.clock.now(),
                    connection=self._last,
                    message="Health checks of a load balancer",
                    count=count,
                    detail={"ended": "health_check"},
                )
            )
