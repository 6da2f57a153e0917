"""Liveness is that the loop turns; readiness is that a phone could be served right now."""

from typing import TYPE_CHECKING

from gatekeeper.server import group_standing

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper


def checks(gatekeeper: "Gatekeeper") -> dict[str, str]:
    """Every readiness check with `ok` or what is wrong."""
    closed = [name for name, listener in gatekeeper.listeners.items() if not listener.is_listening]
    return {
        "audit": _audit(gatekeeper),
        "policy": "ok",  # no process runs without one
        "store": "ok" if gatekeeper.directory.healthy else "does not answer",
        "listeners": f"not bound: {', '.join(closed)}" if closed else "ok" if gatekeeper.listeners else "none",
        "mail_servers": _mail_servers(gatekeeper),
        **group_standing.checks(gatekeeper.groups),
        "in_service": "draining" if gatekeeper.draining else "ok",
    }


def _audit(gatekeeper: "Gatekeeper") -> str:
    """It goes on, where `audit.required` allows it, while only remotes take records."""
    fault = gatekeeper.audit.fault
    if gatekeeper.audit.writable:
        return "ok" if fault is None else f"ok, but only remotes take records: {fault}"
    return fault or "cannot be written"


def _mail_servers(gatekeeper: "Gatekeeper") -> str:
    """Not one protocol has an address that is up: where one has, taking the gate away would only widen the outage."""
    if not gatekeeper.upstreams or any(pool.is_up for pool in gatekeeper.upstreams.values()):
        return "ok"
    return "none is up: " + "; ".join(
        f"{protocol.value} {upstream.place}: {health.fault}"
        for protocol, pool in gatekeeper.upstreams.items()
        for upstream, health in pool.health().items()
    )
