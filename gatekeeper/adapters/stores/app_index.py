"""The index from apps to devices: kept by every write, asked by whoever wants to know whom a rule concerns.

INVARIANT: at the end of every transaction it holds exactly the apps that any result on record of a device lists.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gatekeeper.adapters.stores.codec import decode_kind
from gatekeeper.adapters.stores.plan import Rows
from gatekeeper.adapters.stores.reading import by_ids
from gatekeeper.adapters.stores.sketch import kinds
from gatekeeper.adapters.stores.tables import app as app_table
from gatekeeper.adapters.stores.tables import device_app, posture
from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.app import App
from gatekeeper.domain.device import DeviceId

_AT_ONCE = 500
"""Values in one `IN (…)`."""
_PAIRS_AT_ONCE = 20_000
_KINDS_AT_ONCE = 1000
"""Some milliseconds of work, after which waiting sessions get in between."""

T = TypeVar("T")


async def write_index(connection: AsyncConnection, rows: Rows) -> None:
    """Bring the index up to what a transaction has written."""
    if not (rows.apps_new or rows.apps_gone):
        return
    numbers = await _numbers(connection, {kind for kind, _ in rows.apps_new} | {kind for kind, _ in rows.apps_gone})
    newcomers = {holder for _, holder in rows.apps_new if isinstance(holder, str)}
    holders = await _device_numbers(connection, newcomers)
    for gone in _chunks(rows.apps_gone, _PAIRS_AT_ONCE):
        pairs = [(numbers[kind], number) for kind, number in gone]
        await connection.exec_driver_sql("DELETE FROM device_app WHERE app = ? AND device = ?", pairs)
    for new in _chunks(rows.apps_new, _PAIRS_AT_ONCE):
        pairs = [(numbers[kind], holders[each] if isinstance(each, str) else each) for kind, each in new]
        # In the order of the index, so that a large import writes each of its pages once.
        await connection.exec_driver_sql("INSERT INTO device_app (app, device) VALUES (?, ?)", sorted(pairs))


async def remove_from_index(connection: AsyncConnection, device_id: DeviceId) -> None:
    """Take out a device that is about to be forgotten."""
    record = (await by_ids(connection, [device_id])).get(device_id)
    if record is None:
        return
    for chunk in _chunks(sorted(kinds(record.rows)), _AT_ONCE):
        named = select(app_table.c.number).where(app_table.c.facts.in_(chunk))
        await connection.execute(
            delete(device_app).where(device_app.c.app.in_(named), device_app.c.device == record.number)
        )


class MeantApps:
    """The apps, of all that were ever seen, that an outline means; asked again, only new ones are looked at."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self._last = 0
        self._found: dict[int, App] = {}

    async def by_number(self, connection: AsyncConnection) -> dict[int, App]:
        """By number and without versions, as the connection sees the registry."""
        columns = app_table.c
        kinds = select(columns.number, columns.facts).order_by(columns.number).limit(_KINDS_AT_ONCE)
        while rows := (await connection.execute(kinds.where(columns.number > self._last))).all():
            apps = {number: decode_kind(facts) for number, facts in rows}
            meant = self.outline.meant(apps.values())
            self._found.update((number, each) for number, each in apps.items() if each in meant)
            self._last = rows[-1][0]
        return self._found

    @property
    def ids(self) -> frozenset[str] | None:
        """Of the apps found so far; None: of all."""
        return None if self.outline.needs_everything else frozenset(each.id for each in self._found.values())


async def devices_with(
    connection: AsyncConnection, apps: Iterable[int], among: Sequence[int] | None = None
) -> set[int]:
    """The numbers of the devices, of all or `among` some, that have any of these apps."""
    found: set[int] = set()
    columns = device_app.c
    for chunk in _chunks(sorted(apps), _AT_ONCE):
        held = select(columns.device).where(columns.app.in_(chunk))
        for some in [None] if among is None else _chunks(among, _AT_ONCE):
            wanted = held if some is None else held.where(columns.device.in_(some))
            found.update((await connection.scalars(wanted)).all())
    return found


async def _numbers(connection: AsyncConnection, wanted: Iterable[str]) -> dict[str, int]:
    """The number of each kind of app; those never seen before get one."""
    in_order = sorted(wanted)
    found: dict[str, int] = {}
    for chunk in _chunks(in_order, _AT_ONCE):
        await connection.execute(
            insert(app_table).prefix_with("OR IGNORE", dialect="sqlite"), [{"facts": kind} for kind in chunk]
        )
        known = select(app_table.c.facts, app_table.c.number).where(app_table.c.facts.in_(chunk))
        found.update((kind, number) for kind, number in await connection.execute(known))
    return found


async def _device_numbers(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for chunk in _chunks(sorted(ids), _AT_ONCE):
        known = select(posture.c.device_id, posture.c.number).where(posture.c.device_id.in_(chunk))
        found.update((device_id, number) for device_id, number in await connection.execute(known))
    return found


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
