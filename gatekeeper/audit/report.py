"""What a verification of the log found: places, findings, and the figures an auditor asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Unreadable(Exception):
    """What a segment holds cannot be read any further; the text says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """A record by number and content: where a log ended, or where reading starts."""

    sequence: int
    sha256: str
    """Lower-case hex of the SHA-256 of the line without its newline."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line stands."""

    segment: str
    line: int
    """From 1."""
    offset: int
    """Octets before the line in its segment."""
    sequence: int | None = None
    """What the record says of itself; None when it cannot be read."""

    def __str__(self) -> str:
        number = "" if self.sequence is None else f" (sequence {self.sequence})"
        return f"{self.segment} line {self.line}, offset {self.offset}{number}"


class Kind(StrEnum):
    """What can be wrong with a log."""

    UNREADABLE = "unreadable"
    """The line is no record (any more)."""
    OVERLONG = "overlong"
    DAMAGED = "damaged"
    """A compressed segment is not as it was compressed, so that its lines cannot be read from there on."""
    CHANGED = "changed"
    """The line is not the one that the next record was chained to."""
    RENUMBERED = "renumbered"
    """The record is chained to the one before but its sequence number is not the next one."""
    MISSING = "missing"
    """One or more records were dropped before this one."""
    REORDERED = "reordered"
    """The record stands after one that it belongs before, or the other way round."""
    DUPLICATE = "duplicate"
    """The sequence number was there before: a copy or an insertion."""
    TRUNCATED = "truncated"
    """The log ends before the head that was recorded."""
    REWRITTEN = "rewritten"
    """The chain holds, but the record that was recorded as head is another one."""
    FOREIGN = "foreign"
    """The record belongs to another log."""
    FORGED = "forged"
    """The signed head is not as its key signed it."""
    TILE = "tile"
    """A tile of the Merkle tree is not that of the records."""
    MISNAMED = "misnamed"
    """The segment's file name does not carry the number of its first record."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where."""

    kind: Kind
    place: Place | None
    """None: the log has no line to point at."""
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}" + ("" if self.place is None else f" at {self.place}")


@dataclass(frozen=True, slots=True)
class TornTail:
    """Octets after the last newline: a write that was cut short, or that is under way."""

    place: Place
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a record says of records that were removed because they were older than the retention."""

    first_kept: int
    by: int
    """Number of the record that says so."""
    last_sha256: str
    """SHA-256 (hex) of the last line that was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of one verification."""

    log: str | None
    """Origin of the first record; None: the log is empty."""
    entries: int
    segments: int
    pruned: Pruned | None
    """Set when the log does not begin with record 0, and a record tells of pruning."""
    first_sequence: int | None
    last: Head | None
    last_place: Place | None
    last_line: int
    """Lines of the last segment."""
    first_time_ms: int | None
    last_time_ms: int | None
    max_back_step_ms: int
    """The largest step of the clock backwards; not a fault of the log by itself. Records of many do not count: they are
    written after their time."""
    back_steps: int
    openings: int
    """How often a process opened the log."""
    unclean: int
    """How often it was opened again without having been closed: crashes."""
    is_closed: bool
    """Whether the last record says that the log was closed."""
    recovered: tuple[Place, ...]
    """Records that tell of a tail that was cut off."""
    words: Mapping[str, int]
    """Records by what they mean."""
    policies: tuple[str, ...]
    """The policies decided by, in order of appearance."""
    torn: TornTail | None
    findings: tuple[Finding, ...]
    """The first ones, in the order of the log."""
    findings_total: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found; says nothing about a tail cut beyond the last recorded head."""
        return not self.findings_total
