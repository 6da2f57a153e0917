"""Who is in the directory's groups, again within a second of a change.

Whatever is wrong with a new file, the members that are known stay, and it is said once in the operational log: a half
export must not let anybody out of a rule.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog

from gatekeeper.domain.document import DocumentError

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper

_log = structlog.get_logger("gatekeeper.groups")

FOLLOW_S = 1.0


async def follow(gatekeeper: "Gatekeeper") -> None:
    """Take in changes as they come; runs until cancelled."""
    while True:
        await asyncio.sleep(FOLLOW_S)
        await step(gatekeeper)


async def step(gatekeeper: "Gatekeeper") -> None:
    """Take in a change, if there is one."""
    groups = gatekeeper.groups
    if groups is None or not groups.has_changed():
        return
    try:
        members = await asyncio.to_thread(groups.members)
    except DocumentError as error:
        for fault in error.faults[:10]:
            _log.error("groups.rejected", fault=str(fault))
        return
    if groups is gatekeeper.groups:  # not replaced by a reload meanwhile
        gatekeeper.gate.redecision.replace_members(members)
        _log.info("groups.read", groups=len(members))
