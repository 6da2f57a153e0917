"""What a publication would do to the people on record, asked before it is published."""

from pathlib import Path

from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.cli.directory import members_of
from gatekeeper.cli.store import in_registry
from gatekeeper.cli.why import PAGE
from gatekeeper.config.settings import Settings
from gatekeeper.decision.policy import Policy
from gatekeeper.publishing.approval import Approved
from gatekeeper.publishing.breaker import Count, Impact, objections
from gatekeeper.server.clock import SystemClock


def breaker_objections(config_path: Path, settings: Settings, old: Approved | None, new: Policy) -> tuple[str, ...]:
    """Why the breaker trips; empty: it does not, or no policy is in force yet, so that nobody has mail to lose."""
    if settings.bundles is None or old is None:
        return ()
    return objections(settings.bundles.breaker, _impact(config_path, settings, old.policy, new))


def _impact(config_path: Path, settings: Settings, old: Policy, new: Policy) -> Impact:
    members = members_of(settings, old, new)
    old, new = (policy.with_groups(members) if policy.directory_groups else policy for policy in (old, new))
    asked = [(listener.protocol, listener.name) for listener in settings.listeners]
    count = Count(old, new, asked, SystemClock().now())

    async def work(registry: SqlRegistry) -> None:
        taken = 0
        while page := await registry.all_devices(limit=PAGE, offset=taken):
            for posture in page:
                count.take(posture)
            taken += len(page)

    in_registry(config_path, None, work)
    return count.impact()
