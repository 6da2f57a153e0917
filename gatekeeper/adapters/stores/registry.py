"""The port `ports.registry` on the database: every call one transaction, durable when it returns.

What is spent or old (nonces, token ids, entries of the feed) is removed a bounded number at a time by the writes that
come along anyway, so that no background task is needed and no write becomes slow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Table, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gatekeeper.adapters.stores.app_index import remove_from_index, write_index
from gatekeeper.adapters.stores.engine import reading, writing
from gatekeeper.adapters.stores.plan import Plan, Row, Rows
from gatekeeper.adapters.stores.reading import by_ids, owners, version
from gatekeeper.adapters.stores.sketch import HISTORY_KEPT
from gatekeeper.adapters.stores.tables import (
    attestation_result,
    change,
    device,
    device_identifier,
    nonce,
    past_posture,
    posture,
    token_id,
)
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture, Report
from gatekeeper.ports.registry import Applied, NonceInvalid, Replayed, TooManyNonces

LIVE_NONCES = 4
"""Nonces a device may hold at once: one in use, and a few lost on the way."""
CHANGES_KEPT = timedelta(days=1)
"""How far back the feed reaches. Readers come several times a second; one that slept longer reads everything."""
WRITES_BETWEEN_PURGES = 50
"""Of one process; its first write purges."""
PURGED_AT_ONCE = 200
"""Rows of each kind that one purge removes at most: more than the writes in between add."""


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What one source has on record."""

    source: str
    devices: int
    oldest: datetime
    newest: datetime


class SqlRegistry:
    """Implements `ports.registry.Registry`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writes = 0

    async def apply(self, reports: Sequence[Report], *, now: datetime, digest: str = "") -> Applied:
        """Register or update devices with their reports, all or none. Raises `OlderEvidence`, `IdentifierTaken`."""
        # Reading and comparing thousands of app lists takes seconds. It is done before the write lock is taken, and
        # only done again under it when somebody else wrote in between.
        async with reading(self._engine) as connection:
            planned_at = await version(connection)
            plan = await _plan(connection, reports)
        rows = plan.rows(now=now, kind="inventory", digest=digest)
        async with writing(self._engine) as connection:
            if await version(connection) != planned_at:
                plan = await _plan(connection, reports)
                rows = plan.rows(now=now, kind="inventory", digest=digest)
            await _write(connection, rows)
            await write_index(connection, rows)
            await self._purge_at_times(connection, now, beside=len(rows.changes))
        return plan.applied

    async def issue_nonce(self, device_id: DeviceId, digest: bytes, *, expires: datetime, now: datetime) -> None:
        """Remember the SHA-256 of a nonce for one device. Raises `TooManyNonces`, `NonceInvalid` when unregistered."""
        async with writing(self._engine) as connection:
            await self._purge_at_times(connection, now)
            if await connection.scalar(select(device.c.device_id).where(device.c.device_id == device_id)) is None:
                raise NonceInvalid("the device is not registered")
            live = select(func.count()).where(nonce.c.device_id == device_id, nonce.c.expires > now)
            if (await connection.scalar(live) or 0) >= LIVE_NONCES:
                raise TooManyNonces(f"the device holds {LIVE_NONCES} live nonces")
            await connection.execute(insert(nonce).values(digest=digest, device_id=device_id, expires=expires))

    async def accept_evidence(
        self, report: Report, *, token_id: str, token_expires: datetime, nonce_digest: bytes | None, now: datetime
    ) -> Applied:
        """Consume nonce and token id and put the report's result on record, all or none.

        Raises `Replayed`, `NonceInvalid`, `OlderEvidence`.
        """
        device_id = report.device.device_id
        async with writing(self._engine) as connection:
            await _remember_token(connection, token_id, token_expires)
            known = await by_ids(connection, [device_id])
            if device_id not in known:
                raise NonceInvalid("the device is not registered")
            if nonce_digest is not None:
                await _consume_nonce(connection, device_id, nonce_digest, now)
            plan = Plan(known, {})
            plan.put_evidence(report)
            rows = plan.rows(now=now, kind="evidence", digest=report.result.evidence_sha256)
            await _write(connection, rows)
            await write_index(connection, rows)
            await self._purge_at_times(connection, now)
        return plan.applied

    async def device(self, device_id: DeviceId) -> Posture | None:
        """One device; None when it is not registered."""
        async with reading(self._engine) as connection:
            found = (await by_ids(connection, [device_id])).get(device_id)
        return found.posture if found else None

    async def all_devices(
        self, *, account: str | None = None, limit: int = 1000, offset: int = 0
    ) -> tuple[Posture, ...]:
        """Registered devices ordered by id, optionally of one account."""
        wanted = select(device.c.device_id).order_by(device.c.device_id).limit(limit).offset(offset)
        if account is not None:
            wanted = wanted.where(device.c.account == account)
        async with reading(self._engine) as connection:
            found = await by_ids(connection, map(DeviceId, await connection.scalars(wanted)))
        return tuple(record.posture for record in found.values())

    async def forget(self, device_id: DeviceId) -> bool:
        """Remove a device and all that is known about it; False when it was not registered."""
        async with writing(self._engine) as connection:
            await remove_from_index(connection, device_id)
            removed = delete(device).where(device.c.device_id == device_id).returning(device.c.account)
            account = await connection.scalar(removed)
            if account is None:
                return False
            # A registered device has an entry in the feed, or a later one that purging left: the time of the newest.
            latest = select(func.max(change.c.at)).scalar_subquery()
            row = {
                "device_id": device_id,
                "account": account,
                "at": latest,
                "kind": "forget",
                "digest": "",
                "detail": "",
            }
            await connection.execute(insert(change).values(row))
        return True

    async def sources(self) -> tuple[SourceSummary, ...]:
        """What each source has on record, by name."""
        columns = attestation_result.c
        statement = select(
            columns.source,
            func.count(columns.device_id.distinct()),
            func.min(columns.collected_at),
            func.max(columns.collected_at),
        ).group_by(columns.source)
        async with reading(self._engine) as connection:
            rows = (await connection.execute(statement.order_by(columns.source))).all()
        return tuple(SourceSummary(source, devices, oldest, newest) for source, devices, oldest, newest in rows)

    async def _purge_at_times(self, connection: AsyncConnection, now: datetime, *, beside: int = 0) -> None:
        if self._writes % WRITES_BETWEEN_PURGES == 0:
            await _purge(connection, now, beside=beside)
        self._writes += 1


async def _plan(connection: AsyncConnection, reports: Sequence[Report]) -> Plan:
    claims = (key for report in reports for key in report.device.identifiers.items())
    held_by = await owners(connection, claims)
    known = await by_ids(connection, {*held_by.values(), *(report.device.device_id for report in reports)})
    plan = Plan(known, held_by)
    plan.apply(reports)
    return plan


async def _remember_token(connection: AsyncConnection, jti: str, expires: datetime) -> None:
    try:
        await connection.execute(insert(token_id).values(jti=jti, expires=expires))
    except IntegrityError as exc:
        raise Replayed("the token id was seen before") from exc


async def _consume_nonce(connection: AsyncConnection, device_id: DeviceId, digest: bytes, now: datetime) -> None:
    spent = delete(nonce).where(nonce.c.digest == digest, nonce.c.device_id == device_id, nonce.c.expires > now)
    if await connection.scalar(spent.returning(nonce.c.device_id)) is None:
        raise NonceInvalid("the nonce was not issued to this device, is used up, or has expired")


_UPDATE_DEVICE = update(device).where(device.c.device_id == bindparam("b_device_id"))
_DELETE_IDENTIFIER = delete(device_identifier).where(
    device_identifier.c.device_id == bindparam("b_device_id"), device_identifier.c.kind == bindparam("b_kind")
)
_UPDATE_RESULT = update(attestation_result).where(
    attestation_result.c.device_id == bindparam("b_device_id"),
    attestation_result.c.source == bindparam("b_source"),
    attestation_result.c.scope == bindparam("b_scope"),
)

_UPDATE_POSTURE = update(posture).where(posture.c.number == bindparam("b_number"))


async def _write(connection: AsyncConnection, rows: Rows) -> None:
    await _insert(connection, device, rows.devices_new)
    if rows.devices_changed:
        await connection.execute(_UPDATE_DEVICE, rows.devices_changed)
    if rows.identifiers_gone:
        await connection.execute(_DELETE_IDENTIFIER, rows.identifiers_gone)
    await _insert(connection, device_identifier, rows.identifiers_new)
    await _insert(connection, attestation_result, rows.results_new)
    if rows.results_changed:
        await connection.execute(_UPDATE_RESULT, rows.results_changed)
    await _insert(connection, posture, rows.postures_new)
    if rows.postures_changed:
        await connection.execute(_UPDATE_POSTURE, rows.postures_changed)
    await _insert(connection, past_posture, rows.postures_past)
    await _insert(connection, change, rows.changes)


async def _insert(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    if rows:
        await connection.execute(insert(table), rows)


async def _purge(connection: AsyncConnection, now: datetime, *, beside: int = 0) -> None:
    spent_nonces = select(nonce.c.digest).where(nonce.c.expires <= now).limit(PURGED_AT_ONCE)
    await connection.execute(delete(nonce).where(nonce.c.digest.in_(spent_nonces)))
    spent_tokens = select(token_id.c.jti).where(token_id.c.expires <= now).limit(PURGED_AT_ONCE)
    await connection.execute(delete(token_id).where(token_id.c.jti.in_(spent_tokens)))
    past = select(past_posture.c.device_id, past_posture.c.revision).where(past_posture.c.until < now - HISTORY_KEPT)
    spent = past.order_by(past_posture.c.until).limit(PURGED_AT_ONCE + beside)
    await connection.execute(
        delete(past_posture).where(tuple_(past_posture.c.device_id, past_posture.c.revision).in_(spent))
    )
    # The limit is inside: the oldest few are looked at, never the whole feed. The last entry stays, it is the version.
    oldest = select(change.c.seq, change.c.at).order_by(change.c.seq).limit(PURGED_AT_ONCE + beside).subquery()
    last = select(func.max(change.c.seq)).scalar_subquery()
    old = select(oldest.c.seq).where(oldest.c.at < now - CHANGES_KEPT, oldest.c.seq < last)
    await connection.execute(delete(change).where(change.c.seq.in_(old)))
