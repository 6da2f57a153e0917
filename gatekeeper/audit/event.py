"""The typed events that are recorded, before they become lines.

Codes are stable and never reused. A code ends in I (fine), W (refusal by policy, or alarm) or E (a fault of ours).
Every accepted connection ends in exactly one *terminal* event, of its own or counted in one that stands for several.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from gatekeeper.domain.decision import Decision
from gatekeeper.domain.request import Connection


class EventCode(StrEnum):
    """What happened."""

    SESSION_ALLOWED = "GK1001I"
    BLOCKED_APP = "GK1002W"
    BLOCKED_STALE = "GK1003W"
    BLOCKED_UNKNOWN_DEVICE = "GK1004W"
    SESSION_WARNED = "GK1005I"
    WOULD_BLOCK = "GK1006I"
    GATE_FAULT = "GK1007E"
    BLOCKED_INSUFFICIENT = "GK1008W"
    BLOCKED_INVALID = "GK1009W"
    CREDENTIALS_REFUSED = "GK1011W"
    """The mail server refused the credentials, or they could not be put into a canonical form."""
    PASSWORD_EXPOSED = "GK1012W"  # noqa: S105  an event code
    """A client sent credentials before TLS; they were not used."""
    BLOCKED_DEVICE = "GK1013W"
    SESSION_REVOKED = "GK1101W"
    SESSION_ENDED = "GK1102I"
    CONNECTION_CLOSED = "GK1104I"
    """A connection ended without ever having become a session."""
    BREAK_GLASS = "GK3020W"
    BREAK_GLASS_REFUSED = "GK3021W"
    CONFIGURATION_LOADED = "GK3030I"
    CONFIGURATION_REJECTED = "GK3031W"
    DIRECTORY_SILENT = "GK3040W"
    DIRECTORY_ANSWERS = "GK3041I"
    GROUPS_EXPIRED = "GK3042W"
    POLICY_PUBLISHED = "GK3001I"
    POLICY_ACTIVATED = "GK3002I"
    POLICY_ROLLED_BACK = "GK3003I"
    POLICY_REJECTED = "GK3004W"
    POLICY_FORCED = "GK3005W"
    CANARY_WIDENED = "GK3006I"
    CANARY_HALTED = "GK3007W"
    DEVICE_DENIED = "GK4001I"
    DEVICE_CLEAN = "GK4002I"
    EVIDENCE_ACCEPTED = "GK4010I"
    EVIDENCE_REJECTED = "GK4011W"
    INVENTORY_IMPORTED = "GK4012I"
    INVENTORY_REJECTED = "GK4013W"
    DEVICE_FORGOTTEN = "GK4014I"
    AUDIT_EXPORTED = "GK5001I"
    """Records of the log were shown to somebody, or taken out."""
    IDENTITY_RESOLVED = "GK5002I"
    """Somebody was told whose a pseudonym is."""
    IDENTITY_ERASED = "GK5003I"
    """The names of somebody's pseudonyms were removed for good."""
    QUARTER_DESTROYED = "GK5004I"
    HOLD_PLACED = "GK5010I"
    HOLD_RELEASED = "GK5011I"
    LOG_OPENED = "GK9001I"
    LOG_HEARTBEAT = "GK9002I"
    LOG_CLOSED = "GK9003I"
    TAIL_RECOVERED = "GK9004W"
    CLOCK_STEPPED = "GK9005W"
    LOG_INTERRUPTED = "GK9006W"
    """For a while no record became durable, and nobody new was let in."""
    LOG_PRUNED = "GK9011I"
    """Whole segments older than the retention were removed; their hashes stay."""
    LOG_SUCCEEDS = "GK9007W"
    """This log was begun because the one before lies behind what it signed."""
    REMOTE_LOST = "GK9030W"
    """A remote has not taken records for a while; they wait in the log."""
    REMOTE_FOUND = "GK9031I"
    DIRECT_LOG = "GK9032W"
    """For a while records went to remotes only."""
    KEY_CHANGED = "GK9012I"
    """From here on other keys sign the log."""
    WITNESS_REFUSED = "GK9013W"
    """A witness does not take the log for the one that it cosigned before."""
    WORKER_DIED = "GK9010E"
    """One of several processes ended by itself or was killed; its connections have no records of their ends."""


TERMINAL = frozenset({EventCode.SESSION_REVOKED, EventCode.SESSION_ENDED, EventCode.CONNECTION_CLOSED})
"""Connections accepted = sum of `count` over the events with one of these codes."""

_NOTHING: Mapping[str, str | int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing to record; `audit.record.encode` makes a line of it."""

    code: EventCode
    time: datetime
    """Aware UTC."""
    connection: Connection | None = None
    account: str | None = None
    mechanism: str | None = None
    """SASL mechanism, or `LOGIN` for IMAP's command."""
    decision: Decision | None = None
    message: str = ""
    """One line for people; no outside text in it that was not cleaned."""
    count: int = 1
    """For how many events alike this stands."""
    detail: Mapping[str, str | int] = field(default_factory=lambda: _NOTHING)
    """Further facts, flat, under `unmapped.gatekeeper`: never credentials, message content or app lists."""
    start_time: datetime | None = None
    """Of a counted event: when the first of them happened; `time` is when the last did."""
