"""Everything that sends one log off the machine: a thread for each remote, and for each place of its signed heads.

Inside holds: threads begin with `start` and end with `close`, or with the process (they are daemons: a peer that hangs
must not keep it alive). What they have to say is said on the event loop's thread.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import SystemRandom
from typing import Protocol

from gatekeeper.adapters.sinks.shipping.channel import RecordChannel
from gatekeeper.adapters.sinks.shipping.direct import Fallback, MemoryLog
from gatekeeper.adapters.sinks.shipping.heads import HeadCopier, Place
from gatekeeper.adapters.sinks.shipping.http import HttpChannel
from gatekeeper.adapters.sinks.shipping.places import FileCopies, HttpCopies, SyslogCopies, Witness
from gatekeeper.adapters.sinks.shipping.quorum import Quorum, Required
from gatekeeper.adapters.sinks.shipping.settings import (
    FilePlace,
    HeadSettings,
    RemoteSettings,
    ShippingSettings,
    Start,
    SyslogPeer,
)
from gatekeeper.adapters.sinks.shipping.shipper import Shipper
from gatekeeper.adapters.sinks.shipping.syslog import SyslogChannel
from gatekeeper.adapters.sinks.writer import Counters
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.ports.clock import Clock

_CODES = {"lost": EventCode.REMOTE_LOST, "found": EventCode.REMOTE_FOUND, "refused": EventCode.WITNESS_REFUSED}
_DIRECT_ENDS_WITHIN_S = 10.0
_CURRENT_WITHIN_S = 30.0
"""When no session waits for remotes: one that is further behind shows as being behind."""


class Log(Protocol):
    """The log that is sent."""

    @property
    def records(self) -> int:
        """How many are durable."""
        ...

    @property
    def counters(self) -> Counters:
        """With the number of signed ones."""
        ...

    def append(self, event: Event) -> None:
        """Record, on the loop's thread."""
        ...


class Remotes:
    """Of one log."""

    def __init__(self, settings: ShippingSettings, *, clock: Clock) -> None:
        self.shippers: tuple[Shipper, ...] = ()
        self.copiers: tuple[HeadCopier, ...] = ()
        self.quorum: Quorum | None = None
        """What the log has to wait for; None: for nobody."""
        self.fallback: Fallback | None = None
        """Where the log turns to while its disk takes nothing; None: nowhere."""
        if settings.required is Required.ANY:
            self.fallback = Fallback(self._begin_direct, lambda: any(one.is_up for one in self.shippers), clock.now)
        elif settings.required is not Required.LOCAL:
            self.quorum = Quorum(
                settings.required, timeout_s=settings.timeout.total_seconds(), monotonic=time.monotonic
            )
        self._settings = settings
        self._clock = clock
        self._threads: list[threading.Thread] = []

    @property
    def _each(self) -> tuple[Shipper | HeadCopier, ...]:
        return (*self.shippers, *self.copiers)

    def start(self, log: Log, directory: Path, origin: str, post: Callable[[Callable[[], object]], object]) -> None:
        """Begin to send; `post` has something called on the loop's thread, from any other.

        Raises:
            AuditLogError: what is known of a remote does not fit the log.
        """
        settings, chance = self._settings, SystemRandom().random

        def tell(what: str, detail: Mapping[str, str | int]) -> None:
            event = Event(code=_CODES[what], time=self._clock.now(), detail=detail)
            with suppress(RuntimeError):  # a loop that is closed has nobody left to be told
                post(lambda: log.append(event))

        self.shippers = tuple(
            Shipper(
                remote,
                _channel(remote, origin),
                directory=directory,
                origin=origin,
                durable=lambda: log.records,
                current_within_s=_CURRENT_WITHIN_S if self.quorum is None else self.quorum.timeout_s,
                advanced=_nothing if self.quorum is None else self.quorum.advanced,
                tell=tell,
                monotonic=time.monotonic,
                chance=chance,
            )
            for remote in settings.remotes
        )
        if self.quorum is not None:
            self.quorum.watch(self.shippers)
        self.copiers = tuple(
            HeadCopier(
                head.name,
                _place(head, directory, origin, self._clock),
                where=head.peer.place,
                directory=directory,
                signed=lambda: log.counters.signed,
                tell=tell,
                monotonic=time.monotonic,
                chance=chance,
            )
            for head in settings.heads
        )
        for each in self._each:
            thread = threading.Thread(target=each.run, name=f"audit to {each.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _begin_direct(self, origin: str, log: MemoryLog) -> "_DirectSenders":
        senders = _DirectSenders(self._settings, origin, log)
        self._threads = [thread for thread in self._threads if thread.is_alive()] + senders.threads
        return senders

    async def close(self, *, timeout_s: float = 2.0) -> None:
        """Send what came up last; after that time it is left for the next start."""
        by = time.monotonic() + timeout_s
        for each in self._each:
            each.stop(by)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(by - time.monotonic(), 0.0) + 0.1)
        if self.quorum is not None:
            self.quorum.close()

    def status(self) -> dict[str, str]:
        """Each remote and place with `ok` or what is wrong."""
        found = {}
        for shipper in self.shippers:
            behind = f"{shipper.lag_records} behind for {shipper.lag_s:.0f} s"
            state = shipper.fault or ("ok" if shipper.is_up else "not heard of yet")
            found[shipper.name] = state if not shipper.lag_records else f"{state}, {behind}"
        for copier in self.copiers:
            found[copier.name] = copier.fault or f"ok, head of {copier.copied} records"
        return found


class _DirectSenders:
    """The threads that send one direct log; implements `direct.Senders`."""

    def __init__(self, settings: ShippingSettings, origin: str, log: MemoryLog) -> None:
        timeout_s = settings.timeout.total_seconds()
        self.quorum = Quorum(Required.REMOTE, timeout_s=timeout_s, monotonic=time.monotonic)
        self._shippers = tuple(
            Shipper(
                replace(remote, start=Start.BEGINNING),
                _channel(remote, origin),
                directory=None,
                origin=origin,
                durable=lambda: log.records,
                lines=log.read_from,
                current_within_s=timeout_s,
                advanced=self.quorum.advanced,
                tell=_untold,
                monotonic=time.monotonic,
                chance=SystemRandom().random,
            )
            for remote in settings.remotes
        )
        self.quorum.watch(self._shippers)
        self.threads = [
            threading.Thread(target=one.run, name=f"audit directly to {one.name}", daemon=True)
            for one in self._shippers
        ]
        for thread in self.threads:
            thread.start()

    @property
    def acknowledged(self) -> int:
        """See `Senders`."""
        return max(one.acknowledged for one in self._shippers)

    def end(self) -> None:
        """See `Senders`."""
        by = time.monotonic() + _DIRECT_ENDS_WITHIN_S
        for one in self._shippers:
            one.stop(by)
        self.quorum.close()


def _untold(_what: str, _detail: Mapping[str, str | int]) -> None:
    """The log that would record it cannot."""


def _nothing() -> None:
    """Nobody waits."""


def _channel(remote: RemoteSettings, origin: str) -> RecordChannel:
    if isinstance(remote.peer, SyslogPeer):
        return SyslogChannel(remote.peer, origin)
    return HttpChannel(remote.peer, origin, remote.batch)


def _place(head: HeadSettings, directory: Path, origin: str, clock: Clock) -> Place:
    peer = head.peer
    if isinstance(peer, FilePlace):
        return FileCopies(peer.path, origin)
    if isinstance(peer, SyslogPeer):
        return SyslogCopies(peer, origin, clock.now)
    return Witness(peer, directory, head.name, head.witness_key) if head.is_witness else HttpCopies(peer, origin)
