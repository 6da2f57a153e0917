"""The port `ports.devices` on the database: a bounded memory of it, kept true by the feed of changes.

`run` asks several times a second whether any process wrote (`PRAGMA data_version`, some microseconds), reads what the
feed says, brings the remembered devices up to date and only then tells the subscribers. Invariants:

* An answer from memory is at most `max_silence` old: when the store could not be read for longer, memory is not used
  and the awaiting calls raise `Unavailable`.
* A look-up never brings back what a change has replaced: it is remembered only when it is as new as the feed.
* The position in the feed moves on after the subscribers were told; a step that fails is done again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gatekeeper.adapters.stores.app_index import MeantApps
from gatekeeper.adapters.stores.cache import DeviceCache
from gatekeeper.adapters.stores.engine import data_version, observing, reading, translated, unbroken
from gatekeeper.adapters.stores.population import outlined
from gatekeeper.adapters.stores.reading import (
    IdentifierKey,
    by_account,
    by_identifier,
    by_ids,
    identifiers,
    ids_of_accounts,
    owners,
    version,
)
from gatekeeper.adapters.stores.tables import change, device
from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture
from gatekeeper.ports.devices import DeviceChange, Unavailable

CAPACITY = 2_000
"""Devices in memory: with 300 apps each some 100 MiB, and enough for a gateway of several thousand sessions."""
STEP = 200
"""Changes that one step takes in: what it reads anew stays within a few megabytes, and subscribers hear soon."""

_log = structlog.get_logger("gatekeeper.stores")


@dataclass(frozen=True, slots=True)
class _Step:
    """One piece of the feed, with what it makes of the remembered entries."""

    seq: int
    changes: tuple[DeviceChange, ...]
    accounts: dict[str, tuple[Posture, ...]]
    identifiers: dict[IdentifierKey, Posture | None]
    has_gap: bool = False
    """Entries of the feed are missing: nothing that is remembered can be trusted."""


class DeviceDirectory:
    """Implements `ports.devices.Devices`. Answers once `run` or `refresh` has reached the store."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        capacity: int = CAPACITY,
        poll_interval: timedelta = timedelta(milliseconds=200),
        max_silence: timedelta = timedelta(seconds=5),
    ) -> None:
        self._engine = engine
        self._cache = DeviceCache(capacity)
        self._poll_interval_s = poll_interval.total_seconds()
        self._max_silence_s = max_silence.total_seconds()
        self._subscribers: list[Callable[[tuple[DeviceChange, ...]], None]] = []
        self._healthy = False
        self._failure_told = False
        self._deadline: asyncio.TimerHandle | None = None
        self._meant: MeantApps | None = None
        """Of the outline that was asked for last."""
        self._seq: int | None = None
        """The last entry of the feed that memory knows; None before the first contact."""
        self._data_version: int | None = None
        self._observer: AsyncConnection | None = None
        self._observer_stack = AsyncExitStack()
        self._observer_sound = False
        self._is_stepping = False
        # One step at a time: steps share the observing connection and must apply in order. Only who follows the feed
        # waits for it, never a look-up.
        self._stepping = asyncio.Lock()

    @property
    def healthy(self) -> bool:
        """Whether the store was read within the last `max_silence`."""
        return self._healthy

    def subscribe(self, changed: Callable[[tuple[DeviceChange, ...]], None]) -> None:
        """Call `changed` after any process changed devices; memory is already up to date then."""
        self._subscribers.append(changed)

    def known_of_account(self, account: str) -> tuple[Posture, ...] | None:
        """All registered devices of an account, when they are in memory."""
        return self._cache.of_account(account) if self._healthy else None

    def known_by_identifier(self, kind: str, value: str) -> Posture | None:
        """The device with that identifier, when it is in memory."""
        return self._cache.by_identifier((kind, value)) if self._healthy else None

    async def of_account(self, account: str) -> tuple[Posture, ...]:
        """All registered devices of an account, ordered by device id."""
        self._require_health()
        known = self._cache.of_account(account)
        if known is not None:
            return known
        async with self._look_up() as connection:
            answer = await by_account(connection, account)
        postures = answer.postures
        if self._is_current(answer.seq):
            self._cache.put_account(account, postures)
        return postures

    async def by_identifier(self, kind: str, value: str) -> Posture | None:
        """The device with that identifier; None when none is registered."""
        self._require_health()
        key = (kind, value)
        if self._cache.holds_identifier(key):
            return self._cache.by_identifier(key)
        async with self._look_up() as connection:
            answer = await by_identifier(connection, key)
        posture = next(iter(answer.postures), None)
        if self._is_current(answer.seq):
            self._cache.put_identifier(key, posture)
        return posture

    async def outlined(
        self, outline: Outline, accounts: Collection[str], identifiers: Collection[IdentifierKey]
    ) -> tuple[dict[str, tuple[Posture, ...]], dict[IdentifierKey, Posture]]:
        """Very many at once, with app lists that hold only what the outline keeps; memory is neither asked nor changed.

        All devices of each account, by id, and the device with each identifier that somebody has.
        """
        self._require_health()
        if self._meant is None or self._meant.outline is not outline:
            self._meant = MeantApps(outline)
        async with reading(self._engine) as connection:
            return await outlined(connection, self._meant, accounts, identifiers)

    async def run(self) -> None:
        """Follow the feed until cancelled; the store being away is waited out, and told once."""
        try:
            while True:
                await unbroken(self._guarded_refresh())
                await asyncio.sleep(self._poll_interval_s)
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop answering and let go of the store; `run` does so at its end."""
        self._healthy = False
        self._cancel_deadline()
        with suppress(Unavailable, TimeoutError):  # a store that is gone has nothing to close
            async with asyncio.timeout(self._max_silence_s):
                await self._stop_observing()

    async def refresh(self) -> None:
        """Take in what was written until now. Raises `Unavailable`."""
        try:
            async with asyncio.timeout(self._max_silence_s), self._stepping:
                await self._follow()
        except TimeoutError as exc:
            raise Unavailable("the device store does not answer in time") from exc

    async def _guarded_refresh(self) -> None:
        try:
            await self.refresh()
            self._failure_told = False
        except Unavailable as exc:
            if not self._failure_told:
                _log.warning("store.unreachable", reason=str(exc))
            self._failure_told = True
        except Exception:  # noqa: BLE001  background-loop guard
            # A fault of ours or of a subscriber: the step is done again, and after `max_silence` nothing is served.
            if not self._failure_told:
                _log.exception("store.feed_failed")
            self._failure_told = True

    async def _follow(self) -> None:
        try:
            written = await self._current_data_version()
            if self._seq is None:
                async with reading(self._engine) as connection:
                    self._seq = await version(connection)
            elif written != self._data_version:
                while await self._step(self._seq):
                    pass
        except BaseException:
            # Also a cancelled statement leaves a connection that cannot be used again.
            self._observer_sound = False
            raise
        self._data_version = written
        self._contact()

    async def _step(self, seq: int) -> bool:
        """Take in one piece of the feed after `seq`; False when there was none."""
        self._is_stepping = True
        try:
            async with reading(self._engine) as connection:
                step = await self._read_step(connection, seq)
            if step is None:
                return False
            if step.has_gap:
                self._cache.clear()
                self._meant = None
            self._cache.replace(step.accounts, step.identifiers)
            for changed in self._subscribers:
                changed(step.changes)
            self._seq = step.seq
        finally:
            self._is_stepping = False
        return True

    async def _read_step(self, connection: AsyncConnection, seq: int) -> _Step | None:
        newer = select(change).where(change.c.seq > seq).order_by(change.c.seq).limit(STEP)
        entries = (await connection.execute(newer)).mappings().all()
        if not entries and await version(connection) == seq:
            return None
        if not entries or entries[0]["seq"] != seq + 1:
            return await self._read_everything(connection)
        changes = tuple(
            DeviceChange(
                device_id=DeviceId(entry["device_id"]),
                account=entry["account"],
                kind=entry["kind"],
                digest=entry["digest"],
                detail=json.loads(entry["detail"]) if entry["detail"] else {},
            )
            for entry in entries
        )
        accounts, identifiers = await self._read_affected(connection, changes)
        return _Step(entries[-1]["seq"], changes, accounts, identifiers)

    async def _read_everything(self, connection: AsyncConnection) -> _Step:
        """Entries are missing (purged during a long sleep, or a backup was put back): everything may have changed."""
        rows = await connection.execute(select(device.c.device_id, device.c.account).order_by(device.c.device_id))
        registered = {DeviceChange(DeviceId(device_id), account): None for device_id, account in rows}
        remembered = {DeviceChange(device_id, account): None for device_id, account in self._cache.owners()}
        changes = tuple({**registered, **remembered})
        return _Step(await version(connection), changes, {}, {}, has_gap=True)

    async def _read_affected(
        self, connection: AsyncConnection, changes: Sequence[DeviceChange]
    ) -> tuple[dict[str, tuple[Posture, ...]], dict[IdentifierKey, Posture | None]]:
        """What the remembered accounts and identifiers that the changes touch now lead to."""
        devices = {entry.device_id for entry in changes}
        accounts = self._cache.affected_accounts(devices, {entry.account for entry in changes})
        keys = self._cache.affected_identifiers(devices)
        gained = {("device_id", str(device_id)) for device_id in devices} | await identifiers(connection, devices)
        keys |= {key for key in gained if self._cache.holds_identifier(key)}
        held = await ids_of_accounts(connection, accounts)
        found_by = await owners(connection, keys)
        found = await by_ids(connection, {*found_by.values(), *(one for ids in held.values() for one in ids)})
        postures = {device_id: record.posture for device_id, record in found.items()}
        return (
            {account: tuple(postures[device_id] for device_id in ids) for account, ids in held.items()},
            {key: postures[found_by[key]] if key in found_by else None for key in keys},
        )

    async def _current_data_version(self) -> int:
        """Changes whenever any other connection, of any process, has committed."""
        if self._observer is None or not self._observer_sound:
            await self._stop_observing()
            self._observer = await self._observer_stack.enter_async_context(observing(self._engine))
            self._observer_sound = True
            self._data_version = None
        return await data_version(self._observer)

    async def _stop_observing(self) -> None:
        self._observer = None
        stack, self._observer_stack = self._observer_stack, AsyncExitStack()
        with translated():
            await stack.aclose()

    @asynccontextmanager
    async def _look_up(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(self._max_silence_s), observing(self._engine) as connection:
                yield connection
        except TimeoutError as exc:
            raise Unavailable("the device store does not answer in time") from exc

    def _is_current(self, seq: int) -> bool:
        """Whether what was read at `seq` may be remembered: a step under way would not see it and not renew it."""
        return self._healthy and not self._is_stepping and self._seq is not None and seq >= self._seq

    def _require_health(self) -> None:
        if not self._healthy:
            raise Unavailable("the device store could not be read lately")

    def _contact(self) -> None:
        """The store answered: memory is true for another `max_silence`."""
        self._cancel_deadline()
        if not self._healthy:
            self._healthy = True
            _log.info("store.reachable")
        # A timer, not a look at the clock in each look-up: it also fires while a step hangs.
        self._deadline = asyncio.get_running_loop().call_later(self._max_silence_s, self._fall_silent)

    def _fall_silent(self) -> None:
        self._healthy = False
        _log.error("store.silent", max_silence_s=self._max_silence_s)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
