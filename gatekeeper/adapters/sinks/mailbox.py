"""What one thread gives another to do: the event loop's lines on their way to the audit log's writer.

A `queue.SimpleQueue` wakes its reader while the sender holds the interpreter: the reader wants it at once, does not get
it, and sleeps again. Here the sender lets go of the interpreter in the very call that wakes.

What holds inside: order is the order of the calls; one thread puts, one takes; `put` never blocks.
"""

import os
import select
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Mailbox(Generic[_T]):
    """A queue between two threads. Its descriptor is closed by `close`, when neither uses it any more."""

    def __init__(self) -> None:
        self._items: deque[_T] = deque()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Iterable[_T]) -> None:
        """Add them, and wake the taker once for all; without effect on one that is closed."""
        if self._fd >= 0:
            self._items.extend(items)
            os.eventfd_write(self._fd, 1)

    def take(self, most: int, timeout_s: float | None) -> list[_T]:
        """What is there, up to `most`; when nothing is, wait, at most so many seconds (None: for ever)."""
        items = self._items
        if not items and self._poll.poll(None if timeout_s is None else timeout_s * 1000):
            os.eventfd_read(self._fd)
        return [items.popleft() for _ in range(min(len(items), most))]

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
