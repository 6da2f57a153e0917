"""Ends open sessions that no longer stand, no faster than their phones can come back.

What holds inside:

* So many are ended at once, the others tick by tick, in the order in which they fell: a policy that ends ten thousand
  sessions neither stops the event loop nor brings ten thousand phones back in the same second.
* How long the last one waits is bounded by the number of sessions: none is forgotten, and none waits for traffic.
"""

from collections import deque

from gatekeeper.gate.sessions import Admission

CUTS_A_TICK = 250
"""About a thousand a second at four ticks: as many phones can log in to one worker. Dovecot spreads the same
disconnects over `login_proxy_max_disconnect_delay`."""


class Cuts:
    """What is to be ended."""

    __slots__ = ("_a_tick", "_left", "_waiting")

    def __init__(self, a_tick: int = CUTS_A_TICK) -> None:
        self._a_tick = a_tick
        self._left = a_tick
        """So many may still be ended before the next tick."""
        self._waiting: deque[Admission] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, admission: Admission) -> None:
        """End it: at once, or when its turn comes."""
        self._waiting.append(admission)
        self._work()

    def tick(self) -> None:
        """Called about every quarter of a second: go on."""
        self._left = self._a_tick
        self._work()

    def _work(self) -> None:
        # An admission whose session has ended meanwhile is only let go of: a second end changes nothing.
        while self._waiting and self._left:
            self._left -= 1
            self._waiting.popleft().cut()
