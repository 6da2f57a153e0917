"""The addresses of one mail server: which to try first, and which are out.

What holds inside:

* An address is taken out by what no phone can bring about (no connection, no greeting, a certificate that does not
  fit), and comes back with the first connection, of a log-in or of the probe, that was greeted.
* Order is preference: as configured, and as the resolver gave them for a name. Those that are out stand last instead of
  being left away, so that a log-in is refused only after every address was tried.
* A log-in takes `order` as it is: the tuple is made anew only when an address changes its state.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from gatekeeper.net.dial import TlsMode, Upstream

_log = structlog.get_logger("gatekeeper.pool")


@dataclass(slots=True)
class Health:
    """What is known about one address."""

    fault: str = ""
    """Why it is out, for operators; empty while it is up, which is also believed before it was ever tried."""
    failures: int = 0
    """How often it failed in all."""
    is_known: bool = False
    """Whether it was ever tried."""

    def __str__(self) -> str:
        """For operators."""
        return self.fault or ("up" if self.is_known else "not looked at yet")


class UpstreamPool:
    """One mail server's addresses; all are reached in the same way."""

    def __init__(self, upstreams: Iterable[Upstream], unresolved: Iterable[str] = ()) -> None:
        """Raises ValueError when there is no address. `unresolved`: what could not be looked up, for operators."""
        self._health = {upstream: Health() for upstream in upstreams}
        if not self._health:
            raise ValueError("a mail server needs an address")
        self.unresolved = tuple(unresolved)
        self.order: tuple[Upstream, ...] = tuple(self._health)
        """Whom to try, in this order."""
        self.all_up = True

    @property
    def tls(self) -> TlsMode:
        """How a connection gets its TLS; the same at every address."""
        return self.order[0].tls

    @property
    def client_address(self) -> str:
        """How the server learns the phone's address; the same at every address."""
        return self.order[0].client_address

    @property
    def is_up(self) -> bool:
        """Whether any address is up."""
        return any(not health.fault for health in self._health.values())

    def health(self) -> dict[Upstream, Health]:
        """Every address in order of preference, with what is known about it."""
        return self._health

    def worked(self, upstream: Upstream) -> None:
        """It greeted: it is up."""
        health = self._health.get(upstream)
        if health is None:
            return  # a reload took it away meanwhile
        health.is_known = True
        if health.fault:
            health.fault = ""
            _log.info("upstream.back", host=upstream.host, address=upstream.place)
            self._sort()

    def failed(self, upstream: Upstream, fault: str) -> None:
        """It did not: it is out."""
        health = self._health.get(upstream)
        if health is None:
            return  # as above
        health.is_known = True
        health.failures += 1
        was_up, health.fault = not health.fault, fault or "unknown"
        if was_up:
            _log.warning("upstream.out", host=upstream.host, address=upstream.place, reason=fault)
            self._sort()

    def inherit(self, before: "UpstreamPool") -> None:
        """Keep what is known about addresses that were there before a reload."""
        known = {_place(upstream): health for upstream, health in before.health().items()}
        for upstream in self._health:
            health = known.get(_place(upstream))
            if health is not None:
                self._health[upstream] = health
        self._sort()

    def _sort(self) -> None:
        self.all_up = not any(health.fault for health in self._health.values())
        self.order = tuple(sorted(self._health, key=lambda upstream: bool(self._health[upstream].fault)))


def _place(upstream: Upstream) -> tuple[str, str, int, TlsMode]:
    return upstream.host, upstream.address, upstream.port, upstream.tls
