"""What is recorded while the local log cannot be written (`audit.required = "any"`): a log that only remotes have.

A record that is not in the local log has no number there, and giving it one would make two histories. So these records
are a log of their own, `<log>/direct/<when it began>`, which begins with number 0 and is never continued; when the
local log is back, it records that log's name, its number of records and the digest of the last one, and thereby signs
them.

Inside holds: a record counts once a remote has acknowledged it; memory is bounded, and what does not fit is not
recorded; an event that nobody waits for and that no remote has acknowledged is given back, for the local log.
Everything but the lines belongs to the event loop's thread.
"""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.shipping.quorum import Quorum
from gatekeeper.adapters.sinks.writer import Chain
from gatekeeper.audit.event import Event, EventCode

MOST_RECORDS = 20_000
"""At about 1 KiB each."""


class Senders(Protocol):
    """Those that send one direct log."""

    quorum: Quorum

    @property
    def acknowledged(self) -> int:
        """How many records the remote has that has most."""
        ...

    def end(self) -> None:
        """Send what there is, and end, without waiting for it."""
        ...


class MemoryLog:
    """The lines, as `Shipper` takes them."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    @property
    def records(self) -> int:
        """How many there are. Any thread may ask."""
        return len(self.lines)

    def read_from(self, sequence: int) -> "MemoryLines":
        """A cursor."""
        return MemoryLines(self.lines, sequence)


class MemoryLines:
    """A cursor over lines in memory."""

    def __init__(self, lines: list[bytes], sequence: int) -> None:
        self._lines = lines
        self._sequence = sequence

    def take(self, count: int) -> list[bytes]:
        """See `shipper.Lines`."""
        found = self._lines[self._sequence : self._sequence + count]
        if len(found) < count:
            raise AuditLogError(f"record {self._sequence + len(found)} is not there")
        self._sequence += count
        return found


Encode = Callable[[Event, Chain, str], tuple[bytes, str]]
"""The line of an event in the log of that name, and its SHA-256."""


class DirectLog:
    """One time that the local log cannot be written."""

    def __init__(self, origin: str, senders: Senders, log: MemoryLog, most: int) -> None:
        self.origin = origin
        self.chain = Chain(None)
        self._most = most
        self._log = log
        self._senders = senders
        self._unheeded: deque[tuple[int, Event]] = deque()
        """What nobody waits for, by the number of records that a remote must have to have it."""

    @property
    def is_open(self) -> bool:
        """Whether more fits, and a remote takes it."""
        return self._log.records < self._most and self._senders.quorum.is_met

    def add(self, line: bytes, event: Event, answer: Callable[[bool], object] | None) -> None:
        """Send the line of `event`; `answer` is called from any thread."""
        self._log.lines.append(line + b"\n")
        records = self._log.records
        if answer is not None:
            self._senders.quorum.hold(records, 1, answer)
            return
        acknowledged = self._senders.acknowledged
        while self._unheeded and self._unheeded[0][0] <= acknowledged:
            self._unheeded.popleft()
        self._unheeded.append((records, event))

    def expire(self) -> None:
        """Called now and then: who has waited too long is answered False."""
        self._senders.quorum.expire()

    def finish(self) -> list[Event]:
        """The local log is back; returns the events that may be lost with this one."""
        acknowledged = self._senders.acknowledged
        self._senders.end()
        return [event for records, event in self._unheeded if records > acknowledged]


class Fallback:
    """What `FileAuditLog` turns to while its disk takes nothing."""

    def __init__(
        self,
        begin: Callable[[str, MemoryLog], Senders],
        is_reachable: Callable[[], bool],
        now: Callable[[], datetime],
        most: int = MOST_RECORDS,
    ) -> None:
        """`begin` has a log of that name sent; `is_reachable` says whether a remote would take it."""
        self._begin = begin
        self._is_reachable = is_reachable
        self._now = now
        self._most = most
        self._direct: DirectLog | None = None

    @property
    def is_in_use(self) -> bool:
        """Whether there is a direct log."""
        return self._direct is not None

    @property
    def is_ready(self) -> bool:
        """Whether a record could be made."""
        return self._is_reachable() if self._direct is None else self._direct.is_open

    def append(self, event: Event, answer: Callable[[bool], object] | None, *, log: str, encode: Encode) -> bool:
        """Record `event` instead of in the log `log`; False, and nobody is answered: that is not possible.

        Raises what `encode` raises.
        """
        if not self.is_ready:
            return False
        direct = self._direct
        if direct is None:
            origin, held = f"{log}/direct/{self._now():%Y%m%dT%H%M%S.%fZ}", MemoryLog()
            direct = self._direct = DirectLog(origin, self._begin(origin, held), held, self._most)
            opened = Event(code=EventCode.LOG_OPENED, time=self._now(), detail={"instead_of": log})
            direct.add(encode(opened, direct.chain, origin)[0], opened, None)
        direct.add(encode(event, direct.chain, direct.origin)[0], event, answer)
        return True

    def expire(self) -> None:
        """Called now and then."""
        if self._direct is not None:
            self._direct.expire()

    def finish(self) -> tuple[Mapping[str, str | int], list[Event]]:
        """The local log is back: what it has to record about the direct one, and the events that may be lost."""
        direct, self._direct = self._direct, None
        if direct is None:
            return {}, []
        lost = direct.finish()
        detail: dict[str, str | int] = {
            "direct": direct.origin,
            "records_n": direct.chain.sequence,
            "sha256": direct.chain.prev,
        }
        return detail, lost
