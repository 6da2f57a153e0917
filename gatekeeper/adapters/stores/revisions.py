"""Every posture that the store still knows of some devices: the one in force, and those before it."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.codec import decode_apps
from gatekeeper.adapters.stores.engine import reading
from gatekeeper.adapters.stores.reading import by_ids
from gatekeeper.adapters.stores.sketch import apps_before, decode_past, past_posture_of
from gatekeeper.adapters.stores.tables import device, past_posture, posture
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture
from gatekeeper.ports.devices import Unavailable

_PAGE = 5_000


async def changed_since(engine: AsyncEngine, revision: int) -> tuple[list[DeviceId], int]:
    """The devices whose posture was put on record after a revision, and the newest revision of all."""
    wanted = select(posture.c.device_id, posture.c.revision).where(posture.c.revision > revision)
    async with reading(engine) as connection:
        rows = (await connection.execute(wanted)).all()
    return [DeviceId(device_id) for device_id, _ in rows], max((found for _, found in rows), default=revision)


async def registered(engine: AsyncEngine) -> set[DeviceId]:
    """The ids of all devices, read some at a time."""
    found: set[DeviceId] = set()
    page = select(device.c.device_id).order_by(device.c.device_id).limit(_PAGE)
    last = ""
    while True:
        async with reading(engine) as connection:
            ids = list(await connection.scalars(page.where(device.c.device_id > last)))
        found.update(map(DeviceId, ids))
        if len(ids) < _PAGE:
            return found
        last = ids[-1]


async def postures_of(engine: AsyncEngine, ids: Collection[DeviceId], since: int = 0) -> list[Posture]:
    """Their postures in force, with whole app lists, and those before that are newer than a revision.

    A device that is not registered any more has none. Raises Unavailable.
    """
    past = select(past_posture).where(past_posture.c.device_id.in_(ids), past_posture.c.revision > since)
    async with reading(engine) as connection:
        known = await by_ids(connection, ids)
        rows = (await connection.execute(past.order_by(past_posture.c.revision.desc()))).mappings().all()
    found = [record.posture for record in known.values()]
    apps: dict[DeviceId, list[App]] = {
        each.device.device_id: list(each.result.apps.apps) if each.result else [] for each in found
    }
    for row in rows:
        device_id = DeviceId(row["device_id"])
        if device_id not in apps:
            continue
        try:
            added, removed = (decode_apps(row[name]).apps for name in ("added", "removed"))
            apps[device_id] = apps_before(apps[device_id], added, removed)
            facts = decode_past(row["facts"])
            found.append(past_posture_of(device_id, row["revision"], facts, AppList(apps[device_id])))
        except ValueError as error:
            raise Unavailable(f"a past posture on record cannot be understood: {error}") from error
    return found
