"""Repeats in the audit log become one counted record a minute: a phone that retries for ever does not fill the disk.

What holds inside:

* The first of a kind is always recorded at once, and durable before it is answered. A kind is: same code, listener,
  account, source and cause; a refusal whose decision differs in anything is of another kind.
* A counted record says how many it stands for (`count`) and from when to when. The sum over all records of a code is
  what happened: nothing is lost but by a crash, and then of the last minute.
* A connection whose refusal is recorded by itself has its end recorded by itself too.
* Sessions, faults, changes and everything else but refusals and connections without a session is never folded.
* Memory is bounded: the oldest kind is written out when there are too many.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from datetime import datetime

from gatekeeper.audit.event import TERMINAL, Event, EventCode
from gatekeeper.domain.source import source_of
from gatekeeper.ports.audit import AuditLog

MAX_KINDS = 4096
"""At about 1 KiB each."""
AT_ONCE = 16
"""Of what nobody was told a verdict in, connections without an attempt and passwords before TLS: so many a window are
recorded one by one."""

_REFUSALS = frozenset(
    {
        EventCode.BLOCKED_APP,
        EventCode.BLOCKED_STALE,
        EventCode.BLOCKED_UNKNOWN_DEVICE,
        EventCode.BLOCKED_INSUFFICIENT,
        EventCode.BLOCKED_DEVICE,
        EventCode.BLOCKED_INVALID,
        EventCode.CREDENTIALS_REFUSED,
    }
)


@dataclass(slots=True)
class _Fold:
    until: float
    at_once: int
    """So many more are recorded by themselves."""
    count: int = 0
    attempts: int = 0
    first: datetime | None = None
    last: Event | None = None


class FoldingLog:
    """Implements `ports.audit.AuditLog` in front of another one."""

    def __init__(self, audit: AuditLog, *, window_s: float, monotonic: Callable[[], float]) -> None:
        """`window_s` of 0 folds nothing."""
        self._audit = audit
        self._window_s = window_s
        self._monotonic = monotonic
        self._folds: OrderedDict[Hashable, _Fold] = OrderedDict()
        """In the order in which their windows end."""
        self._on_record: set[str] = set()
        """Connections that are open, and a refusal of which was recorded by itself."""

    @property
    def writable(self) -> bool:
        """As the log behind it."""
        return self._audit.writable

    def append(self, event: Event, recorded: Callable[[bool], None] | None = None) -> None:
        """Record, or count."""
        kind = _kind(event) if self._window_s > 0 else None
        is_known = self._forget(event)
        if kind is None:
            self._audit.append(event, recorded)
            return
        now = self._monotonic()
        fold = self._folds.get(kind)
        if fold is not None and fold.until <= now:
            self._close(kind)
            fold = None
        if fold is None:
            fold = self._folds[kind] = _Fold(now + self._window_s, _at_once(event))
            if len(self._folds) > MAX_KINDS:
                self._close(next(iter(self._folds)))
        if fold.at_once or is_known:
            fold.at_once = max(0, fold.at_once - 1)
            self._note(event)
            self._audit.append(event, recorded)
            return
        _count(fold, event)
        if recorded is not None:
            recorded(self._audit.writable)

    def tick(self) -> None:
        """Called about every quarter of a second: write what was counted in windows that have ended."""
        now = self._monotonic()
        while self._folds:
            kind = next(iter(self._folds))
            fold = self._folds[kind]
            if fold.until > now:
                return
            self._close(kind)
            if fold.count:  # it goes on: the next record is a counted one too
                self._folds[kind] = _Fold(now + self._window_s, 0)

    def close(self) -> None:
        """Write everything that was counted."""
        for kind in tuple(self._folds):
            self._close(kind)

    def _note(self, event: Event) -> None:
        if event.code in _REFUSALS and event.connection is not None:
            self._on_record.add(event.connection.conn)

    def _forget(self, event: Event) -> bool:
        """Whether `event` ends a connection whose refusal is on record."""
        if event.code not in TERMINAL or event.connection is None or event.connection.conn not in self._on_record:
            return False
        self._on_record.remove(event.connection.conn)
        return True

    def _close(self, kind: Hashable) -> None:
        fold = self._folds.pop(kind)
        if fold.last is None:
            return
        event = fold.last
        if event.code is EventCode.CONNECTION_CLOSED:
            event = replace(event, detail={**event.detail, "attempts": fold.attempts})
        self._audit.append(replace(event, count=fold.count, start_time=fold.first))


def _count(fold: _Fold, event: Event) -> None:
    fold.count += 1
    fold.first = fold.first or event.time
    fold.last = event
    attempts = event.detail.get("attempts", 0)
    fold.attempts += attempts if isinstance(attempts, int) else 0


def _at_once(event: Event) -> int:
    is_idle = event.code is EventCode.CONNECTION_CLOSED and event.detail.get("attempts") == 0
    return AT_ONCE if is_idle or event.code is EventCode.PASSWORD_EXPOSED else 1


def _kind(event: Event) -> Hashable | None:
    """What repeats of `event` have in common; None for what is never folded."""
    connection = event.connection
    if connection is None or event.count != 1:  # counted already
        return None
    of = (event.code, connection.listener, source_of(connection.client_address), event.account)
    if event.code in _REFUSALS or event.code is EventCode.PASSWORD_EXPOSED:
        return (*of, event.mechanism, event.message, event.decision)
    if event.code is EventCode.CONNECTION_CLOSED:
        return (*of, event.detail.get("ended"), event.detail.get("attempts") == 0)
    return None
