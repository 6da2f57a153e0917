"""The gate as its operators see it, however many workers it has: its health, its figures, its reload.

`Alone` is the only process; `workers.together.Together` is one of several that asks the others too.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from gatekeeper import __version__
from gatekeeper.server import break_glass, group_standing, health, in_force, recorder
from gatekeeper.server.reload import Reloaded, reload

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper


class Whole(Protocol):
    """What requests ask of the gate as a whole."""

    async def checks(self) -> Mapping[str, str]:
        """Every readiness check: what begins with `ok` is well."""
        ...

    async def metrics(self) -> bytes:
        """The exposition."""
        ...

    async def status(self) -> Mapping[str, object]:
        """What it is doing, for operators."""
        ...

    async def reload(self) -> Reloaded:
        """Load configuration and policy again, everywhere or nowhere."""
        ...

    async def refresh(self) -> None:
        """Return when every worker knows what was put on record, and has decided its sessions again."""
        ...

    async def record_in(self, told: object) -> bool:
        """Record, in the log that is named, that segments of it are pruned; True: it is durable (`recorder`)."""
        ...


class Alone:
    """The only worker."""

    def __init__(self, gatekeeper: "Gatekeeper") -> None:
        self._gatekeeper = gatekeeper

    async def checks(self) -> Mapping[str, str]:
        """See `Whole`."""
        return health.checks(self._gatekeeper)

    async def metrics(self) -> bytes:
        """See `Whole`."""
        return self._gatekeeper.metrics.text()

    async def status(self) -> Mapping[str, object]:
        """See `Whole`."""
        return status(self._gatekeeper)

    async def reload(self) -> Reloaded:
        """See `Whole`."""
        return await reload(self._gatekeeper)

    async def refresh(self) -> None:
        """Nobody else has to hear of it."""

    async def record_in(self, told: object) -> bool:
        """See `Whole`."""
        return await recorder.record_in(self._gatekeeper, told)


def status(gatekeeper: "Gatekeeper") -> dict[str, object]:
    """What one process is doing."""
    return {
        "version": __version__,
        "ready": health.checks(gatekeeper),
        "sessions": len(gatekeeper.gate.sessions),
        "waiting": sum(len(front.waiting) for front in gatekeeper.fronts.values()),
        "listeners": {
            name: {"protocol": front.protocol, "port": front.port, "tls": front.tls}
            for name, front in gatekeeper.fronts.items()
        },
        "mail_servers": {
            protocol.value: {upstream.place: str(health) for upstream, health in pool.health().items()}
            for protocol, pool in gatekeeper.upstreams.items()
        },
        "admin": gatekeeper.admin_port,
        "policy_sha256": gatekeeper.gate.policy.sha256,
        "policy": in_force.described(gatekeeper),
        "groups": group_standing.described(gatekeeper.groups, gatekeeper.settings.groups, gatekeeper.clock.now()),
        "break_glass": break_glass.describe(gatekeeper),
        "audit_records": gatekeeper.audit.counters.records,
        "audit_remotes": gatekeeper.remotes.status(),
    }
