"""Looking for records in all logs of an audit directory, by its index where that helps.

Inside holds: whatever the index says, only lines of the log that fit are handed out; without an index the same lines
are found, only later.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gatekeeper.adapters.sinks import content
from gatekeeper.adapters.sinks.directory import segment_paths
from gatekeeper.adapters.sinks.index import Indexed, IndexUnusable, LogIndex
from gatekeeper.adapters.sinks.reader import Position, complete, pieces, segments_between
from gatekeeper.adapters.sinks.several import log_directories, merged
from gatekeeper.audit.chain import MAX_PIECE
from gatekeeper.audit.stored import read
from gatekeeper.audit.wanted import Wanted

NO_RECORD = "a line is no record; `gatekeeper audit verify` says where"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Search:
    """One search, or several for the same."""

    def __init__(
        self, directory: Path, wanted: Wanted, complain: Callable[[str], None], index: LogIndex | None = None
    ) -> None:
        """Prepare it.

        Args:
            directory: the audit directory.
            wanted: what to find.
            complain: told in a sentence of lines that are no records, and of an index that cannot be used.
            index: of that directory; None: the log itself is read through.
        """
        self._directory, self._wanted, self._complain = directory, wanted, complain
        self._index = index

    def all(self) -> Iterator[bytes]:
        """The lines that fit, oldest first."""
        logs = log_directories(self._directory)
        found = [self._in_log(log) for log in logs]
        return merged(found) if len(found) > 1 else found[0]

    def last(self, count: int, positions: dict[Path, Position]) -> list[bytes]:
        """The last `count` lines that fit and stand before those positions, oldest first."""
        found = list(merged([self._last_in_log(log, position, count) for log, position in positions.items()]))
        return found[max(len(found) - count, 0) :]

    def fitting(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Those of `lines` that fit."""
        needles = self._wanted.needles
        for line in lines:
            if not all(any(needle in line for needle in group) for group in needles):
                continue
            try:
                record = read(line)
            except ValueError:
                self._complain(NO_RECORD)
                continue
            if self._wanted.fits(record):
                yield line

    def _in_log(self, log: Path) -> Iterator[bytes]:
        segments = segment_paths(log)
        for segment in segments_between(segments, self._wanted.since, self._wanted.until):
            yield from self._in_segment(segment, is_closed=segment != segments[-1])

    def _last_in_log(self, log: Path, position: Position, count: int) -> list[bytes]:
        found: list[bytes] = []
        segments = [path for path in segment_paths(log) if path.name <= position.segment]
        for segment in reversed(segments_between(segments, self._wanted.since, self._wanted.until)):
            if len(found) >= count:
                break
            if segment.name == position.segment:
                lines = self.fitting(complete(pieces(segment, end=position.offset)))
            else:
                lines = self._in_segment(segment, is_closed=True)
            found = [*lines, *found]
        return found[max(len(found) - count, 0) :]

    def _in_segment(self, segment: Path, *, is_closed: bool) -> Iterator[bytes]:
        offsets = self._offsets(segment) if is_closed else None
        if offsets is None:
            return self.fitting(complete(pieces(segment)))
        return self.fitting(_at(segment, offsets))

    def _offsets(self, segment: Path) -> list[int] | None:
        """Where to look in a closed segment; None: everywhere."""
        if self._index is None or not self._wanted.is_indexed:
            return None
        try:
            indexed = self._index.segment(segment)
            if indexed.faults:
                self._complain(NO_RECORD)
            return [] if self._is_outside(indexed) else self._index.offsets(indexed, self._wanted)
        except IndexUnusable as error:
            self._complain(f"{error}; the log itself is read, which takes longer")
            self._index = None
            return None

    def _is_outside(self, indexed: Indexed) -> bool:
        since, until = self._wanted.since, self._wanted.until
        too_old = since is not None and indexed.last_ms < (since - _EPOCH) // _MILLISECOND
        return too_old or (until is not None and indexed.first_ms > (until - _EPOCH) // _MILLISECOND)


def _at(segment: Path, offsets: list[int]) -> Iterator[bytes]:
    """The lines that begin at these offsets."""
    if not offsets:
        return
    with content.opened(segment) as lines:
        for offset in offsets:
            lines.seek(offset)
            yield lines.readline(MAX_PIECE)
