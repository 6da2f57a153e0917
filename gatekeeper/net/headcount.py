"""How many connections the other workers have, in all and from one source: counts in memory that all of them share.

What holds inside:

* A worker writes its own counts and reads those of the others, so there is no lock that a dead or stopped process could
  hold; a count may be a moment old.
* A source has a cell in each of three rows, found by a keyed digest; what another source has in the same cell is
  counted with it, and the lowest of the three counts. So a count is never too low, and hardly ever too high (a
  count-min sketch; Cormode and Muthukrishnan, 2005). The key is random: nobody can choose sources that share cells.
* Memory is bounded: 96 KiB for each worker, whatever comes.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2s
from mmap import mmap
from struct import Struct

_ROWS = 3
_CELLS = 4096
_WAITING, _SETTLED = 0, 1
_ALL, _ALL_SETTLED = 0, 1
_HEAD = 2
_SIZE = _HEAD + _ROWS * _CELLS * 2
_DIGEST = Struct("=3I")


@dataclass(frozen=True, slots=True)
class Counted:
    """Connections."""

    waiting: int
    settled: int


class Headcount:
    """The memory, made before the workers are forked."""

    def __init__(self, workers: int) -> None:
        self._cells = memoryview(mmap(-1, workers * _SIZE * 4)).cast("I")
        self._workers = range(1, workers + 1)
        self._key = secrets.token_bytes(16)

    def share(self, number: int) -> "Share":
        """What worker `number` writes and reads, counted from 1."""
        own = (number - 1) * _SIZE
        others = [(other - 1) * _SIZE for other in self._workers if other != number]
        return Share(self._cells, own, others, self._key)

    def read(self, number: int) -> Counted:
        """What a worker has in all."""
        begin = (number - 1) * _SIZE
        settled = self._cells[begin + _ALL_SETTLED]
        return Counted(self._cells[begin + _ALL] - settled, settled)

    def clear(self, number: int) -> None:
        """A worker is gone, and its connections with it."""
        begin = (number - 1) * _SIZE
        self._cells[begin : begin + _SIZE] = memoryview(bytes(_SIZE * 4)).cast("I")


class Share:
    """One worker's."""

    __slots__ = ("_cells", "_key", "_others", "_own")

    def __init__(self, cells: memoryview, own: int, others: Iterable[int], key: bytes) -> None:
        self._cells = cells
        self._own = own
        self._others = tuple(others)
        self._key = key

    def elsewhere(self) -> int:
        """The connections of all other workers."""
        cells = self._cells
        return sum(int(cells[begin + _ALL]) for begin in self._others)

    def elsewhere_from(self, source: str) -> Counted:
        """Those from one source; at least."""
        cells = self._cells
        sums = [
            (
                sum(int(cells[begin + at + _WAITING]) for begin in self._others),
                sum(int(cells[begin + at + _SETTLED]) for begin in self._others),
            )
            for at in self._places(source)
        ]
        return Counted(min(waiting for waiting, _ in sums), min(settled for _, settled in sums))

    def change(self, source: str, *, waiting: int = 0, settled: int = 0) -> None:
        """Count own connections that came, went or settled."""
        cells, own = self._cells, self._own
        cells[own + _ALL] += waiting + settled
        cells[own + _ALL_SETTLED] += settled
        if source:
            for at in self._places(source):
                cells[own + at + _WAITING] += waiting
                cells[own + at + _SETTLED] += settled

    def _places(self, source: str) -> list[int]:
        digest = _DIGEST.unpack(blake2s(source.encode(), key=self._key, digest_size=12).digest())
        return [_HEAD + 2 * (row * _CELLS + found % _CELLS) for row, found in enumerate(digest)]
