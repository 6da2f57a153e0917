"""What open sessions meet while the audit log cannot be written (`audit.existing`), and the record of it afterwards.

Nobody new is let in then whatever is chosen: that is the gate's business. Sessions that are open were let in on a
record that is durable.

What holds inside: a session that ends meanwhile has its terminal record, late; when the log is back, one record says
from when it could not be written, why, and what became of the sessions.
"""

import math
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import structlog

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.net.relay import Ended, Relay, Relayed
from gatekeeper.ports.audit import AuditLog
from gatekeeper.ports.clock import Clock

_log = structlog.get_logger("gatekeeper.audit")

TICK_S = 0.25
LEAST_ENDED_A_TICK = 16


class Existing(StrEnum):
    """What open sessions do."""

    KEEP = "keep"
    """They go on."""
    DRAIN = "drain"
    """They are ended when they are quiet, within the drain's time."""
    DROP = "drop"
    """They are cut at once."""


class Faulty(AuditLog, Protocol):
    """A log that says why it cannot be written."""

    @property
    def fault(self) -> str | None:
        """For operators; None when it can."""
        ...


def share(sessions: int, window_s: float) -> int:
    """How many to end at each tick, so that all are ended, and their phones back, spread over most of the window."""
    turns = max(1, int(window_s * 0.8 / TICK_S))
    return max(LEAST_ENDED_A_TICK, math.ceil(sessions / turns))


class Outage:
    """Looks, at every tick, whether the log can be written."""

    def __init__(
        self, *, audit: Faulty, relay: Relay, clock: Clock, monotonic: Callable[[], float], existing: Existing
    ) -> None:
        self._audit = audit
        self._relay = relay
        self._clock = clock
        self._monotonic = monotonic
        self._existing = existing
        self._under_way: _UnderWay | None = None

    def tick(self, drain_timeout_s: float) -> None:
        """Called about every quarter of a second."""
        if self._audit.writable:
            if self._under_way is not None:
                self._over(self._under_way)
            return
        if self._under_way is None:
            self._under_way = self._begun(drain_timeout_s)
        outage = self._under_way
        if self._existing is Existing.DROP:
            for session in self._relay.sessions():
                self._end(outage, session)
        elif self._existing is Existing.DRAIN:
            self._drain(outage)

    def _begun(self, drain_timeout_s: float) -> "_UnderWay":
        reason, sessions = self._audit.fault or "cannot be written", len(self._relay)
        _log.error("audit.outage", reason=reason, existing=self._existing.value, sessions=sessions)
        return _UnderWay(
            since=self._clock.now(),
            began=self._monotonic(),
            reason=reason,
            sessions=sessions,
            deadline=self._monotonic() + drain_timeout_s,
            share=share(sessions, drain_timeout_s),
        )

    def _over(self, outage: "_UnderWay") -> None:
        self._under_way = None
        seconds = int(self._monotonic() - outage.began)
        _log.warning("audit.back", seconds=seconds, ended=outage.ended)
        detail: dict[str, str | int] = {
            "interrupted_since": outage.since.isoformat(timespec="milliseconds"),
            "seconds": seconds,
            "reason": outage.reason,
            "existing": self._existing.value,
            "sessions_n": outage.sessions,
            "ended_n": outage.ended,
        }
        self._audit.append(Event(code=EventCode.LOG_INTERRUPTED, time=self._clock.now(), detail=detail))

    def _drain(self, outage: "_UnderWay") -> None:
        """End what is quiet, some at a time; at the deadline the rest."""
        sessions = self._relay.sessions()
        if self._monotonic() >= outage.deadline:
            for session in sessions:
                self._end(outage, session)
            return
        before, outage.octets = outage.octets, {session: _octets(session) for session in sessions}
        quiet = [session for session in sessions if before.get(session) == outage.octets[session]]
        for session in quiet[: outage.share]:
            self._end(outage, session, politely=True)

    def _end(self, outage: "_UnderWay", session: Relayed, *, politely: bool = False) -> None:
        outage.ended += 1
        if politely:
            session.drain(Ended.AUDIT_LOST)
        else:
            session.end(Ended.AUDIT_LOST)


class _UnderWay:
    """One time that the log cannot be written."""

    def __init__(
        self, *, since: datetime, began: float, reason: str, sessions: int, deadline: float, share: int
    ) -> None:
        self.since = since
        self.began = began
        self.reason = reason
        self.sessions = sessions
        self.deadline = deadline
        self.share = share
        self.ended = 0
        self.octets: dict[Relayed, int] = {}
        """What each had moved at the last look."""


def _octets(session: Relayed) -> int:
    return session.octets_up + session.octets_down
