"""The port `ports.population` on the database: a million devices without reading a million app lists."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gatekeeper.adapters.stores.app_index import MeantApps, devices_with
from gatekeeper.adapters.stores.engine import reading
from gatekeeper.adapters.stores.outlines import SKETCHES, read_postures
from gatekeeper.adapters.stores.past import read_history, read_sightings
from gatekeeper.adapters.stores.reading import IdentifierKey, owners
from gatekeeper.adapters.stores.tables import device, posture
from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture
from gatekeeper.ports.population import Person, Sighting

BATCH = 10_000
"""Devices read at once: some 10 MiB."""
SESSIONS = 500
"""Accounts, or devices, that are asked about in one statement when they are named."""
_BY_PEOPLE = SKETCHES.order_by(device.c.account, device.c.device_id)


class SqlSnapshot:
    """Implements `ports.population.Snapshot` within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def size(self) -> int:
        """Devices."""
        return await self._connection.scalar(select(func.count()).select_from(posture)) or 0

    async def collected(self, at_most: int) -> tuple[datetime, ...] | None:
        """The different times of the reports on record; None when there are more than `at_most`."""
        times = select(posture.c.collected_at).where(posture.c.collected_at.is_not(None)).distinct().limit(at_most + 1)
        found = tuple(await self._connection.scalars(times))
        return None if len(found) > at_most else found

    async def people(self, outline: Outline) -> AsyncIterator[Sequence[Person]]:
        """Everybody who has a device, by account, in batches."""
        apps = MeantApps(outline)
        holders = await devices_with(self._connection, await apps.by_number(self._connection))
        place = ("", "")
        waiting: list[Posture] = []
        while rows := await self._page(place):
            place = (rows[-1][0], rows[-1][1])
            postures = [*waiting, *await read_postures(self._connection, rows, holders, apps)]
            # The last person may go on in the next batch.
            last = postures[-1].device.account
            waiting = [each for each in postures if each.device.account == last]
            yield [
                (account, tuple(devices))
                for account, devices in groupby(postures, key=lambda each: each.device.account)
                if account != last
            ]
        if waiting:
            yield [(waiting[0].device.account, tuple(waiting))]

    async def of_accounts(self, apps: MeantApps, accounts: Sequence[str]) -> list[Posture]:
        """The devices of some accounts, by account and id, whose lists are outlines that know their length."""
        return await self._some(apps, device.c.account.in_(accounts))

    async def of_devices(self, apps: MeantApps, ids: Sequence[DeviceId]) -> list[Posture]:
        """Some devices, likewise."""
        return await self._some(apps, device.c.device_id.in_(ids))

    def history(self, outline: Outline, since: datetime) -> AsyncIterator[Sequence[Sequence[Posture]]]:
        """Every posture that any device had at or after `since`, as far back as postures are kept, by device."""
        return read_history(self._connection, outline, since)

    async def sightings(self, outline: Outline) -> tuple[Sighting, ...]:
        """When devices began and ceased to have an app that is meant, as far back as postures are kept."""
        return await read_sightings(self._connection, outline)

    async def _some(self, apps: MeantApps, condition: ColumnElement[bool]) -> list[Posture]:
        rows = (await self._connection.execute(_BY_PEOPLE.where(condition))).all()
        meant = await apps.by_number(self._connection)
        holders = await devices_with(self._connection, meant, among=sorted(row[5] for row in rows))
        return await read_postures(self._connection, rows, holders, apps, is_sized=True)

    async def _page(self, place: tuple[str, str]) -> Sequence[Any]:
        """The next devices by account and id."""
        after = _BY_PEOPLE.where(tuple_(device.c.account, device.c.device_id) > place)
        return (await self._connection.execute(after.limit(BATCH))).all()


class SqlPopulation:
    """Implements `ports.population.Population`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqlSnapshot]:
        """A snapshot for as long as the block lasts; writers go on meanwhile."""
        async with reading(self._engine) as connection:
            yield SqlSnapshot(connection)


async def outlined(
    connection: AsyncConnection, apps: MeantApps, accounts: Collection[str], identifiers: Collection[IdentifierKey]
) -> tuple[dict[str, tuple[Posture, ...]], dict[IdentifierKey, Posture]]:
    """The devices of each account, and the device with each identifier that somebody has, as of one snapshot."""
    snapshot = SqlSnapshot(connection)
    of_accounts: dict[str, list[Posture]] = {account: [] for account in accounts}
    in_order = sorted(of_accounts)
    for start in range(0, len(in_order), SESSIONS):
        for each in await snapshot.of_accounts(apps, in_order[start : start + SESSIONS]):
            of_accounts[each.device.account].append(each)
    owned = await owners(connection, identifiers)
    ids = sorted(set(owned.values()))
    of_ids: dict[DeviceId, Posture] = {}
    for start in range(0, len(ids), SESSIONS):
        of_ids.update(
            (each.device.device_id, each) for each in await snapshot.of_devices(apps, ids[start : start + SESSIONS])
        )
    return (
        {account: tuple(postures) for account, postures in of_accounts.items()},
        {key: of_ids[device_id] for key, device_id in owned.items() if device_id in of_ids},
    )
