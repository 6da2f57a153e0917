"""The reading side of the audit log: segments, lines, the last lines, and following a log that grows.

Inside holds: memory is bounded whatever the files contain (a line longer than a record may be comes in pieces); only
lines that end in a newline are handed to people; nothing is written and no lock is taken, so that reading never
disturbs the writer.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gatekeeper.adapters.sinks import content
from gatekeeper.adapters.sinks.directory import AuditLogDamaged, began, segment_paths
from gatekeeper.audit.chain import MAX_PIECE

_CLOCK_STEP = timedelta(minutes=10)  # how far the clock may have been set back within the log for `since` to be right


@dataclass(frozen=True, slots=True)
class Position:
    """How far somebody has read."""

    segment: str = ""
    """File name; empty: nothing was read yet."""
    offset: int = 0


def pieces(segment: Path, *, end: int | None = None) -> Iterator[bytes]:
    """The lines of a segment with their newlines, overlong ones in pieces, up to offset `end`."""
    with content.opened(segment) as lines:
        remaining = lines.size if end is None else end
        while piece := lines.readline(min(MAX_PIECE, remaining)):
            remaining -= len(piece)
            yield piece


class LineCursor:
    """Takes lines one after the other, from some record on; who takes them knows that they are there."""

    def __init__(self, directory: Path, sequence: int) -> None:
        self._directory = directory
        self._sequence = sequence
        """Of the next line."""
        self._place: tuple[Path, int] | None = None
        """Segment and offset of the next line, once it was looked for."""

    def take(self, count: int) -> list[bytes]:
        """The next `count` lines, with their newlines; all or none.

        Raises:
            AuditLogDamaged: they are not there.
        """
        found: list[bytes] = []
        place = self._place or self._find(self._sequence)
        while True:
            segment, offset = place
            with content.opened(segment) as lines:
                lines.seek(offset)
                while len(found) < count and (line := lines.readline(MAX_PIECE)).endswith(b"\n"):
                    found.append(line)
                    offset += len(line)
            if len(found) == count:
                break
            place = self._find(self._sequence + len(found))
            if place[0] == segment:
                raise AuditLogDamaged(f"record {self._sequence + len(found)} is not in the segments")
        self._sequence += count
        self._place = (segment, offset)
        return found

    def _find(self, sequence: int) -> tuple[Path, int]:
        """The last segment that begins with the record or before it, and the record's offset if it is there."""
        before = [path for path in segment_paths(self._directory) if int(path.name[:20]) <= sequence]
        if not before:
            raise AuditLogDamaged(f"record {sequence} is not in the segments")
        with content.opened(before[-1]) as lines:
            for _ in range(sequence - int(before[-1].name[:20])):
                if not lines.readline(MAX_PIECE):
                    break
            return before[-1], lines.tell()


def all_pieces(directory: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Every segment by name with its lines, as `audit.chain.verify` takes them."""
    for segment in segment_paths(directory):
        yield segment.name, pieces(segment)


def lines(directory: Path, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[bytes]:
    """The complete lines in order; segments that lie wholly before `since` or after `until` are left out."""
    for segment in segments_between(segment_paths(directory), since, until):
        yield from complete(pieces(segment))


def last_lines(directory: Path, count: int) -> tuple[list[bytes], Position]:
    """The last `count` complete lines, and the position after them."""
    found: list[bytes] = []
    position = Position()
    for segment in reversed(segment_paths(directory)):
        tail: deque[bytes] = deque(maxlen=max(count - len(found), 0))
        offset = 0
        for piece in pieces(segment):
            if piece.endswith(b"\n"):
                offset += len(piece)
                tail.append(piece)
        if not position.segment:
            position = Position(segment.name, offset)
        found = [*tail, *found]
        if len(found) >= count:
            break
    return found, position


def last_line(segment: Path) -> bytes | None:
    """The last line of a segment with its newline, if it has one; None when the segment is empty."""
    return ending(segment)[1]


def ending(segment: Path) -> tuple[int, bytes | None]:
    """How many octets of lines a segment has, and the last line as `last_line` gives it."""
    with content.opened(segment) as lines:
        size = lines.size
        lines.seek(max(size - MAX_PIECE, 0))
        tail = lines.read(min(MAX_PIECE, size))
    return size, tail[tail.rfind(b"\n", 0, -1) + 1 :] or None


def follow(directory: Path, position: Position, wait: Callable[[], None]) -> Iterator[bytes]:
    """The complete lines after `position`, without end; `wait` is called whenever there is nothing more to read."""
    while True:
        position = yield from news(directory, position)
        wait()


def news(directory: Path, position: Position) -> Generator[bytes, None, Position]:
    """The complete lines after `position` that are there now; returns the position after them."""
    while True:
        # The list is taken before the segment is read: a segment that has a successor is not written to any more.
        names = [path.name for path in segment_paths(directory)]
        later = [name for name in names if name > position.segment]
        if position.segment in names:
            offset = position.offset
            for line in complete(_pieces_from(directory / "segments" / position.segment, offset)):
                offset += len(line)
                yield line
            position = Position(position.segment, offset)
        if not later:
            return position
        position = Position(later[0])


def _pieces_from(segment: Path, offset: int) -> Iterator[bytes]:
    with content.opened(segment) as lines:
        lines.seek(offset)
        while piece := lines.readline(MAX_PIECE):
            yield piece


def complete(lines_and_pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The lines without what has no newline: a write that is under way, or pieces of a line that is no record."""
    return (piece for piece in lines_and_pieces if piece.endswith(b"\n"))


def segments_between(segments: list[Path], since: datetime | None, until: datetime | None) -> list[Path]:
    """Without those that lie wholly before `since` or after `until`, by their names."""
    first = 0
    if since is not None:
        first = max((i for i, path in enumerate(segments) if began(path) <= since - _CLOCK_STEP), default=0)
    return [path for path in segments[first:] if until is None or began(path) <= until + _CLOCK_STEP]
