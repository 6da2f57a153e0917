"""The audit log on disk: `FileAuditLog` implements `ports.audit.AuditLog`.

Inside holds: one directory has one writing process (a lock) and one writer thread; lines are made and chained on the
event loop's thread, in the order of the calls of `append`, which never raises and never blocks; a caller is answered
exactly once, on the loop, True only for a record that is durable. Whoever waits is answered False when the disk has not
answered for the stall limit; such a record may still be written later. What nobody waits for and could not be written
is written later, with the time at which it happened.

Lines are made when they are handed to the thread, all that have come up by then: one after the other they cost 6 µs
each, each by itself among a log-in's other work four times that. It could be done in the thread, but then that thread
would hold the interpreter for a whole batch and make every session wait; so it only joins, writes and syncs.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gatekeeper.adapters.sinks.answers import Recorded
from gatekeeper.adapters.sinks.compressor import Compressor
from gatekeeper.adapters.sinks.directory import AuditLogError, lock
from gatekeeper.adapters.sinks.identities import IdentityMap
from gatekeeper.adapters.sinks.opening import find_ending
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.overdue import Overdue
from gatekeeper.adapters.sinks.publisher import Publisher
from gatekeeper.adapters.sinks.pulse import Pulse
from gatekeeper.adapters.sinks.scribe import Scribe
from gatekeeper.adapters.sinks.shipping.direct import Fallback
from gatekeeper.adapters.sinks.shipping.quorum import Quorum
from gatekeeper.adapters.sinks.signing_key import keys_of
from gatekeeper.adapters.sinks.succession import Remembered, Succession, settle
from gatekeeper.adapters.sinks.writer import Counters, Item, Limits, Writer
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.record import DEFAULT_ADDRESS_PREFIX
from gatekeeper.ports.clock import Clock

Post = Callable[[Callable[[], object]], object]

_MAX_ORIGIN = 200  # characters
_EXPIRY_S = 0.25
"""Between two looks at who has waited too long for a remote."""
_UNHURRIED_S = 0.05
"""A record that nobody waits for rides along with the next one that somebody does, or goes after this."""
_COMPRESSOR_ENDS_WITHIN_S = 2.0


class FileAuditLog:
    """An open log; made by `open` inside the running event loop."""

    def __init__(  # noqa: PLR0913  used by `open` only
        self,
        directory: Path,
        *,
        succession: Succession,
        remembered: Remembered | None,
        clock: Clock,
        address_prefix: tuple[int, int] | None,
        signing_key: Path | None,
        limits: Limits,
        compress_after_s: float | None,
        files: FileOperations,
        monotonic: Callable[[], float],
        post: Post | None,
        when_quiet: Post | None,
        quorum: Quorum | None,
        fallback: Fallback | None,
        names: IdentityMap | None,
    ) -> None:
        origin = succession.origin
        ending = find_ending(directory, origin, files)
        self._origin = origin
        self._clock = clock
        self._scribe = Scribe(origin, address_prefix=address_prefix, names=names)
        self._limits = limits
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._post = post or self._loop.call_soon_threadsafe
        self._when_quiet = when_quiet or self._loop.call_soon
        self._quorum = quorum
        self._fallback = fallback
        self._ended = asyncio.Event()
        self._is_closing = False
        self._overflowed = 0
        self._compressor = (
            None
            if compress_after_s is None
            else Compressor(directory, files, clock=clock, report=self._report, after_s=compress_after_s)
        )
        self._directory = directory
        self._signing_key = signing_key
        publisher = None  # made before anything is written: a log that contradicts what was signed stays as it is
        if signing_key is not None:
            keys = keys_of(directory, signing_key, origin)
            publisher = Publisher(
                directory,
                keys[0],
                older=keys[1] if len(keys) > 1 else None,
                records=0 if ending.last is None else ending.last.sequence + 1,
                files=files,
                monotonic=monotonic,
                interval_s=limits.checkpoint_interval_s,
                report=self._report,
                known=succession.known,
                remembered=remembered,
            )
        self._publisher = publisher
        self._writer = Writer(
            directory,
            origin,
            last=ending.last,
            encode=self._scribe.line,
            tell=self._tell,
            clock=clock,
            monotonic=monotonic,
            limits=limits,
            files=files,
            publisher=publisher,
            before_lines=None if names is None else names.flush,
            closed=(lambda: None) if self._compressor is None else self._compressor.wake,
        )
        now = clock.now()
        events = [Event(code=EventCode.LOG_OPENED, time=now, detail={"pid": os.getpid()})]
        events += [
            Event(code=EventCode.TAIL_RECOVERED, time=now, detail={**cut.detail(), "cause": "torn-tail"})
            for cut in ending.cuts
        ]
        if succession.predecessor is not None:
            events.append(Event(code=EventCode.LOG_SUCCEEDS, time=now, detail=succession.detail()))
        if publisher is not None and publisher.key_change:
            events.append(Event(code=EventCode.KEY_CHANGED, time=now, detail=publisher.key_change))
        self._writer.write_now(events)
        self._queue = self._writer.queue
        self._waiting: list[tuple[Event, Recorded | None]] = []
        """Not with the thread yet."""
        self._hands_over_soon = False
        self._handing_over: asyncio.TimerHandle | None = None
        self._overdue = Overdue(self._loop, self, limits.stall_limit_s)
        self._pulse = Pulse(
            self._loop,
            self.append,
            position=self._position,
            clock=clock,
            monotonic=monotonic,
            every_s=limits.heartbeat_s,
        )
        has_waiting = quorum is not None or fallback is not None
        self._expiry = self._loop.call_later(_EXPIRY_S, self._expire) if has_waiting else None

    @classmethod
    def open(  # noqa: PLR0913  two places, and what a test drives
        cls,
        directory: Path,
        *,
        origin: str,
        clock: Clock,
        address_prefix: tuple[int, int] | None = DEFAULT_ADDRESS_PREFIX,
        signing_key: Path | None = None,
        remember_in: Path | None = None,
        limits: Limits | None = None,
        compress_after_s: float | None = None,
        files: FileOperations | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        post: Post | None = None,
        when_quiet: Post | None = None,
        quorum: Quorum | None = None,
        fallback: Fallback | None = None,
        names: IdentityMap | None = None,
    ) -> "FileAuditLog":
        """Open the log in `directory`, made when absent; blocks while the last segment is verified (up to a second).

        With `signing_key`, the file of a key that is made when absent, the Merkle log is published too; what the log
        had before becomes part of it. With `compress_after_s`, segments that have come to an end are compressed so
        many seconds after their last record, by a thread of its own.

        `remember_in` is a directory elsewhere, made when absent, for what was signed last. With it, a log that lies
        behind what is known of it is set aside, and a new one begins, as `succession` says; without it, an error.

        `post` has something called on the loop's thread, from any other; `when_quiet` from the same one, once everybody
        who has something to say was heard, or soon; asked for again meanwhile, once for all. By default both are
        asyncio's own way.

        With `names` records have pseudonyms in the place of names.

        With `quorum` a record is answered True only once remotes have it too, and the log counts as one that cannot be
        written while they are not up to date. With `fallback` remotes take records while the disk does not.

        That the log was opened is durable when this returns.

        Raises:
            AuditLogError: another process writes it, it is damaged, or it cannot be written.
        """
        if not origin or len(origin) > _MAX_ORIGIN or not origin.isascii() or not origin.isprintable():
            raise AuditLogError(f"an audit log's origin is 1 to {_MAX_ORIGIN} printable ASCII characters")
        operations = files or FileOperations()
        lock_fd = -1
        try:
            (directory / "segments").mkdir(mode=0o750, parents=True, exist_ok=True)
            lock_fd = lock(directory)
            operations.sync_directory(directory)
            remembered = None if remember_in is None else Remembered(remember_in, origin)
            log = cls(
                directory,
                succession=(
                    Succession(origin) if remembered is None else settle(directory, origin, remembered, operations)
                ),
                remembered=remembered,
                clock=clock,
                address_prefix=address_prefix,
                signing_key=signing_key,
                limits=limits or Limits(),
                compress_after_s=compress_after_s,
                files=operations,
                monotonic=monotonic,
                post=post,
                when_quiet=when_quiet,
                quorum=quorum,
                fallback=fallback,
                names=names,
            )
        except BaseException as error:
            if lock_fd >= 0:
                os.close(lock_fd)
            if isinstance(error, OSError):
                raise AuditLogError(f"the audit log in `{directory}` cannot be opened: {error.strerror}") from error
            raise
        # A daemon: a disk that hangs must not keep the process from ending. What it holds was never acknowledged.
        if log._compressor is not None:
            log._compressor.start()
        threading.Thread(target=log._run, args=(lock_fd,), name="audit-writer", daemon=True).start()
        return log

    def append(self, event: Event, recorded: Recorded | None = None) -> None:
        """See `ports.audit.AuditLog`."""
        if self._fallback is not None and self._falls_back(self._fallback, event, recorded):
            return
        if self._writer.chain is None or self._is_closing or self._pending >= self._limits.queued_records:
            self._refuse(event, recorded)
            return
        self._waiting.append((event, recorded))
        if recorded is not None:
            self._hands_over_soon = True
            self._when_quiet(self._hand_over)
        elif not self._hands_over_soon and self._handing_over is None:
            self._handing_over = self._loop.call_later(_UNHURRIED_S, self._hand_over_late)

    def _falls_back(self, fallback: Fallback, event: Event, recorded: Recorded | None) -> bool:
        """While the disk takes nothing remotes may (`audit.required = "any"`); True: `event` is theirs."""
        if self._is_closing:
            return False
        if self.is_local_writable:
            if fallback.is_in_use:
                detail, events = fallback.finish()
                self.append(Event(code=EventCode.DIRECT_LOG, time=self._clock.now(), detail=detail))
                for late in events:
                    self.append(late)
            return False
        answer = None if recorded is None else lambda known: self._tell_later([recorded], is_recorded=known)
        try:
            return fallback.append(event, answer, log=self._origin, encode=self._scribe.line_of_known)
        except (TypeError, ValueError, LookupError, ArithmeticError, AuditLogError):
            return False

    def take_up_keys(self) -> None:
        """Sign with the keys that are there now; when they are others than before, that is recorded.

        Raises:
            AuditLogError: they cannot be used; those from before go on signing.
        """
        publisher = self._publisher
        if publisher is None or self._signing_key is None:
            return
        change = publisher.take_up(keys_of(self._directory, self._signing_key, self._origin))
        if change:
            self.append(Event(code=EventCode.KEY_CHANGED, time=self._clock.now(), detail=change))

    def _hand_over(self) -> None:
        """Give the thread all that came up: waking it, and syncing, for each record would cost more."""
        self._hands_over_soon = False
        waiting, self._waiting = self._waiting, []
        items: list[Item] = []
        for event, recorded in waiting:
            chain = self._writer.chain
            if chain is None:
                self._refuse(event, recorded)
                continue
            try:
                items.append((chain, *self._scribe.line(event, chain)))
            except AuditLogError as error:  # no pseudonym can be made: better no record, and no session, than a name
                self._cannot_record(recorded, str(error), None)
            except Exception as error:  # noqa: BLE001  its maker's bug: it must not stop the log of the others
                self._cannot_record(recorded, "it breaks its own types", error)
            else:
                self._overdue.answers.owe(event, recorded)
        if items:
            self._queue.put(items)
            self._overdue.look()

    def _cannot_record(self, recorded: Recorded | None, why: str, error: Exception | None) -> None:
        fault: dict[str, Any] = {"message": f"an event cannot be recorded: {why}"}
        self._loop.call_exception_handler(fault if error is None else {**fault, "exception": error})
        self._answer_refused(recorded)

    def _hand_over_late(self) -> None:
        """What nobody waits for. The timer is left alone when something has gone meanwhile: it only comes too early."""
        self._handing_over = None
        self._hand_over()

    @property
    def _pending(self) -> int:
        """Records that wait for the disk, and answers that wait for a remote."""
        held = 0 if self._quorum is None else self._quorum.waiting
        return len(self._queue) + len(self._waiting) + held

    @property
    def records(self) -> int:
        """How many are durable here. Any thread may ask."""
        return self._writer.records

    @property
    def writable(self) -> bool:
        """See `ports.audit.AuditLog`; also False while those remotes that must have a record are not up to date."""
        if self.is_local_writable:
            return self._quorum is None or self._quorum.is_met
        return self._fallback is not None and not self._is_closing and self._fallback.is_ready

    @property
    def is_local_writable(self) -> bool:
        """Also False while the disk has not answered for longer than the stall limit."""
        writer = self._writer
        if writer.chain is None or self._is_closing:
            return False
        return not self.is_stalled

    @property
    def is_stalled(self) -> bool:
        """Whether the disk has not answered for longer than the stall limit."""
        since = self._writer.in_flight_since
        return since is not None and self._monotonic() - since >= self._limits.stall_limit_s

    @property
    def origin(self) -> str:
        """Its name."""
        return self._origin

    @property
    def fault(self) -> str | None:
        """Why the log cannot be written, for operators; None when it can."""
        if self._writer.fault is not None:
            return self._writer.fault
        if not self.is_local_writable:
            return "the disk does not answer"
        return None if self._quorum is None else self._quorum.fault

    @property
    def counters(self) -> Counters:
        """Figures since the log was opened."""
        return self._writer.counters

    @property
    def late(self) -> int:
        """Events that are kept until the log can be written again."""
        return len(self._overdue.kept)

    @property
    def overflowed(self) -> int:
        """Records answered False at once: too many were waiting, or the log could not be written."""
        return self._overflowed

    async def close(self, *, timeout_s: float = 10.0) -> bool:
        """Write what is queued and the record of closing; False when that was not possible in time."""
        is_closed_cleanly = False

        def recorded(is_recorded: bool) -> None:
            nonlocal is_closed_cleanly
            is_closed_cleanly = is_recorded

        if not self._is_closing:
            self._overdue.write_all()
            self.append(Event(code=EventCode.LOG_CLOSED, time=self._clock.now()), recorded)
            self._is_closing = True
            self._pulse.stop()
            self._hand_over()
            self._queue.put([None])
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return False
        finally:
            self._overdue.stop()
        self._queue.close()
        if self._fallback is not None:
            self._fallback.finish()
        for timer in (self._expiry, self._handing_over):
            if timer is not None:
                timer.cancel()
        return is_closed_cleanly

    def _position(self) -> int | None:
        chain = self._writer.chain
        return None if chain is None else chain.sequence

    def _expire(self) -> None:
        """Who has waited too long for a remote hears of it."""
        if self._quorum is not None:
            self._quorum.expire()
        if self._fallback is not None:
            self._fallback.expire()
        self._expiry = self._loop.call_later(_EXPIRY_S, self._expire)

    def _refuse(self, event: Event, recorded: Recorded | None) -> None:
        """Answer False at once; an event that nobody waits for is recorded later."""
        if recorded is None:
            self._overdue.keep(event)
        self._answer_refused(recorded)

    def _answer_refused(self, recorded: Recorded | None) -> None:
        self._overflowed += 1
        if recorded is not None:
            self._loop.call_soon(recorded, False)  # noqa: FBT003  the port's answer

    def _run(self, lock_fd: int) -> None:
        """The writer thread."""
        try:
            self._writer.run()
        finally:
            if self._compressor is None or self._compressor.end(_COMPRESSOR_ENDS_WITHIN_S):
                os.close(lock_fd)  # else the log stays this process's until it ends
            self._on_loop(self._ended.set)

    def _tell(self, count: int, is_recorded: bool) -> None:
        """From the writer thread: one wake-up of the loop for a whole batch."""
        records = self._writer.records
        self._on_loop(lambda: self._settle(count, records if is_recorded else None))

    def _settle(self, count: int, records: int | None) -> None:
        """The next `count` lines are durable, and with them so many records; None: they never will be."""
        answers = self._overdue.answers
        waiting = answers.settle(count, is_recorded=records is not None)
        if records is None or self._quorum is None:
            answers.tell(waiting, is_recorded=records is not None)
        elif waiting:
            self._quorum.hold(records, len(waiting), lambda known: self._tell_later(waiting, is_recorded=known))
        if self._overdue.kept:
            self._overdue.look()

    def _tell_later(self, waiting: list[Recorded], *, is_recorded: bool) -> None:
        """From any thread."""
        self._on_loop(lambda: self._overdue.answers.tell(waiting, is_recorded=is_recorded))

    def _on_loop(self, call: Callable[[], object]) -> None:
        # A loop that is closed has nobody left to be told.
        with suppress(RuntimeError):
            self._post(lambda: self._overdue.answers.guarded(call))

    def _report(self, fault: str) -> None:
        """From the writer thread: what operators are to know, though the log goes on."""
        self._on_loop(lambda: self._loop.call_exception_handler({"message": fault}))
