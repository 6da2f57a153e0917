"""One epoll for everything: the event loop's selector with a direct lane for connections.

asyncio pays for every readable socket with a handle, a queue entry and a trip through its ready list. Connections
registered here are served straight from `select()`, before asyncio sees anything, so an idle session costs two small
objects and a busy one no asyncio at all. asyncio's own descriptors live in a second epoll that is nested in ours, so
that timers, threads and every asyncio library work unchanged.

What holds inside:

* A watched object's `ready(mask)` never blocks and uses at most its own budget of work a turn.
* One that returns True is at full stream. It moves to the *busy lane*, of which one object is served a turn:
  interactive sessions stay quick beside it.
* Turn follows turn without asyncio until something of asyncio's is due: a descriptor, a timer, or a callback, which
  whoever schedules one out of `ready` announces with `wake`.
* An exception out of `ready` is a fault of that connection only: `failed(error)` is called and the loop goes on.
"""

import math
import os
import select
import selectors
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Protocol

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

_MAX_EVENTS = 256  # a turn's share of connections: bounds how long asyncio's own timers can wait behind them

_ROUNDS_ALONE = 8
"""Budgets that the only full stream may use when nobody else has anything to say: half a millisecond's work."""
_BUSY_TURNS = 4  # of full streams before the others are looked at again, when none of them had anything to say


class Watched(Protocol):
    """What can be registered: one descriptor's owner."""

    def ready(self, mask: int) -> bool:
        """Serve the descriptor; True when it moves so much that it belongs in the busy lane."""
        ...

    def failed(self, error: Exception) -> None:
        """Clean up after an unexpected error in `ready`."""
        ...


class Poller(selectors.BaseSelector):
    """An asyncio selector (`asyncio.SelectorEventLoop(Poller())`) with the direct lane described above."""

    def __init__(self) -> None:
        self._asyncio = selectors.EpollSelector()
        self._lane = select.epoll()
        self._busy_lane = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._masks: dict[int, int] = {}
        self._busy: set[int] = set()
        self._fresh: set[int] = set()
        """Watched since the last poll: an event of this turn with such a number was its closed predecessor's."""
        self._awake = False
        self.rounds = 1
        """How many of its budgets whoever is served may use now."""
        self._asyncio_fd = self._asyncio.fileno()
        self._busy_fd = self._busy_lane.fileno()
        self._posted: deque[Callable[[], object]] = deque()
        self._post_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lane.register(self._post_fd, READ)
        self._lane.register(self._asyncio_fd, READ)
        self._lane.register(self._busy_fd, READ)

    # The direct lane.

    def watch(self, fd: int, mask: int, watched: Watched) -> None:
        """Serve `fd` from now on; `mask` of READ and WRITE (errors and hang-ups always count)."""
        self._lane.register(fd, mask)
        self._watched[fd] = watched
        self._masks[fd] = mask
        self._fresh.add(fd)

    def change(self, fd: int, mask: int) -> None:
        """Change what `fd` is watched for."""
        if self._masks[fd] != mask:
            self._masks[fd] = mask
            (self._busy_lane if fd in self._busy else self._lane).modify(fd, mask)

    def replace(self, fd: int, watched: Watched) -> None:
        """Hand a watched descriptor to another owner."""
        self._watched[fd] = watched

    def unwatch(self, fd: int) -> None:
        """Stop serving `fd`, which stays open. Unknown descriptors are ignored."""
        if fd in self._watched:
            (self._busy_lane if fd in self._busy else self._lane).unregister(fd)
            self.forget(fd)

    def forget(self, fd: int) -> None:
        """Stop serving `fd`, which is closed next: closing takes it out of the epoll without a call of its own."""
        self._watched.pop(fd, None)
        self._masks.pop(fd, None)
        self._busy.discard(fd)

    def post(self, call: Callable[[], object]) -> None:
        """Have `call` called on the loop's thread; from any thread, and quicker than asyncio's own way."""
        self._posted.append(call)
        os.eventfd_write(self._post_fd, 1)

    def wake(self) -> None:
        """Let asyncio run after this turn: something was scheduled on the loop out of `ready`."""
        self._awake = True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve the direct lane until something of asyncio's is due, and return asyncio's own events."""
        until = math.inf if timeout is None else monotonic() + timeout
        wait = -1.0 if timeout is None else _rounded(timeout)
        while True:
            for_asyncio = self._turn(wait)
            if self._awake or for_asyncio:
                self._awake = False
                return for_asyncio
            if until is not math.inf:
                left = until - monotonic()
                if left <= 0:
                    return for_asyncio
                wait = _rounded(left)

    def _turn(self, wait: float) -> list[tuple[selectors.SelectorKey, int]]:
        try:
            events = self._lane.poll(wait, _MAX_EVENTS)
        except InterruptedError:
            self._awake = True
            return []
        for_asyncio: list[tuple[selectors.SelectorKey, int]] = []
        busy_share = 0
        watched = self._watched
        fresh = self._fresh
        if fresh:
            fresh.clear()
        for fd, mask in events:
            if fd in fresh:
                continue
            owner = watched.get(fd)
            if owner is not None:
                self._serve(fd, mask, owner)
            elif fd == self._busy_fd:
                busy_share = 1 if len(events) > 1 else _BUSY_TURNS
            elif fd == self._post_fd:
                self._call_posted()
            elif fd == self._asyncio_fd:
                for_asyncio = self._asyncio.select(0)
                self._awake = True
        if busy_share:
            alone = busy_share > 1 and len(self._busy) == 1
            self.rounds = _ROUNDS_ALONE if alone else 1
            self._serve_busy(busy_share)
            self.rounds = 1
        return for_asyncio

    def _call_posted(self) -> None:
        self._awake = True
        os.eventfd_read(self._post_fd)
        while self._posted:
            self._posted.popleft()()

    def _serve_busy(self, share: int) -> None:
        """Serve up to that many of those at full stream."""
        for fd, mask in self._busy_lane.poll(0, share):
            owner = self._watched.get(fd)
            if owner is not None:
                self._serve(fd, mask, owner)

    def _serve(self, fd: int, mask: int, owner: Watched) -> None:
        try:
            more = owner.ready(mask)
        except Exception as error:  # noqa: BLE001  the guard of every connection
            self._awake = True
            owner.failed(error)
            return
        if (more or self._busy) and more != (fd in self._busy) and fd in self._watched:
            self._change_lane(fd, busy=more)

    def _change_lane(self, fd: int, *, busy: bool) -> None:
        if busy:
            self._busy.add(fd)
            self._lane.unregister(fd)
            self._busy_lane.register(fd, self._masks[fd])
        else:
            self._busy.discard(fd)
            self._busy_lane.unregister(fd)
            self._lane.register(fd, self._masks[fd])

    # asyncio's own descriptors.

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: D102
        return self._asyncio.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: D102
        return self._asyncio.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: D102
        return self._asyncio.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:  # noqa: D102
        return self._asyncio.get_map()

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: D102
        return self._asyncio.get_key(fileobj)

    def close(self) -> None:  # noqa: D102
        os.close(self._post_fd)
        self._lane.close()
        self._busy_lane.close()
        self._asyncio.close()


def _rounded(timeout: float) -> float:
    """Seconds for epoll, whose resolution is a millisecond: up, so that a timer is never early."""
    return 0.0 if timeout <= 0 else math.ceil(timeout * 1e3) * 1e-3
