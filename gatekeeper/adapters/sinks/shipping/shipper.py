"""One remote's thread: a cursor over the local log that sends what is durable there.

Inside holds: nothing is kept in memory but one batch, however long the remote is away; only durable records are sent,
in their order, with none left out; a position is put down only for what the remote has acknowledged, and behind what
may still be lost with a connection. It works in small steps and stands aside between them, so that it takes a fraction
of the interpreter's time also while it makes up for hours.
"""

import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from gatekeeper.adapters.sinks.directory import AuditLogError, first_sequence
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.reader import LineCursor
from gatekeeper.adapters.sinks.shipping.backoff import BackOff
from gatekeeper.adapters.sinks.shipping.channel import PeerFailed, RecordChannel, TooLarge, words
from gatekeeper.adapters.sinks.shipping.position import note_position, read_position
from gatekeeper.adapters.sinks.shipping.settings import RemoteSettings, Start

Told = Callable[[str, Mapping[str, str | int]], object]
"""Hears `lost` or `found`, with the facts for a record. Any thread."""

LOOK_S = 0.2
"""Between two looks whether there is something to send, when nobody waits."""
LOST_AFTER_S = 3.0
"""A remote that fails for so long is on record as lost."""
_NOTED_EVERY_S = 2.0
_CONFIRMED_EVERY = 1024  # records
_SHARE = 4  # at most so small a part of the time is spent sending while nobody waits
_LONGEST_REST_S = 0.05
_LEAST_BACK_OFF_S, _MOST_BACK_OFF_S = 0.25, 15.0


class Lines(Protocol):
    """A log, read on from some record."""

    def take(self, count: int) -> list[bytes]:
        """The next `count` lines, with their newlines; all or none. Raises AuditLogError."""
        ...


class Shipper:
    """Sends to one remote; `run` is the thread, everything public may be asked from any."""

    def __init__(  # noqa: PLR0913  a log, a peer, and what it needs from outside
        self,
        settings: RemoteSettings,
        channel: RecordChannel,
        *,
        directory: Path | None,
        origin: str,
        durable: Callable[[], int],
        lines: Callable[[int], Lines] | None = None,
        current_within_s: float,
        advanced: Callable[[], object],
        tell: Told,
        monotonic: Callable[[], float],
        chance: Callable[[], float],
        files: FileOperations | None = None,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        """`durable` says how many records the log has; `advanced` hears of every acknowledgement.

        `lines` gives the log from a record on, for one that lies in no `directory`; then no position is put down.

        Raises:
            AuditLogError: what is known of the remote does not fit the log.
        """
        self.name = settings.name
        self.place = settings.peer.place
        self.fault: str | None = None
        """Why nothing is being sent; None: all is well."""
        self.failures = 0
        self.sent = 0
        """Records, those that were sent again included."""
        self._settings = settings
        self._channel = channel
        self._directory = directory
        self._read_from = lines or _in_directory(directory)
        self._origin = origin
        self._durable = durable
        self._current_within_s = current_within_s
        self._advanced = advanced
        self._tell = tell
        self._monotonic = monotonic
        self._files = files or FileOperations()
        self._lost_after_s = lost_after_s
        # When sessions wait for it, it is tried again within half of the time that they do.
        self._back_off = BackOff(_LEAST_BACK_OFF_S, min(_MOST_BACK_OFF_S, current_within_s / 2), chance)
        self._wake = threading.Event()
        self._is_hurried = False
        self._stopping = threading.Event()
        self._stop_by = 0.0
        position = None if directory is None else read_position(directory, self.name, origin)
        if position is None:
            first = 0 if directory is None else first_sequence(directory)
            position = durable() if settings.start is Start.NOW else first
        if position > durable():
            raise AuditLogError(
                f"remote `{self.name}` has {position} records, but the log in `{directory}` only {durable()}: it was "
                "restored from a backup, and must not be continued (docs/audit.md)"
            )
        self.acknowledged = position
        """Records that the remote has, as far as this way of sending knows."""
        self._settled = position
        """Where it goes on after a lost connection."""
        self._noted = position
        self._next_note = 0.0
        self._unsettled: deque[tuple[float, int]] = deque()
        """When which number of records was acknowledged; in the order of both."""
        self._next = position
        self._lines: Lines | None = None
        self._batch: list[bytes] = []
        """Read, and not sent yet."""
        self._current_at: float | None = None
        """As of when it has everything."""
        self._began = monotonic()
        self._failing_since: float | None = None
        self._is_on_record = False
        """That it was lost."""

    # Any thread.

    @property
    def lag_records(self) -> int:
        """How many durable records it has not acknowledged."""
        return max(self._durable() - self.acknowledged, 0)

    @property
    def lag_s(self) -> float:
        """For how long it has not had everything; since this process began at most."""
        if not self.lag_records:
            return 0.0
        return max(self._monotonic() - (self._began if self._current_at is None else self._current_at), 0.0)

    @property
    def is_up(self) -> bool:
        """Whether the last attempt succeeded."""
        return self._current_at is not None and self.fault is None

    @property
    def is_current(self) -> bool:
        """Whether it has everything, but for what became durable, or fails, since a moment only.

        A receiver that is restarted is no outage: whoever waits for it meanwhile may well be answered in time.
        """
        since = self._failing_since
        is_failing = since is not None and self._monotonic() - since >= self._current_within_s
        return not is_failing and self.lag_s < self._current_within_s

    def hurry(self) -> None:
        """Somebody waits for an acknowledgement."""
        self._is_hurried = True
        self._wake.set()

    def stop(self, by: float) -> None:
        """End `run`, when everything was sent or at that monotonic time."""
        self._stop_by = by
        self._stopping.set()
        self._wake.set()

    # The thread.

    def run(self) -> None:
        """Send until told to stop."""
        while not self._stopping.is_set():
            self._turn_guarded()
        if self._monotonic() < self._stop_by:
            self._turn_guarded()  # what came up last
        self._note(is_last=True)
        self._channel.close()

    def _turn_guarded(self) -> None:
        try:
            is_idle = self._turn()
        except (PeerFailed, AuditLogError, OSError, ssl.SSLError) as error:
            self._fail(error)
            return
        if is_idle and not self._stopping.is_set():
            self._wake.wait(LOOK_S)
            self._wake.clear()

    def _turn(self) -> bool:
        """Send what there is; True: there was nothing."""
        end, began = self._durable(), self._monotonic()
        self._is_hurried = False
        if self._next >= end:
            self._channel.idle()
            self._heard()
            self._current_at = began
            self._settle()
            return True
        while self._next < end:
            self._send_some(min(end, self._next + _CONFIRMED_EVERY))
            self._channel.confirm()
            self._heard()
            self._acknowledge(self._next)
            if self._stopping.is_set() and self._monotonic() > self._stop_by:
                return True
        self._current_at = began
        return False

    def _send_some(self, end: int) -> None:
        """Send up to the record `end`."""
        while self._next < end:
            began = self._monotonic()
            lines = self._batch = self._batch or self._cursor().take(min(self._channel.batch, end - self._next))
            self._channel.send(self._next, lines)
            self._batch = []
            self._next += len(lines)
            self.sent += len(lines)
            if self._next < end and not self._is_hurried and not self._stopping.is_set():
                took = self._monotonic() - began
                self._wake.wait(min(took * (_SHARE - 1), _LONGEST_REST_S))

    def _cursor(self) -> Lines:
        if self._lines is None:
            self._lines = self._read_from(self._next)
        return self._lines

    def _acknowledge(self, records: int) -> None:
        self._unsettled.append((self._monotonic(), records))
        self._settle()
        if records > self.acknowledged:
            self.acknowledged = records
            self._advanced()

    def _settle(self) -> None:
        """What was acknowledged long enough ago is not sent again after a lost connection."""
        long_ago = self._monotonic() - self._settings.resend.total_seconds()
        while self._unsettled and self._unsettled[0][0] <= long_ago:
            self._settled = max(self._settled, self._unsettled.popleft()[1])
        if self._settled != self._noted and self._monotonic() >= self._next_note:
            self._note()

    def _note(self, *, is_last: bool = False) -> None:
        if self._directory is None or (self._settled == self._noted and not is_last):
            return
        self._next_note = self._monotonic() + _NOTED_EVERY_S
        try:
            note_position(self._directory, self.name, self._origin, self._settled, self._files)
        except OSError:
            return  # tried again later; what is lost of it is sent again
        self._noted = self._settled

    def _heard(self) -> None:
        """The remote does what it should."""
        self.fault = None
        self._back_off.reset()
        since, self._failing_since = self._failing_since, None
        if self._is_on_record and since is not None:
            self._is_on_record = False
            self._tell("found", {"remote": self.name, "seconds": int(self._monotonic() - since)})

    def _fail(self, error: Exception) -> None:
        """Begin anew from what is settled, after a while."""
        self.failures += 1
        self.fault = words(error)
        self._channel.close()
        self._unsettled.clear()
        if self._next != self._settled or isinstance(error, TooLarge | AuditLogError):
            # Else what could not be sent is tried again as it is: looking for it in a segment takes some time.
            self._next, self._lines, self._batch = self._settled, None, []
        now = self._monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if not self._is_on_record and now - self._failing_since >= self._lost_after_s:
            self._is_on_record = True
            self._tell("lost", {"remote": self.name, "reason": self.fault, "behind_n": self.lag_records})
        wait_s = self._back_off.next()
        if isinstance(error, TooLarge):
            wait_s = 0.0
        elif isinstance(error, PeerFailed):
            wait_s = max(wait_s, error.wait_s)
        # Whoever hurries: a peer that is down is not asked more often because many want something.
        self._stopping.wait(wait_s)


def _in_directory(directory: Path | None) -> Callable[[int], Lines]:
    if directory is None:
        raise ValueError("a log that lies in no directory must say how it is read")
    return lambda sequence: LineCursor(directory, sequence)
