"""How many connections there are, in all and from each source: constant-time, and no entry for who is not there.

A connection enters before it is admitted, settles when it is, and leaves when it ends. One source's connections that
wait are counted by themselves: whoever only connects and never logs in must not be able to keep others out.
"""

from dataclasses import dataclass

from gatekeeper.net.headcount import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdLimits:
    """Bounds over all listeners, and all workers, each with its precedent."""

    max_connections: int = 20_000
    """Waiting and admitted; nginx's worker_connections is the like. At 16 KiB each, 320 MiB."""
    max_per_address: int = 2000
    """Waiting and admitted, from one IPv4 address or IPv6 /64: an office behind one address must fit in. nginx's
    limit_conn has no default; Postfix's smtpd_client_connection_count_limit is 50, without such an office in mind."""
    max_waiting_per_address: int = 100
    """Not admitted yet: twice Postfix's smtpd_client_connection_count_limit, which counts these only in effect."""


class Crowd:
    """Who is there, by source (see `domain.source`)."""

    __slots__ = ("_settled", "_share", "_waiting", "limits", "total")

    def __init__(self, limits: CrowdLimits, share: Share | None = None) -> None:
        """`share`: where several workers tell each other their counts."""
        self.limits = limits
        self.total = 0
        """Of this process."""
        self._share = share
        self._waiting: dict[str, int] = {}
        self._settled: dict[str, int] = {}

    def refusal(self, source: str) -> str | None:
        """The limit that one more connection from `source` would break, None when it may enter.

        An empty source is one that is not known yet: only the limit on all counts for it.
        """
        limits = self.limits
        share = self._share
        if self.total + (0 if share is None else share.elsewhere()) >= limits.max_connections:
            return "max_connections"
        if not source:
            return None
        waiting, settled = self._waiting.get(source, 0), self._settled.get(source, 0)
        if share is not None:
            elsewhere = share.elsewhere_from(source)
            waiting += elsewhere.waiting
            settled += elsewhere.settled
        if waiting >= limits.max_waiting_per_address:
            return "max_waiting_per_address"
        if waiting + settled >= limits.max_per_address:
            return "max_per_address"
        return None

    def enter(self, source: str) -> None:
        """A connection is there and waits."""
        self.total += 1
        self._waiting[source] = self._waiting.get(source, 0) + 1
        if self._share is not None:
            self._share.change(source, waiting=1)

    def settle(self, source: str) -> None:
        """One that waited is admitted."""
        _take_one(self._waiting, source)
        self._settled[source] = self._settled.get(source, 0) + 1
        if self._share is not None:
            self._share.change(source, waiting=-1, settled=1)

    def leave(self, source: str, *, settled: bool) -> None:
        """One that waited, or was admitted, is gone."""
        self.total -= 1
        _take_one(self._settled if settled else self._waiting, source)
        if self._share is not None:
            self._share.change(source, waiting=-int(not settled), settled=-int(settled))

    def sources(self) -> int:
        """How many sources there are entries for."""
        return len(self._waiting.keys() | self._settled.keys())


def _take_one(counts: dict[str, int], source: str) -> None:
    left = counts[source] - 1
    if left:
        counts[source] = left
    else:
        del counts[source]
