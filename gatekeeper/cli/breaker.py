"""What a publication would do to the people on record, asked before it is published."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.population import SqlPopulation
from gatekeeper.campaign.classes import Asked
from gatekeeper.campaign.outline import Outline
from gatekeeper.cli.directory import members_of
from gatekeeper.cli.progress import progress
from gatekeeper.cli.store import in_store
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
    asked = [Asked(listener.protocol, listener.name) for listener in settings.listeners]
    count = Count(old, new, asked, SystemClock().now())

    async def work(engine: AsyncEngine) -> None:
        async with SqlPopulation(engine).snapshot() as snapshot:
            with progress(await snapshot.size(), "asking whom it would block") as advance:
                async for people in snapshot.people(Outline((old, new))):
                    for account, postures in people:
                        count.take(account, postures)
                    advance(sum(len(postures) for _, postures in people))

    in_store(config_path, None, work)
    return count.impact()
