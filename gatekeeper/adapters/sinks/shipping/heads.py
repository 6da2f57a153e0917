"""Copies of the signed head, elsewhere within seconds: whoever rewrites the log on this machine is found by them.

Inside holds: a place is given heads of a log that only grows, each at most once in a row; only the newest matters, so
nothing is queued. A place that fails is tried again for ever, and never stands in the way of the log.
"""

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.shipping.backoff import BackOff
from gatekeeper.adapters.sinks.shipping.channel import PeerFailed, Refused, words
from gatekeeper.adapters.sinks.shipping.shipper import LOST_AFTER_S, Told
from gatekeeper.adapters.sinks.tiles import read_checkpoint_file
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.signing.note import NoteError

LOOK_S = 0.5
_BACK_OFF_S = (1.0, 30.0)
_TRIES_AT_THE_END = 2
"""The first may only find out that the connection is gone, which was last used before the place was started again."""


class Place(Protocol):
    """Somewhere a head is kept. Used by one thread; raises PeerFailed, AuditLogError or OSError."""

    def keep(self, note: bytes, head: Checkpoint) -> None:
        """Keep this head; returns once it is there."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class HeadCopier:
    """Of one log and one place; `run` is the thread, everything public may be asked from any."""

    def __init__(  # noqa: PLR0913  a log, a place, and what it needs from outside
        self,
        name: str,
        place: Place,
        *,
        where: str,
        directory: Path,
        signed: Callable[[], int],
        tell: Told,
        monotonic: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """`signed` says how many records are under the newest head; `tell` as in `Shipper`, and of refusals."""
        self.name = name
        self.where = where
        self.fault: str | None = None
        self.failures = 0
        self.copied = 0
        """Records under the last head that arrived."""
        self.is_refused = False
        """The witness says that the log was forked or cut."""
        self._tell = tell
        self._place = place
        self._directory = directory
        self._signed = signed
        self._monotonic = monotonic
        self._back_off = BackOff(*_BACK_OFF_S, chance)
        self._stopping = threading.Event()
        self._stop_by = 0.0
        self._failing_since: float | None = None
        self._is_on_record = False

    @property
    def is_up(self) -> bool:
        """Whether the last attempt succeeded."""
        return self.fault is None

    def stop(self, by: float) -> None:
        """End `run`, with the last head copied, or at that monotonic time."""
        self._stop_by = by
        self._stopping.set()

    def run(self) -> None:
        """Copy until told to stop."""
        while not self._stopping.is_set():
            self._stopping.wait(self._look())
        for _ in range(_TRIES_AT_THE_END):
            if self._monotonic() < self._stop_by and self._signed() > self.copied:
                self._look()
        self._place.close()

    def _look(self) -> float:
        """Copy what is new; returns the seconds until it is worthwhile to look again."""
        if self._signed() <= self.copied:
            return LOOK_S
        try:
            note = read_checkpoint_file(self._directory)
            if note is None:
                return LOOK_S
            head, _ = read_checkpoint(note)
            self._place.keep(note, head)
        except (PeerFailed, AuditLogError, NoteError, OSError, ssl.SSLError) as error:
            self._failed(words(error))
            if isinstance(error, Refused) and not self.is_refused:
                self.is_refused = True
                self._tell("refused", {"witness": self.name, "reason": words(error)})
            return max(self._back_off.next(), error.wait_s if isinstance(error, PeerFailed) else 0.0)
        self.copied, self.fault, self.is_refused = head.size, None, False
        self._back_off.reset()
        since, self._failing_since = self._failing_since, None
        if self._is_on_record and since is not None:
            self._is_on_record = False
            self._tell("found", {"remote": self.name, "seconds": int(self._monotonic() - since)})
        return LOOK_S

    def _failed(self, reason: str) -> None:
        self.failures += 1
        self.fault = reason
        self._place.close()
        now = self._monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if not self._is_on_record and now - self._failing_since >= LOST_AFTER_S:
            self._is_on_record = True
            behind = self._signed() - self.copied
            self._tell("lost", {"remote": self.name, "reason": reason, "behind_n": behind})
