"""How long records are kept: what may be pruned, and what a legal hold keeps.

Only whole closed segments go, only from the beginning of a log, and none after the first that has to stay: what is
left is always the end of the log, without a gap. A hold keeps every segment that has a record of its time in it.

Inside holds: pure functions of what is given; times are milliseconds since 1970.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from gatekeeper.audit.report import Head

MAX_HOLDS = 1000
_MAX_TEXT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Somebody needs the records of a time: they are not pruned before it is released."""

    id: str
    reason: str
    case: str
    by: str
    """The account of the machine that placed it."""
    placed_ms: int
    since_ms: int | None
    """None: from the beginning."""
    until_ms: int | None
    """None: without end."""

    def covers(self, first_ms: int, last_ms: int) -> bool:
        """Whether any instant from `first_ms` to `last_ms` is held."""
        begins = self.since_ms is None or self.since_ms <= last_ms
        return begins and (self.until_ms is None or first_ms <= self.until_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A closed segment."""

    name: str
    """Of its file."""
    octets: int
    first: int
    """Number of its first record."""
    last: Head
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prunable:
    """What may go of one log."""

    spans: tuple[Span, ...]
    """From the beginning of the log."""
    held_by: tuple[Hold, ...] = ()
    """Why the next one, though old enough, stays."""
    is_unsigned: bool = False
    """The next one, though old enough, stays because the signed head still needs it."""

    @property
    def first_kept(self) -> int | None:
        """Number of the record that the log then begins with; None: nothing goes."""
        return self.spans[-1].last.sequence + 1 if self.spans else None


def prunable(closed: Sequence[Span], *, before_ms: int, holds: Sequence[Hold], needed_from: int) -> Prunable:
    """What may go.

    Args:
        closed: the closed segments, in order.
        before_ms: whatever ended before is old enough.
        holds: those in force.
        needed_from: number of the first record that has to stay for the signed head to be continued.
    """
    gone: list[Span] = []
    for span in closed:
        if span.last_ms >= before_ms:
            break
        held_by = tuple(hold for hold in holds if hold.covers(span.first_ms, span.last_ms))
        if held_by:
            return Prunable(spans=tuple(gone), held_by=held_by)
        if span.last.sequence >= needed_from:
            return Prunable(spans=tuple(gone), is_unsigned=True)
        gone.append(span)
    return Prunable(spans=tuple(gone))


def dump_holds(holds: Iterable[Hold]) -> bytes:
    """The holds as a file."""
    return json.dumps({"v": 1, "holds": [asdict(hold) for hold in holds]}, indent=1).encode() + b"\n"


def parse_holds(data: bytes) -> tuple[Hold, ...]:
    """The holds in a file. Raises ValueError for any other content: what is not understood must not unlock anything."""
    try:
        document = json.loads(data)
        return tuple(_hold(entry) for entry in document["holds"])
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError("no list of legal holds") from error


def _hold(entry: dict[str, object]) -> Hold:
    texts = {name: entry[name] for name in ("id", "reason", "case", "by")}
    times = {name: entry[name] for name in ("placed_ms", "since_ms", "until_ms")}
    if any(not isinstance(text, str) or len(text) > _MAX_TEXT for text in texts.values()):
        raise ValueError("a legal hold has a text that is none, or is too long")
    if any(time is not None and type(time) is not int for time in times.values()) or times["placed_ms"] is None:
        raise ValueError("a legal hold has a time that is none")
    return Hold(**texts, **times)  # type: ignore[arg-type]  # looked at above
