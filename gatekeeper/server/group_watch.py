"""Who is in the directory's groups, again within a second of a change; and asking the directory, in one process.

Whatever is wrong with a new file, or a directory that does not answer, the members that are known stay, and it is said
once: a half export must not let anybody out of a rule. A directory's last answer counts for so long as `groups.keep`
says; then its groups are unknown, which is said, too.
"""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from gatekeeper.adapters.groups.asked import AskedGroups
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.domain.document import DocumentError
from gatekeeper.ports.groups import DirectoryError
from gatekeeper.server.group_source import STATE_FILE, learn_members, places

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
    if groups is not gatekeeper.groups:  # replaced by a reload meanwhile
        return
    moved = gatekeeper.gate.redecision.replace_members(members)
    if moved is None or moved:
        _log.info("groups.moved", groups=len(members), people="everybody" if moved is None else len(moved))
    if isinstance(groups, AskedGroups):
        _note_age(gatekeeper, groups)


async def learn(gatekeeper: "Gatekeeper") -> None:
    """Before further policies rule: know who is in the groups that they name, if the directory says it in time."""
    groups = gatekeeper.groups
    rollouts = gatekeeper.rollouts
    if groups is None or rollouts is None:
        return
    coming = places(approved.policy for approved in (rollouts.base, rollouts.newest) if approved is not None)
    try:
        members, unknown = await asyncio.to_thread(learn_members, groups, coming)
    except DocumentError:
        return  # told by `step`
    for line in unknown:
        _log.warning("groups.unknown", reason=line)
    if groups is gatekeeper.groups:
        gatekeeper.gate.ruling.know_members(members)


async def ask(gatekeeper: "Gatekeeper") -> None:
    """Ask the directory again and again; runs until cancelled. Of several workers only the host does it."""
    has_forgotten = False
    try:
        while True:
            await asyncio.sleep(FOLLOW_S)
            if not gatekeeper.changes.is_on:
                continue
            if isinstance(gatekeeper.groups, AskedGroups):
                has_forgotten = False
                await ask_once(gatekeeper, gatekeeper.groups)
            elif not has_forgotten:
                has_forgotten = await asyncio.to_thread(forget, gatekeeper)
    finally:
        if isinstance(gatekeeper.groups, AskedGroups):
            gatekeeper.groups.directory.give_up()  # no thread must keep the process from ending


def forget(gatekeeper: "Gatekeeper") -> bool:
    """Where no directory is asked any more, nobody's membership stays on the disk. Blocks; True: it is so."""
    try:
        (gatekeeper.settings.state_directory / STATE_FILE).unlink(missing_ok=True)
    except OSError as error:
        _log.error("groups.not_forgotten", reason=str(error))
        return False
    return True


async def ask_once(gatekeeper: "Gatekeeper", groups: AskedGroups) -> None:
    """Ask, if it is time; and take the answer in."""
    wanted = places(gatekeeper.gate.ruling.policies)
    if not wanted:
        if groups.forget():
            await asyncio.to_thread(forget, gatekeeper)
        return
    if not groups.is_due(wanted):
        return
    silent_since = groups.standing.silent_since
    unknown_before = dict(groups.unknown)
    try:
        found = await asyncio.to_thread(groups.ask, wanted)
    except DirectoryError as error:
        if silent_since is None:
            _log.error("groups.silent", directory=groups.directory.place, reason=str(error))
            _tell_silent(gatekeeper, groups, str(error))
        _note_age(gatekeeper, groups)  # also where a gate begins with an answer that is too old
        return
    if silent_since is not None:
        _tell_answers(gatekeeper, groups, silent_since)
    for group, reason in found.unknown.items():
        if unknown_before.get(group) != reason:
            _log.warning("groups.unknown", group=group, reason=reason)
    await step(gatekeeper)


def _tell_silent(gatekeeper: "Gatekeeper", groups: AskedGroups, reason: str) -> None:
    detail: dict[str, str | int] = {"directory": groups.directory.place, "reason": reason[:300]}
    if groups.answered_at is not None:
        detail |= {
            "answered": groups.answered_at.isoformat(),
            "kept_until": (groups.answered_at + groups.settings.keep).isoformat(),
        }
    _record(gatekeeper, EventCode.DIRECTORY_SILENT, detail)


def _tell_answers(gatekeeper: "Gatekeeper", groups: AskedGroups, since: datetime) -> None:
    silent_s = int((gatekeeper.clock.now() - since).total_seconds())
    _log.info("groups.answers", directory=groups.directory.place, silent_s=silent_s)
    _record(gatekeeper, EventCode.DIRECTORY_ANSWERS, {"directory": groups.directory.place, "silent_s": silent_s})


def _note_age(gatekeeper: "Gatekeeper", groups: AskedGroups) -> None:
    """Tell once that the last answer has become too old; of several workers the host tells it."""
    was_expired, gatekeeper.groups_expired = gatekeeper.groups_expired, groups.is_expired
    if was_expired or not groups.is_expired or not gatekeeper.changes.is_on:
        return
    answered = "" if groups.answered_at is None else groups.answered_at.isoformat()
    _log.error("groups.expired", directory=groups.directory.place, answered=answered)
    detail: dict[str, str | int] = {"directory": groups.directory.place, "answered": answered}
    _record(gatekeeper, EventCode.GROUPS_EXPIRED, detail)


def _record(gatekeeper: "Gatekeeper", code: EventCode, detail: dict[str, str | int]) -> None:
    gatekeeper.audit.append(Event(code=code, time=gatekeeper.clock.now(), detail=detail))
