"""Recording, in one log of several, what the command line is about to do to that log."""

import asyncio
from typing import TYPE_CHECKING, Any

from gatekeeper.audit.event import Event, EventCode

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper

_WITHIN_S = 2.0
"""As the audit log's stall limit: whoever waits is told that it is not recorded."""


async def record_in(gatekeeper: "Gatekeeper", told: Any) -> bool:
    """Record that segments of a log are pruned, when it is this process's own; True: it is durable.

    `told` is `{"log": origin, "detail": facts}`.
    """
    if not isinstance(told, dict) or told.get("log") != gatekeeper.audit.origin:
        return False
    facts = told.get("detail")
    if not isinstance(facts, dict):
        return False
    detail = {str(name): value if isinstance(value, int) else str(value) for name, value in facts.items()}
    durable: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def recorded(is_durable: bool) -> None:
        if not durable.done():  # whoever waited may be gone
            durable.set_result(is_durable)

    event = Event(code=EventCode.LOG_PRUNED, time=gatekeeper.clock.now(), detail=detail)
    gatekeeper.audit.append(event, recorded)
    try:
        async with asyncio.timeout(_WITHIN_S):
            return await durable
    except TimeoutError:
        return False
