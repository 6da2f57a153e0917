"""One epoll for everything: the event loop's selector with a direct lane for connections.

asyncio pays for every readable socket with a handle, a queue entry and a trip through its ready list. Connections
registered here are served straight from `select()`, before asyncio sees anything, so an idle session costs two small
objects and a busy one no asyncio at all. asyncio's own descriptors live in a second epoll that is nested in ours, so
that timers, threads and every asyncio library work unchanged.

What holds inside:

* A watched object's `ready(mask)` never blocks and uses at most its own budget of work a turn.
* One that returns True is at full stream. Of those one is served a turn, the longest waiting first: interactive
  sessions stay quick beside them.
* Turn follows turn without asyncio until something of asyncio's is due: a descriptor, a timer, or a callback that was
  scheduled out of `ready`, which `PollerLoop` notices.
* What a connection reads, it reads into this poller's `buffer`, and is done with it when `ready` returns. Loops in
  other threads have pollers, and buffers, of their own.
* An exception out of `ready` is a fault of that connection only: `failed(error)` is called and the loop goes on.
"""

import asyncio
import os
import select
import selectors
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from time import monotonic
from typing import Any, Protocol, TypeVarTuple

_Ts = TypeVarTuple("_Ts")

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

_MAX_EVENTS = 256  # a turn's share of connections: bounds how long asyncio's own timers can wait behind them

BUFFER_OCTETS = 147_456
"""Two budgets of the relay, and one TLS record of room behind them (RFC 8446 §5.1)."""

_ROUNDS_ALONE = 8
"""Budgets that the only full stream may use when nobody else has anything to say: half a millisecond's work."""
_QUIET_SOON_S = 0.005
"""Who waits for quiet waits so long, a fraction of a phone's way to the gate, and again when somebody else asks for it:
then log-ins come in a burst, and the more of them wait together the less each costs."""
_QUIET_AT_LATEST_S = 0.02
"""But no longer than this in all."""
_BUSY_TURNS = 4  # of full streams before the others are looked at again, when none of them had anything to say


class Watched(Protocol):
    """What can be registered: one descriptor's owner."""

    def ready(self, mask: int) -> bool:
        """Serve the descriptor; True when it moves so much that it is to take turns with others like it."""
        ...

    def failed(self, error: Exception) -> None:
        """Clean up after an unexpected error in `ready`."""
        ...


class Poller(selectors.BaseSelector):
    """An asyncio selector (of a `PollerLoop`) with the direct lane described above."""

    def __init__(self) -> None:
        self._asyncio = selectors.EpollSelector()
        self._lane = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._masks: dict[int, int] = {}
        self._busy: dict[int, None] = {}
        """Those at full stream, the longest waiting first."""
        self._fresh: set[int] = set()
        """Watched since the last poll: an event of this turn with such a number was its closed predecessor's."""
        self._awake = False
        self.buffer = memoryview(bytearray(BUFFER_OCTETS))
        """Of whoever is served now, for as long as it is."""
        self.rounds = 1
        """How many of its budgets whoever is served may use now."""
        self._for_quiet: list[Callable[[], object]] = []
        self._quiet_by = self._quiet_at_latest = 0.0
        self._asyncio_fd = self._asyncio.fileno()
        self._posted: deque[Callable[[], object]] = deque()
        self._post_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lane.register(self._post_fd, READ)
        self._lane.register(self._asyncio_fd, READ)

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
            self._lane.modify(fd, mask)

    def replace(self, fd: int, watched: Watched) -> None:
        """Hand a watched descriptor to another owner."""
        self._watched[fd] = watched

    def unwatch(self, fd: int) -> None:
        """Stop serving `fd`, which stays open. Unknown descriptors are ignored."""
        if fd in self._watched:
            self._lane.unregister(fd)
            self.forget(fd)

    def forget(self, fd: int) -> None:
        """Stop serving `fd`, which is closed next: closing takes it out of the epoll without a call of its own."""
        self._watched.pop(fd, None)
        self._masks.pop(fd, None)
        self._busy.pop(fd, None)

    def post(self, call: Callable[[], object]) -> None:
        """Have `call` called on the loop's thread; from any thread, and quicker than asyncio's own way."""
        self._posted.append(call)
        os.eventfd_write(self._post_fd, 1)

    def when_quiet(self, call: Callable[[], object]) -> None:
        """Have `call` called, on the loop's thread, when nobody has anything to say, or shortly after in any case.

        For work that costs the same for one as for many: by then there are many. Asked for again meanwhile, it is
        called once, for all of them. It must not raise, as with `post`.
        """
        now = monotonic()
        if not self._for_quiet:
            self._quiet_at_latest = now + _QUIET_AT_LATEST_S
        self._quiet_by = min(now + _QUIET_SOON_S, self._quiet_at_latest)
        if call not in self._for_quiet:
            self._for_quiet.append(call)

    def wake(self) -> None:
        """Let asyncio run after this turn: something was scheduled on the loop."""
        self._awake = True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve the direct lane until something of asyncio's is due, and return asyncio's own events."""
        until = None if timeout is None else monotonic() + timeout
        wait = timeout
        while True:
            if self._for_quiet:
                events = self._lane.poll(0, _MAX_EVENTS)
                if not events or monotonic() >= self._quiet_by:
                    self._quiet()
            else:
                events = self._lane.poll(wait, _MAX_EVENTS)
            for_asyncio = self._serve(events)
            if self._awake:
                self._awake = False
                return for_asyncio
            if until is not None:
                wait = until - monotonic()
                if wait <= 0:
                    return for_asyncio

    def _quiet(self) -> None:
        calls, self._for_quiet = self._for_quiet, []
        for call in calls:
            call()

    def _serve(self, events: list[tuple[int, int]]) -> list[tuple[selectors.SelectorKey, int]]:
        """One turn: everybody who said something, and one of those at full stream."""
        watched, fresh, busy = self._watched, self._fresh, self._busy
        if fresh:
            fresh.clear()
        for_asyncio: list[tuple[selectors.SelectorKey, int]] = []
        streams: dict[int, int] = {}
        for fd, mask in events:
            owner = watched.get(fd)
            if owner is None:
                for_asyncio = self._serve_own(fd) or for_asyncio
            elif fd in busy:
                streams[fd] = mask
            elif fd not in fresh:
                try:
                    if owner.ready(mask) and fd in watched:
                        busy[fd] = None
                except Exception as error:  # noqa: BLE001  the guard of every connection
                    self._failed(owner, error)
        if streams:
            self._serve_streams(streams, alone=len(streams) == len(events))
        return for_asyncio

    def _serve_own(self, fd: int) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve what is not a connection: calls posted by threads, and asyncio's own descriptors."""
        if fd == self._post_fd:
            self._awake = True
            os.eventfd_read(fd)
            while self._posted:
                self._posted.popleft()()
        elif fd == self._asyncio_fd:
            self._awake = True
            return self._asyncio.select(0)
        return []

    def _serve_streams(self, streams: dict[int, int], *, alone: bool) -> None:
        """Serve one of those at full stream, a few when nobody else had anything to say: the longest waiting first."""
        busy, share = self._busy, _BUSY_TURNS if alone else 1
        self.rounds = _ROUNDS_ALONE if alone and len(busy) == 1 else 1
        for fd in [fd for fd in busy if fd in streams][:share]:
            owner = self._watched.get(fd)
            if owner is None or fd in self._fresh:
                continue  # ended by what was served before it in this turn
            del busy[fd]
            try:
                if owner.ready(streams[fd]) and fd in self._watched:
                    busy[fd] = None
            except Exception as error:  # noqa: BLE001  the guard of every connection
                self._failed(owner, error)
        self.rounds = 1

    def _failed(self, owner: Watched, error: Exception) -> None:
        self._awake = True
        owner.failed(error)

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
        self._asyncio.close()


class PollerLoop(asyncio.SelectorEventLoop):
    """The event loop on a poller. What is scheduled while the direct lane is served runs after that turn.

    Most turns schedule nothing, and asyncio's own turn costs as much as a relayed line: hence it is asked for here, by
    what is scheduled, instead of after every event of a connection that is not logged in yet.
    """

    def __init__(self, poller: Poller) -> None:
        super().__init__(poller)
        self._wake = poller.wake

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As documented for asyncio."""
        self._wake()
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As documented for asyncio; `call_later` comes through here."""
        self._wake()
        return super().call_at(when, callback, *args, context=context)
