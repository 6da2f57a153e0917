"""Rows -> what is on record about devices.

One statement answers one question, also when it is asked by account or identifier: each statement costs several
hand-overs to the thread of its connection, and a snapshot of one statement needs no transaction around it.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, RowMapping, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gatekeeper.adapters.stores.codec import decode_apps, with_stated
from gatekeeper.adapters.stores.tables import attestation_result, change, device, device_identifier, posture
from gatekeeper.attestation.fold import fold
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform
from gatekeeper.domain.posture import AttestationResult, Posture, Scope
from gatekeeper.ports.devices import Unavailable

CHUNK = 100
"""Values in one `IN (…)`: the app lists of as many phones are a few megabytes."""

T = TypeVar("T")
IdentifierKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class OnRecord:
    """All that is on record about one device: its facts, and one row for each (source, scope)."""

    device: Device
    rows: tuple[AttestationResult, ...]
    revision: int = 0
    number: int | None = None
    """What stands for the device in the index."""

    @property
    def posture(self) -> Posture:
        """The rows folded into one result."""
        return Posture(device=self.device, result=fold(self.rows), revision=self.revision)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one statement found, and the version of the registry it saw."""

    seq: int
    devices: Mapping[DeviceId, OnRecord]
    """Ordered by id."""

    @property
    def postures(self) -> tuple[Posture, ...]:
        """The postures, ordered by device id."""
        return tuple(record.posture for record in self.devices.values())


async def version(connection: AsyncConnection) -> int:
    """The version of the whole registry: the last entry of the feed."""
    seq: int | None = await connection.scalar(select(func.max(change.c.seq)))
    return seq or 0


async def by_ids(connection: AsyncConnection, ids: Iterable[DeviceId]) -> dict[DeviceId, OnRecord]:
    """The devices of `ids` that are registered, ordered by id; on one snapshot only within a transaction."""
    found: dict[DeviceId, OnRecord] = {}
    for chunk in _chunks(sorted(set(ids))):
        found.update((await _where(connection, device.c.device_id.in_(chunk))).devices)
    return found


async def by_account(connection: AsyncConnection, account: str) -> Answer:
    """All devices of one account."""
    return await _where(connection, device.c.account == account)


async def by_identifier(connection: AsyncConnection, key: IdentifierKey) -> Answer:
    """The device with that identifier, if any. The kind `device_id` is the id itself."""
    if key[0] == "device_id":
        return await _where(connection, device.c.device_id == key[1])
    columns = device_identifier.c
    owner = select(columns.device_id).where(columns.kind == key[0], columns.value == key[1]).scalar_subquery()
    return await _where(connection, device.c.device_id == owner)


async def ids_of_accounts(connection: AsyncConnection, accounts: Iterable[str]) -> dict[str, list[DeviceId]]:
    """The ids of each account's devices, in order; an account without devices has an empty list."""
    found: dict[str, list[DeviceId]] = {account: [] for account in accounts}
    for chunk in _chunks(sorted(found)):
        statement = select(device.c.account, device.c.device_id).where(device.c.account.in_(chunk))
        for account, device_id in await connection.execute(statement.order_by(device.c.device_id)):
            found[account].append(DeviceId(device_id))
    return found


async def owners(connection: AsyncConnection, keys: Iterable[IdentifierKey]) -> dict[IdentifierKey, DeviceId]:
    """Whose identifiers these are; those of nobody are left out. The kind `device_id` is the id itself."""
    wanted = set(keys)
    found: dict[IdentifierKey, DeviceId] = {}
    for names in _chunks(sorted(value for kind, value in wanted if kind == "device_id")):
        ids = await connection.scalars(select(device.c.device_id).where(device.c.device_id.in_(names)))
        found.update({("device_id", device_id): DeviceId(device_id) for device_id in ids})
    columns = device_identifier.c
    for chunk in _chunks(sorted(key for key in wanted if key[0] != "device_id")):
        statement = select(columns.kind, columns.value, columns.device_id)
        rows = await connection.execute(statement.where(tuple_(columns.kind, columns.value).in_(chunk)))
        found.update({(kind, value): DeviceId(device_id) for kind, value, device_id in rows})
    return found


async def identifiers(connection: AsyncConnection, ids: Iterable[DeviceId]) -> set[IdentifierKey]:
    """The identifiers of these devices, without their own ids."""
    found: set[IdentifierKey] = set()
    columns = device_identifier.c
    for chunk in _chunks(sorted(set(ids))):
        rows = await connection.execute(select(columns.kind, columns.value).where(columns.device_id.in_(chunk)))
        found.update((kind, value) for kind, value in rows)
    return found


async def _where(connection: AsyncConnection, condition: ColumnElement[bool]) -> Answer:
    newest = select(func.coalesce(func.max(change.c.seq), 0).label("seq")).subquery()
    said = attestation_result.c
    statement = (
        select(
            newest.c.seq,
            device,
            posture.c.number,
            posture.c.revision,
            *(column for column in said if column.name != "device_id"),
        )
        # Outer joins, so that the version comes also when there is no device, and a device without evidence.
        .select_from(
            newest.outerjoin(device, condition)
            .outerjoin(posture, posture.c.device_id == device.c.device_id)
            .outerjoin(attestation_result, said.device_id == device.c.device_id)
        )
        .order_by(device.c.device_id, said.source, said.scope)
    )
    devices: dict[DeviceId, Device] = {}
    results: dict[DeviceId, list[AttestationResult]] = {}
    sketches: dict[DeviceId, tuple[int, int]] = {}
    seq = 0
    for row in await _rows(connection, statement):
        seq = row["seq"]
        if row["device_id"] is None:
            continue
        device_id = DeviceId(row["device_id"])
        if device_id not in devices:
            devices[device_id], results[device_id] = _device(row), []
            sketches[device_id] = (row["revision"], row["number"])
        if row["source"] is not None:
            results[device_id].append(_result(row))
            # A list of 300 apps takes about a millisecond to read: let waiting sessions in between.
            await asyncio.sleep(0)
    return Answer(
        seq,
        {
            device_id: OnRecord(facts, tuple(results[device_id]), *sketches[device_id])
            for device_id, facts in devices.items()
        },
    )


async def _rows(connection: AsyncConnection, statement: Select[Any]) -> Sequence[RowMapping]:
    found = await connection.execute(statement)
    try:
        rows: Sequence[RowMapping] = found.mappings().all()
    except ValueError as exc:
        raise Unavailable(f"a row on record cannot be understood: {exc}") from exc
    return rows


def _device(row: RowMapping) -> Device:
    try:
        return Device(
            device_id=DeviceId(row["device_id"]),
            account=row["account"],
            platform=Platform(row["platform"]),
            device_class=DeviceClass(row["device_class"]),
            ownership=Ownership(row["ownership"]) if row["ownership"] else None,
            identifiers=MappingProxyType(json.loads(row["identifiers"])),
            first_seen=row["first_seen"],
        )
    except (ValueError, TypeError, RecursionError) as exc:
        raise Unavailable(f"device `{row['device_id']}` on record cannot be understood: {exc}") from exc


def _result(row: RowMapping) -> AttestationResult:
    try:
        result = AttestationResult(
            source=row["source"],
            scope=Scope(row["scope"]),
            complete=row["complete"],
            collected_at=row["collected_at"],
            evidence_sha256=row["evidence_sha256"],
            apps=decode_apps(row["apps"]),
        )
        return with_stated(result, row["stated"])
    except (ValueError, TypeError, RecursionError):
        # The cause is left out: it may quote from the app list.
        raise Unavailable(f"the evidence on record of device `{row['device_id']}` cannot be understood") from None


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
