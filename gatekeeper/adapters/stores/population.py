"""The port `ports.population` on the database: a million devices without reading a million app lists.

The sketches say all of a device but its apps; which devices have an app that matters is in the index, and only of those
the lists are read, and of a list only what matters is made into apps.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, RowMapping, Select, func, select, tuple_, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gatekeeper.adapters.stores.app_index import MeantApps, devices_with
from gatekeeper.adapters.stores.codec import NO_APPS, decode_some, with_stated
from gatekeeper.adapters.stores.engine import reading
from gatekeeper.adapters.stores.reading import IdentifierKey, owners
from gatekeeper.adapters.stores.sketch import apps_before, past_posture_of
from gatekeeper.adapters.stores.tables import attestation_result, device, past_posture, posture
from gatekeeper.attestation.fold import fold
from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform
from gatekeeper.domain.posture import AttestationResult, Posture, Scope
from gatekeeper.ports.devices import Unavailable
from gatekeeper.ports.population import Person, Sighting

BATCH = 10_000
"""Devices read at once: some 10 MiB."""
SESSIONS = 500
"""Accounts, or devices, that are asked about in one statement when they are named."""
LISTS = 200
"""App lists read at once: a few megabytes."""

_Step = tuple[int, datetime, set[App], set[App]]
"""A past posture: its revision, when it ended, and the apps to add to and to remove from the one after it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLATFORMS = {each.value: each for each in Platform}
_CLASSES = {each.value: each for each in DeviceClass}
_OWNERSHIPS: Mapping[str | None, Ownership | None] = {None: None, **{each.value: each for each in Ownership}}
_SCOPES = {each.value: each for each in Scope}
_NO_IDENTIFIERS: Mapping[str, str] = MappingProxyType({})


_SKETCHES = (
    select(
        device.c.account,
        device.c.device_id,
        device.c.platform,
        device.c.device_class,
        device.c.ownership,
        posture.c.number,
        posture.c.revision,
        posture.c.source,
        posture.c.scope,
        posture.c.complete,
        type_coerce(posture.c.collected_at, BigInteger),
        posture.c.evidence_sha256,
        posture.c.absences,
        posture.c.stated,
        device.c.first_seen,
        posture.c.apps_count,
    )
    .join_from(device, posture, posture.c.device_id == device.c.device_id)
    .order_by(device.c.account, device.c.device_id)
)
"""All that is known of devices but their apps."""


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
            postures = [*waiting, *await self._postures(rows, holders, apps)]
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

    async def _some(self, apps: MeantApps, condition: ColumnElement[bool]) -> list[Posture]:
        rows = (await self._connection.execute(_SKETCHES.where(condition))).all()
        meant = await apps.by_number(self._connection)
        holders = await devices_with(self._connection, meant, among=sorted(row[5] for row in rows))
        return await self._postures(rows, holders, apps, is_sized=True)

    async def _postures(
        self, rows: Sequence[Any], holders: Collection[int], apps: MeantApps, *, is_sized: bool = False
    ) -> list[Posture]:
        """The postures of sketches; only of the holders the app lists are read."""
        lists = await self._lists([row[1] for row in rows if row[5] in holders], apps.outline, apps.ids)
        try:
            return [_posture(row, apps.outline, lists.get(row[1], ()), row[-1] if is_sized else None) for row in rows]
        except (KeyError, TypeError, ValueError, OverflowError) as exc:
            raise Unavailable(f"a device on record cannot be understood: {exc}") from exc

    async def history(self, outline: Outline, since: datetime) -> AsyncIterator[Sequence[Posture]]:
        """Every posture that any device had at or after `since`, as far back as postures are kept, in batches."""
        apps = MeantApps(outline)
        await apps.by_number(self._connection)
        ids = apps.ids
        async for people in self.people(outline):
            current = {each.device.device_id: each for _, postures in people for each in postures}
            yield tuple(current.values())
            device_ids = sorted(current)
            for start in range(0, len(device_ids), LISTS):
                chunk = device_ids[start : start + LISTS]
                past = select(past_posture).where(past_posture.c.device_id.in_(chunk), past_posture.c.until >= since)
                rows = (await self._connection.execute(past.order_by(past_posture.c.revision.desc()))).mappings().all()
                yield _earlier(rows, current, outline, ids)

    async def sightings(self, outline: Outline) -> tuple[Sighting, ...]:
        """When devices began and ceased to have an app that is meant, as far back as postures are kept."""
        apps = MeantApps(outline)
        holders = await devices_with(self._connection, await apps.by_number(self._connection))
        ids = apps.ids
        oldest: dict[str, int] = {}
        numbers = sorted(holders)
        for start in range(0, len(numbers), SESSIONS):
            some = posture.c.number.in_(numbers[start : start + SESSIONS])
            rows = await self._connection.execute(select(posture.c.device_id, posture.c.revision).where(some))
            oldest.update((device_id, revision) for device_id, revision in rows)
        steps = await self._steps(outline, ids, oldest)
        lists = await self._lists(sorted(oldest.keys() & steps.keys()), outline, ids)
        found: list[Sighting] = []
        for device_id in {**oldest, **steps}:
            had = set(lists[device_id]) if device_id in lists else set()
            begin, has = oldest.get(device_id), device_id in oldest
            for revision, until, added, removed in sorted(steps.get(device_id, ()), key=lambda step: -step[0]):
                older = (had - removed) | added
                if bool(had) != bool(older):
                    found.append(Sighting(until, 1 if had else -1))
                had, has, begin = older, bool(older), revision
            if has and begin is not None:
                found.append(Sighting(_instant(begin), 1))
        return tuple(sorted(found, key=lambda each: each.at))

    async def _steps(
        self, outline: Outline, ids: Collection[str] | None, holders: Collection[str]
    ) -> dict[str, list[_Step]]:
        """The past of the devices that have, or had, an app that is meant."""
        columns = past_posture.c
        steps: dict[str, list[_Step]] = {}
        past = select(columns.device_id, columns.revision, columns.until, columns.added, columns.removed)
        async for rows in self._batches(past, columns.device_id, columns.revision):
            for device_id, revision, until, *texts in rows:
                added, removed = (set(_meant(outline, text, ids, device_id)) for text in texts)
                if added or removed or device_id in holders:
                    steps.setdefault(device_id, []).append((revision, until, added, removed))
        return steps

    async def _page(self, place: tuple[str, str]) -> Sequence[Any]:
        """The next devices by account and id."""
        after = _SKETCHES.where(tuple_(device.c.account, device.c.device_id) > place)
        return (await self._connection.execute(after.limit(BATCH))).all()

    async def _lists(
        self, ids: Sequence[str], outline: Outline, apps: Collection[str] | None
    ) -> dict[str, tuple[App, ...]]:
        """Of each device, the apps on record that are meant, folded over its sources; `apps`: the ids they have."""
        said = attestation_result.c
        found: dict[str, tuple[App, ...]] = {}
        for start in range(0, len(ids), LISTS):
            rows: dict[str, list[AttestationResult]] = {}
            statement = select(attestation_result).where(said.device_id.in_(ids[start : start + LISTS]))
            for device_id, source, scope, collected_at, complete, digest, text, _ in await self._connection.execute(
                statement
            ):
                result = AttestationResult(
                    source=source,
                    scope=_SCOPES[scope],
                    complete=complete,
                    collected_at=collected_at,
                    evidence_sha256=digest,
                    apps=AppList(_meant(outline, text, apps, device_id)),
                )
                rows.setdefault(device_id, []).append(result)
            for device_id, results in rows.items():
                folded = fold(results)
                found[device_id] = folded.apps.apps if folded else ()
        return found

    async def _batches(self, statement: Select[Any], *order: ColumnElement[Any]) -> AsyncIterator[Sequence[Any]]:
        """All rows of a statement that begins with the columns of a unique order, in batches."""
        key = tuple_(*order)
        ordered = statement.order_by(*order).limit(BATCH)
        after: Select[Any] = ordered
        while rows := (await self._connection.execute(after)).all():
            yield rows
            last = rows[-1][: len(order)]
            after = ordered.where(key > tuple(last) if len(order) > 1 else order[0] > last[0])


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


def _posture(row: Any, outline: Outline, apps: Iterable[App], size: int | None) -> Posture:
    (
        account,
        device_id,
        platform,
        device_class,
        ownership,
        _,
        revision,
        source,
        scope,
        complete,
        at,
        digest,
        absences,
        stated,
        first_seen,
        _,
    ) = row
    result = None
    if source is not None:
        result = AttestationResult(
            source=source,
            scope=_SCOPES[scope],
            complete=bool(complete),
            collected_at=_instant(at),
            evidence_sha256=digest,
            apps=outline.of(apps, absences, size),
        )
        result = with_stated(result, stated)
    facts = Device(
        device_id=DeviceId(device_id),
        account=account,
        platform=_PLATFORMS[platform],
        device_class=_CLASSES[device_class],
        ownership=_OWNERSHIPS[ownership],
        identifiers=_NO_IDENTIFIERS,
        first_seen=first_seen,
    )
    return Posture(device=facts, result=result, revision=revision)


def _earlier(
    rows: Iterable[RowMapping],
    current: Mapping[DeviceId, Posture],
    outline: Outline,
    ids: Collection[str] | None,
) -> list[Posture]:
    """The past postures of some devices, whose rows come newest first."""
    newer: dict[DeviceId, list[App]] = {}
    found: list[Posture] = []
    for row in rows:
        device_id = DeviceId(row["device_id"])
        apps = newer.get(device_id)
        if apps is None:
            result = current[device_id].result
            apps = [each for each in result.apps.apps if outline.means(each)] if result else []
        if not row["added"] == row["removed"] == NO_APPS:  # most reports say nothing new about apps
            added, removed = (_meant(outline, row[name], ids, device_id) for name in ("added", "removed"))
            apps = sorted(apps_before(apps, added, removed), key=_place)
        newer[device_id] = apps
        try:
            facts = msgspec.json.decode(row["facts"], type=dict[str, Any])
            listed = outline.of(apps, facts.get("absences", 0))
            found.append(past_posture_of(device_id, row["revision"], facts, listed))
        except (ValueError, msgspec.MsgspecError) as exc:
            raise Unavailable(f"a past posture of device `{device_id}` cannot be understood") from exc
    return found


def _meant(outline: Outline, text: str, ids: Collection[str] | None, device_id: str) -> list[App]:
    """The apps of a list on record that are meant."""
    try:
        return [each for each in decode_some(text, ids) if outline.means(each)]
    except ValueError:
        # The cause is left out: it may quote from the app list.
        raise Unavailable(f"the evidence on record of device `{device_id}` cannot be understood") from None


def _place(app: App) -> tuple[str, str, int]:
    return app.id, app.version or "", app.version_code or 0


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
