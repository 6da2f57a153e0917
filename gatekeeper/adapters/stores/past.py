"""What the postures of devices were before: every one of the last days, and when apps came and went."""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gatekeeper.adapters.stores.app_index import MeantApps, devices_with
from gatekeeper.adapters.stores.codec import NO_APPS
from gatekeeper.adapters.stores.outlines import LISTS, SKETCHES, instant, meant, read_lists, read_postures
from gatekeeper.adapters.stores.sketch import apps_before, decode_past, past_posture_of
from gatekeeper.adapters.stores.tables import device, past_posture, posture
from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.app import App
from gatekeeper.domain.posture import Posture
from gatekeeper.ports.devices import Unavailable
from gatekeeper.ports.population import Sighting

STEPS = 10_000
"""Past postures read at once, when all are looked at: some megabytes."""
_AT_ONCE = 500
"""Devices that are asked about in one statement when they are named."""

_NOTHING_NEW = [NO_APPS, NO_APPS]

_Step = tuple[int, datetime, set[App], set[App]]
"""A past posture: its revision, when it ended, and the apps to add to and to remove from the one after it."""


async def read_history(
    connection: AsyncConnection, outline: Outline, since: datetime
) -> AsyncIterator[Sequence[Sequence[Posture]]]:
    """Device by device, newest first: every posture at or after `since`; some devices at a time."""
    apps = MeantApps(outline)
    holders = await devices_with(connection, await apps.by_number(connection))
    ids = apps.ids
    last = ""
    columns = past_posture.c
    some = SKETCHES.order_by(device.c.device_id).limit(LISTS)
    past = select(columns.device_id, columns.revision, columns.facts, columns.added, columns.removed)
    past = past.order_by(columns.device_id.desc(), columns.revision.desc())
    while sketches := (await connection.execute(some.where(device.c.device_id > last))).all():
        current = {each.device.device_id: each for each in await read_postures(connection, sketches, holders, apps)}
        first, last = last, sketches[-1][1]
        here = (columns.device_id > first, columns.device_id <= last, columns.until >= since)
        rows = (await connection.execute(past.where(*here))).all()
        earlier = {str(device_id): tuple(steps) for device_id, steps in groupby(rows, key=lambda row: row[0])}
        yield [(each, *_earlier(each, earlier.get(device_id, ()), outline, ids)) for device_id, each in current.items()]


async def read_sightings(connection: AsyncConnection, outline: Outline) -> tuple[Sighting, ...]:
    """When devices began and ceased to have an app that is meant, as far back as postures are kept."""
    apps = MeantApps(outline)
    holders = await devices_with(connection, await apps.by_number(connection))
    ids = apps.ids
    current = await _revisions(connection, sorted(holders))
    steps = await _steps(connection, outline, ids)
    lists = await read_lists(connection, sorted(current.keys() & steps.keys()), outline, ids)
    begins = {**current, **await _first_revisions(connection, sorted({**current, **steps}))}
    found: list[Sighting] = []
    for device_id, begin in begins.items():
        had = set(lists.get(device_id, ()))
        has = device_id in current
        for _, until, added, removed in sorted(steps.get(device_id, ()), key=lambda step: -step[0]):
            older = (had - removed) | added
            if bool(had) != bool(older):
                found.append(Sighting(until, 1 if had else -1))
            had, has = older, bool(older)
        if has:
            found.append(Sighting(instant(begin), 1))
    return tuple(sorted(found, key=lambda each: each.at))


async def _revisions(connection: AsyncConnection, numbers: Sequence[int]) -> dict[str, int]:
    """Of the present postures of some devices."""
    found: dict[str, int] = {}
    for start in range(0, len(numbers), _AT_ONCE):
        some = posture.c.number.in_(numbers[start : start + _AT_ONCE])
        rows = await connection.execute(select(posture.c.device_id, posture.c.revision).where(some))
        found.update((device_id, revision) for device_id, revision in rows)
    return found


async def _first_revisions(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, int]:
    """Of the oldest postures that are kept, of the devices that have a past."""
    columns = past_posture.c
    found: dict[str, int] = {}
    for start in range(0, len(ids), _AT_ONCE):
        some = columns.device_id.in_(ids[start : start + _AT_ONCE])
        oldest = select(columns.device_id, func.min(columns.revision)).where(some).group_by(columns.device_id)
        found.update((device_id, revision) for device_id, revision in await connection.execute(oldest))
    return found


async def _steps(connection: AsyncConnection, outline: Outline, ids: Collection[str] | None) -> dict[str, list[_Step]]:
    """The steps in the past of devices by which apps that are meant came or went."""
    columns = past_posture.c
    steps: dict[str, list[_Step]] = {}
    past = select(columns.device_id, columns.revision, columns.until, columns.added, columns.removed)
    past = past.where(or_(columns.added != NO_APPS, columns.removed != NO_APPS))
    async for rows in _batches(connection, past, columns.device_id, columns.revision):
        for device_id, revision, until, *texts in rows:
            added, removed = (set(meant(outline, text, ids, device_id)) for text in texts)
            if added or removed:
                steps.setdefault(device_id, []).append((revision, until, added, removed))
    return steps


async def _batches(
    connection: AsyncConnection, statement: Select[Any], *order: ColumnElement[Any]
) -> AsyncIterator[Sequence[Any]]:
    """All rows of a statement that begins with the columns of a unique order, in batches."""
    key = tuple_(*order)
    ordered = statement.order_by(*order).limit(STEPS)
    after: Select[Any] = ordered
    while rows := (await connection.execute(after)).all():
        yield rows
        after = ordered.where(key > tuple(rows[-1][: len(order)]))


def _earlier(
    current: Posture, steps: Iterable[Any], outline: Outline, ids: Collection[str] | None
) -> Iterable[Posture]:
    """The past postures of a device, whose rows come newest first."""
    device_id, result = current.device.device_id, current.result
    apps = [each for each in result.apps.apps if outline.means(each)] if result else []
    for _, revision, text, *texts in steps:
        if texts != _NOTHING_NEW:  # most reports say nothing new about apps
            added, removed = (meant(outline, text, ids, device_id) for text in texts)
            apps = sorted(apps_before(apps, added, removed), key=_place)
        try:
            facts = decode_past(text)
            yield past_posture_of(device_id, revision, facts, outline.of(apps, facts.absences))
        except ValueError as exc:
            raise Unavailable(f"a past posture of device `{device_id}` cannot be understood") from exc


def _place(app: App) -> tuple[str, str, int]:
    return app.id, app.version or "", app.version_code or 0
