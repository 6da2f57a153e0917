"""Break-glass on a running gate: opened by a note in the state directory, loud while it is open, ended by the clock.

Each process follows the note by itself, four times a second, and records the beginning and the end.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.publishing.break_glass import BreakGlassError, Opening, parse_opening
from gatekeeper.signing.note import MAX_NOTE_OCTETS

if TYPE_CHECKING:
    from gatekeeper.server.compose import Gatekeeper

_log = structlog.get_logger("gatekeeper.policy")

NOTE_FILE = "break-glass.note"


def describe(gatekeeper: "Gatekeeper") -> str:
    """For operators; empty while it is closed."""
    return "" if gatekeeper.break_glass is None else gatekeeper.break_glass.words


async def step(gatekeeper: "Gatekeeper") -> None:
    """Look once at the note; open or close accordingly."""
    settings = gatekeeper.settings.break_glass
    if settings is None and gatekeeper.break_glass is None:
        return
    path = gatekeeper.settings.state_directory / NOTE_FILE
    data = await asyncio.to_thread(_read, path)
    now = gatekeeper.clock.now()
    found = None
    if data is not None and settings is not None:
        try:
            found = parse_opening(data, settings, now)
        except BreakGlassError as error:
            if data != gatekeeper.refused_note:
                gatekeeper.refused_note = data
                _log.error("break_glass.refused", reason=str(error))
                _record(gatekeeper, EventCode.BREAK_GLASS_REFUSED, {"reason": str(error)[:300]})
    if found is not None and found.until <= now:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        if gatekeeper.break_glass is None:
            _record(gatekeeper, EventCode.BREAK_GLASS, {**_facts(found), "state": "closed", "how": "while not serving"})
        found = None
    if found != gatekeeper.break_glass:
        _change(gatekeeper, found)


def _change(gatekeeper: "Gatekeeper", found: Opening | None) -> None:
    before, gatekeeper.break_glass = gatekeeper.break_glass, found
    if before is not None:
        how = "expired" if before.until <= gatekeeper.clock.now() else "ended"
        _log.warning("break_glass.closed", how=how)
        _record(gatekeeper, EventCode.BREAK_GLASS, {**_facts(before), "state": "closed", "how": how})
    if found is not None:
        _log.error("break_glass.opened", until=found.until.isoformat(), reason=found.reason)
        _record(gatekeeper, EventCode.BREAK_GLASS, {**_facts(found), "state": "opened"})
    gatekeeper.gate.redecision.waive(None if found is None else found.until)


def _facts(opening: Opening) -> dict[str, str | int]:
    return {"opened": opening.opened.isoformat(), "until": opening.until.isoformat(), "reason": opening.reason}


def _record(gatekeeper: "Gatekeeper", code: EventCode, detail: dict[str, str | int]) -> None:
    gatekeeper.audit.append(Event(code=code, time=gatekeeper.clock.now(), detail=detail))


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_NOTE_OCTETS + 1)
    except OSError:
        return None
