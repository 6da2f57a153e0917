"""Keeps what decisions are made on: postures when they are put on record, policies when they come into force.

What holds inside: no log-in waits for it or pays for it. It follows the store's feed a little at a time, in a thread,
and idles three times as long as it works, so that an import of many devices does not slow anybody. What it did not get
to before the process ended is caught up with at the next start, from the store, which knows past postures for days. Of
several workers one archives. Cancelled, it first ends the statement that it is at: archive and store are closed next.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from time import monotonic

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.secret_key import load_or_make_secret, load_secret
from gatekeeper.adapters.stores.archive import Archive, ArchivedPolicy, ArchiveError
from gatekeeper.adapters.stores.engine import unbroken
from gatekeeper.adapters.stores.revisions import changed_since, postures_of, registered
from gatekeeper.adapters.stores.tables import microseconds
from gatekeeper.config.settings import AuditSettings
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.ports.clock import Clock
from gatekeeper.ports.devices import DeviceChange, Unavailable

_log = structlog.get_logger("gatekeeper.archive")

FOLLOW_S = 0.5
AT_ONCE = 20
"""Devices: some milliseconds of work."""
_REST = 3
"""Times as long as it worked."""
_RETRY_S = 5.0
_POLICIES_AGAIN_S = 3600.0
"""How often it is noted that a policy is still in force: what is pruned goes by that."""
_CLOCKS_DIFFER_US = 3600 * 10**6
"""Of gateways that share a store: what one of them put on record late is not passed over."""


def open_archive(audit: AuditSettings) -> Archive | None:
    """The archive of a configuration, made when absent; None: only digests are kept.

    Raises AuditLogError, ArchiveError.
    """
    if not audit.is_archived:
        return None
    if audit.archive_file.exists() and load_secret(audit.archive_key) is None:
        raise AuditLogError(
            f"the key `{audit.archive_key}` is gone, though it opens `{audit.archive_file}`: put it back, or move the "
            "archive away"
        )
    return Archive(audit.archive_file, load_or_make_secret(audit.archive_key))


class Archiver:
    """Follows one gate; subscribe `changed` to its directory, and let `follow` run."""

    def __init__(
        self,
        engine: AsyncEngine,
        audit: AuditSettings,
        clock: Clock,
        *,
        is_on: Callable[[], bool],
        in_force: Callable[[], tuple[Iterable[Policy], IdentitySettings]],
    ) -> None:
        """`is_on`: whether this process is the one that archives; `in_force`: the policies, and how names are read."""
        self.fault: str | None = None
        """Why it gets no further, for operators."""
        self._engine = engine
        self._audit = audit
        self._clock = clock
        self._is_on = is_on
        self._in_force = in_force
        self._archive: Archive | None = None
        """Opened by the worker that archives."""
        self._waiting: dict[DeviceId, None] = {}
        self._gone: dict[DeviceId, None] = {}
        self._newest = self._marked = 0
        self._policies: tuple[tuple[str, ...], float] = ((), 0.0)

    def changed(self, changes: tuple[DeviceChange, ...]) -> None:
        """See `ports.devices.Devices.subscribe`."""
        if self._archive is None:
            return  # caught up with when it is opened
        for change in changes:
            (self._gone if change.kind == "forget" else self._waiting)[change.device_id] = None

    async def follow(self) -> None:
        """Archive as things change; runs until cancelled."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            if not self._is_on() or not self._audit.is_archived:
                continue
            try:
                await self.step()
                self.fault = None
            except (AuditLogError, ArchiveError, Unavailable) as error:
                self._told(str(error), None)
                await asyncio.sleep(_RETRY_S)
            except Exception as error:  # noqa: BLE001  the loop's guard: sessions do not depend on it
                self._told(f"an unexpected {type(error).__name__}", error)
                await asyncio.sleep(_RETRY_S)

    def _told(self, fault: str, error: Exception | None) -> None:
        """Each fault once."""
        if self.fault != fault:
            self.fault = fault
            _log.error("archive.behind", reason=fault, exc_info=error)

    def close(self) -> None:
        """Let go of the archive."""
        if self._archive is not None:
            self._archive.close()

    async def step(self) -> None:
        """Archive all that is new. Raises AuditLogError, ArchiveError, Unavailable."""
        if self._archive is None:
            archive = await unbroken(asyncio.to_thread(open_archive, self._audit))
            if archive is None:
                return
            self._archive = archive  # from here on changes are noted
            self._waiting.update(dict.fromkeys(await self._missed(archive)))
        await self._archive_policies(self._archive)
        await self._archive_postures(self._archive)

    async def _missed(self, archive: Archive) -> list[DeviceId]:
        ids_now = await unbroken(registered(self._engine))
        await unbroken(asyncio.to_thread(archive.end_others, ids_now, microseconds(self._clock.now())))
        self._marked = await unbroken(asyncio.to_thread(archive.mark))
        ids, newest = await unbroken(changed_since(self._engine, max(self._marked - _CLOCKS_DIFFER_US, 0)))
        self._newest = max(self._marked, newest)
        return ids

    async def _archive_policies(self, archive: Archive) -> None:
        found, identity = self._in_force()
        policies = [policy for policy in found if policy.text]
        digests, then = tuple(policy.sha256 for policy in policies), self._policies[1]
        if digests == self._policies[0] and monotonic() - then < _POLICIES_AGAIN_S:
            return
        names = json.dumps(asdict(identity))
        kept = [ArchivedPolicy(policy.sha256, names, policy.text) for policy in policies]
        now_ms = microseconds(self._clock.now()) // 1000
        await unbroken(asyncio.to_thread(archive.put_policies, kept, now_ms))
        self._policies = digests, monotonic()

    async def _archive_postures(self, archive: Archive) -> None:
        while self._waiting or self._gone:
            began = monotonic()
            some, gone = list(self._waiting)[:AT_ONCE], list(self._gone)[:AT_ONCE]
            for device_id in some:  # what changes from here on is read again
                del self._waiting[device_id]
            try:
                found = await unbroken(postures_of(self._engine, some))
                await unbroken(asyncio.to_thread(archive.put, found))
            except (
                Exception
            ):  # whatever it was: they are tried again; a cancellation ends the archiver, and starts it anew
                self._waiting.update(dict.fromkeys(some))
                raise
            self._newest = max([self._newest, *(each.revision for each in found)])
            for device_id in gone:
                await unbroken(asyncio.to_thread(archive.end, device_id, microseconds(self._clock.now())))
                self._gone.pop(device_id, None)
            await asyncio.sleep(_REST * (monotonic() - began))
        if self._newest != self._marked:
            await unbroken(asyncio.to_thread(archive.set_mark, self._newest))
            self._marked = self._newest
