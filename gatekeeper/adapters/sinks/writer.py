"""The writer thread of the audit log: group commit, rotation, the noted head, and coming back after an error.

Inside holds: only this thread touches the segment; a record is answered True only after the `fdatasync` of the batch
it is in; order in the file is the order of the queue; after an error everything queued is answered False and the log
continues from the last durable record, in a new segment, with a record that says what was cut off.

The loop's thread gives it lines that are already chained. What was chained to a record that never became durable must
not be written: every line carries the `Chain` it was made with, and a chain ends with the first error.

The Merkle log over the same lines is published between batches, when nobody waits, a little at a time (`publisher`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogDamaged, note_head, segment_path
from gatekeeper.adapters.sinks.mailbox import Mailbox
from gatekeeper.adapters.sinks.opening import Cut, cut_off, tail_of
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.publisher import Publisher
from gatekeeper.adapters.sinks.reader import pieces
from gatekeeper.adapters.sinks.segment import Segment
from gatekeeper.audit.chain import verify
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.record import FIRST_PREV
from gatekeeper.audit.report import Head
from gatekeeper.ports.clock import Clock

_PUBLISHED_WITHIN_S = 2.0  # at the end; what is left is published when the log is opened again
_MAX_BATCH = 4096  # records; about 4 MiB, which a disk syncs well within the stall limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the log rotates, and what it puts up with."""

    segment_octets: int = 64 * 1024 * 1024
    segment_age_s: float = 24 * 3600
    queued_records: int = 10_000
    """Records waiting for the disk; more are answered False."""
    retry_interval_s: float = 1.0
    stall_limit_s: float = 2.0
    """A batch under way for longer counts as a log that cannot be written."""
    head_interval_s: float = 1.0
    checkpoint_interval_s: float = 1.0
    heartbeat_s: float = 60.0
    """A record is written at least so often, so that silence shows."""


class Chain:
    """Where the next record goes; belongs to the loop's thread as soon as `Writer.chain` holds it."""

    __slots__ = ("prev", "sequence")

    def __init__(self, last: Head | None) -> None:
        self.sequence = 0 if last is None else last.sequence + 1
        self.prev = FIRST_PREV if last is None else last.sha256


Item = tuple[Chain, bytes, str]
"""The chain a line was made with, the line, and its SHA-256."""


@dataclass(slots=True)
class Counters:
    """Figures for the metrics; written by one thread, read by any."""

    records: int = 0
    batches: int = 0
    failures: int = 0
    """Failed attempts to write or to come back."""
    unrecorded: int = 0
    """Records answered False."""
    head_failures: int = 0
    """Failed attempts to note the head."""
    last_batch_s: float = 0.0
    checkpoint_failures: int = 0
    """Failed attempts to publish the signed head, or what it rests on."""
    signed: int = 0
    """Records of the last signed head."""


class Writer:
    """Owns the segment; `run` is the thread."""

    def __init__(  # noqa: PLR0913  what it writes, where it starts, and what it needs from outside
        self,
        directory: Path,
        origin: str,
        *,
        last: Head | None,
        encode: Callable[[Event, Chain], tuple[bytes, str]],
        tell: Callable[[int, bool], None],
        clock: Clock,
        monotonic: Callable[[], float],
        limits: Limits,
        files: FileOperations,
        publisher: Publisher | None = None,
        before_lines: Callable[[], None] | None = None,
        closed: Callable[[], object] = lambda: None,
    ) -> None:
        """Make the first segment.

        `tell` says of the next so many lines, in the order of the queue, whether they are recorded; `closed`, that a
        segment has come to an end; `before_lines` makes durable what the lines to come rest on, and raises `OSError`.
        """
        self.queue: Mailbox[Item | None] = Mailbox()
        """None: close."""
        self.counters = Counters()
        self.chain: Chain | None = Chain(last)
        """None: the log cannot be written."""
        self.fault: str | None = None
        """Why not."""
        self.in_flight_since: float | None = None
        """Monotonic time since which the thread has been at work; None: it waits for some."""
        self._directory = directory
        self._origin = origin
        self._encode = encode
        self._tell = tell
        self._clock = clock
        self._monotonic = monotonic
        self._limits = limits
        self._files = files
        self._last = last
        """The last durable record."""
        self._publisher = publisher
        self._before_lines = before_lines
        self._closed = closed
        self._noted: Head | None = None
        self._next_note = 0.0
        self._next_try: float | None = None
        self._cut: Cut | None = None
        """What is cut off on the way back, until that is recorded."""
        self._is_cut = False
        self._failed_at: datetime | None = None
        """Since when the log cannot be written."""
        self._segment = self._new_segment()

    def write_now(self, events: list[Event]) -> None:
        """Write at opening, before the thread runs. Raises `OSError`."""
        chain = Chain(self._last)
        self._append([self._encode(event, chain) for event in events])
        self.chain = Chain(self._last)
        self._note_head()

    def run(self) -> None:
        """Write batches until told to close."""
        try:
            while self._write_next():
                pass
        finally:
            is_whole = self.chain is not None
            # Also on a fault of ours in here: nobody may wait for an answer that nobody will give.
            self.chain = None
            self.fault = self.fault or "the audit log is closed"
            self._answer_queued()
            self._note_head()
            if self._publisher is not None and is_whole:
                self._publisher.finish(self.records, within_s=_PUBLISHED_WITHIN_S)
                self._count(self._publisher)
            self._segment.close()

    def _write_next(self) -> bool:
        """One turn; False: close."""
        batch, is_last = self._next_batch()
        now = self.in_flight_since = self._monotonic()
        try:
            if batch:
                self._write(batch, now)
                now = self._monotonic()
            self._do_the_rest(now, is_last=is_last)
        finally:
            self.in_flight_since = None
        return not is_last

    def _do_the_rest(self, now: float, *, is_last: bool) -> None:
        """What is due besides writing records."""
        if self._next_try is not None and now >= self._next_try and not is_last:
            self._recover()
        if self._last is not self._noted and now >= self._next_note:
            self._note_head()
        elif self._publisher is not None and self.chain is not None:
            due = self._publisher.due(self.records)
            if due is not None and (not self.queue or now - due > self._limits.checkpoint_interval_s):
                self._publisher.step(self.records)
                self._count(self._publisher)

    @property
    def records(self) -> int:
        """How many are durable. Any thread may ask."""
        return 0 if self._last is None else self._last.sequence + 1

    def _count(self, publisher: Publisher) -> None:
        self.counters.checkpoint_failures = publisher.failures
        self.counters.signed = publisher.published

    def _next_batch(self) -> tuple[list[Item], bool]:
        """Wait for records, or for something else to do, and take all that are queued; True: these are the last."""
        items = self.queue.take(_MAX_BATCH, self._idle_time())
        is_last = bool(items) and items[-1] is None
        return [item for item in items if item is not None], is_last

    def _idle_time(self) -> float | None:
        """Seconds until something is due though nothing was queued; None: never."""
        due = [] if self._next_try is None else [self._next_try]
        if self._last is not self._noted:
            due.append(self._next_note)
        if self._publisher is not None and self.chain is not None:
            step = self._publisher.due(self.records)
            if step is not None:
                due.append(step)
        return max(min(due) - self._monotonic(), 0.0) if due else None

    def _write(self, batch: list[Item], started: float) -> None:
        """Group commit."""
        chain = self.chain
        if chain is None or batch[0][0] is not chain or batch[-1][0] is not chain:
            batch = self._refuse_stale(batch)
            if not batch:
                return
        is_recorded = False
        try:
            self._append([(item[1], item[2]) for item in batch])
            is_recorded = True
        except OSError as error:
            self._fail(error)
        finally:  # whatever it was: everybody gets an answer
            self.counters.last_batch_s = self._monotonic() - started
            if not is_recorded:
                self.counters.unrecorded += len(batch)
            self._tell(len(batch), is_recorded)

    def _append(self, lines: list[tuple[bytes, str]]) -> None:
        """Make chained lines durable in the segment, or in the next one when it is full or old."""
        if self._before_lines is not None:
            self._before_lines()
        data = b"\n".join([line for line, _ in lines]) + b"\n"
        segment = self._segment
        if segment.durable and (
            segment.durable + len(data) > self._limits.segment_octets
            or self._monotonic() - segment.begun >= self._limits.segment_age_s
        ):
            self._segment = self._new_segment()
            segment.close()
            self._closed()
            self._note_head()
        self._segment.append(data)
        sequence = -1 if self._last is None else self._last.sequence
        self._last = Head(sequence + len(lines), lines[-1][1])
        self.counters.records += len(lines)
        self.counters.batches += 1

    def _new_segment(self) -> Segment:
        first = 0 if self._last is None else self._last.sequence + 1
        # After a fault also what happened meanwhile is written into it: whoever looks by time has to find it there.
        path = segment_path(self._directory, first, self._failed_at or self._clock.now())
        return Segment.create(path, begun=self._monotonic(), start=self._last, files=self._files)

    def _fail(self, error: OSError) -> None:
        self._segment.close()
        self.fault = f"cannot write `{self._segment.path}`: {error.strerror or error}"
        self.counters.failures += 1
        self._failed_at = self._clock.now()
        self.chain = None
        self._next_try = self._monotonic() + self._limits.retry_interval_s

    def _refuse_stale(self, batch: list[Item]) -> list[Item]:
        """Answer False for lines of a chain that has ended, which come before all others; returns the others."""
        chain = self.chain
        fresh = [item for item in batch if item[0] is chain]
        stale = len(batch) - len(fresh)
        if stale:
            self.counters.unrecorded += stale
            self._tell(stale, False)  # noqa: FBT003  the port's answer
        return fresh

    def _answer_queued(self) -> None:
        while items := self.queue.take(_MAX_BATCH, 0.0):
            queued = [item for item in items if item is not None]
            if queued:
                self._refuse_stale(queued)

    def _recover(self) -> None:
        """Try to come back: what is durable is read again, the rest is cut off, the log goes on in a new segment."""
        self._next_try = self._monotonic() + self._limits.retry_interval_s
        chain = Chain(self._last)
        try:
            self._append([self._encode(self._recovery(), chain)])
        except OSError as error:
            self._segment.close()
            self.fault = f"cannot write `{self._segment.path}`: {error.strerror or error}"
            self.counters.failures += 1
        except AuditLogDamaged as error:
            self.fault = str(error)
            self.counters.failures += 1
            self._next_try = None  # for a person to look at
        else:
            self._closed()
            self._next_try = None
            self._cut, self._is_cut = None, False
            self._failed_at = None
            self.fault = None
            self.chain = Chain(self._last)

    def _recovery(self) -> Event:
        """Put a fresh segment in place; returns what to record about it."""
        failed = self._segment
        if not self._is_cut:
            self._check(failed)
        # Looked at once, before anything changes: a disk may take the cut, and fail to make it durable.
        cut = self._cut = self._cut or tail_of(failed.path, failed.durable)
        if not self._is_cut:
            cut_off(failed.path, failed.durable, self._files)
            self._is_cut = True
        if not failed.durable:
            self._files.unlink(failed.path)  # its name is that of the segment to come
        self._segment = self._new_segment()
        detail = {**cut.detail(), "cause": "write-error"}
        return Event(code=EventCode.TAIL_RECOVERED, time=self._clock.now(), detail=detail)

    def _check(self, segment: Segment) -> None:
        """Read what was durable in a segment again."""
        if not segment.durable or self._last is None:
            return
        read = [(segment.path.name, pieces(segment.path, end=segment.durable))]
        report = verify(read, head=self._last, start=segment.start)
        if report.findings or report.torn is not None:
            found = report.findings[0] if report.findings else "a line is torn"
            raise AuditLogDamaged(f"the audit log is damaged and is not continued: {found}")

    def _note_head(self) -> None:
        """Put down how far the log is durable, so that a cut tail is found."""
        self._next_note = self._monotonic() + self._limits.head_interval_s
        if self._last is None or self._last is self._noted:
            return
        try:
            note_head(self._directory, self._last, self._origin, self._files)
        except OSError:
            self.counters.head_failures += 1
        else:
            self._noted = self._last
