"""Failed log-ins slow further ones down: for an account *and* a source together, never for an account alone.

What holds inside:

* Nobody can slow a colleague: an account is only ever counted with the source it was tried from (`domain.source`).
* Only credentials that the mail server refused count, and attempts whose client left before it was told. A refusal by
  policy proves that the password was right, and counts as a success; a fault of ours counts as nothing.
* Who fails gets the answer late, and the next attempt of the same pair starts when that answer is due, on whichever
  connection it comes: several connections are no faster than one. A success is answered at once.
* A source that fails on many accounts is answered late as well; that delays only answers to failures.
* Memory is bounded; the longest past failure is forgotten first. There is no clock in here: `now` is an argument.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

AGAIN_S = 0.25
"""When to ask again for whom others of the same pair are under way; the tick of the server's timer."""

_ROUNDING_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleSettings:
    """How failed log-ins are slowed. A first delay of 0 slows nothing."""

    first_delay_s: float = 2.0
    """After the first failure, doubled with each further one; Dovecot's auth penalty goes 2, 4, 8, 15 s."""
    max_delay_s: float = 15.0
    """Dovecot's longest penalty: short enough that clients wait for the answer."""
    forget_after_s: float = 900.0
    """Without a failure for so long, all is forgiven: longer than a phone's usual pause between two tries."""
    free_accounts: int = 5
    """Accounts that may fail from one source before all its failures are answered late: fail2ban's maxretry."""
    parallel: int = 10
    """Attempts of one pair at once while none has failed; Dovecot's mail_max_userip_connections."""
    max_entries: int = 16_384
    """Pairs, and sources, that are remembered: about 5 MiB."""


@dataclass(slots=True)
class _Failures:
    count: int
    last: float
    until: float = 0.0
    """When the next attempt may start."""


class _Memory:
    """Failures by key, the longest past first."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str, now: float, settings: ThrottleSettings) -> _Failures | None:
        """What is not forgiven yet."""
        found = self._entries.get(key)
        if found is not None and now - found.last >= settings.forget_after_s:
            del self._entries[key]
            return None
        return found

    def add(self, key: str, now: float, settings: ThrottleSettings) -> _Failures:
        """Count one more failure; forgets what is past, and the oldest when there is no room."""
        entry = self.find(key, now, settings) or self._entries.setdefault(key, _Failures(0, now))
        entry.count += 1
        entry.last = now
        self._entries.move_to_end(key)
        while True:
            oldest = next(iter(self._entries))
            if (
                len(self._entries) <= settings.max_entries
                and now - self._entries[oldest].last < settings.forget_after_s
            ):
                return entry
            del self._entries[oldest]

    def forget(self, key: str) -> bool:
        """All is forgiven; whether there was anything."""
        return self._entries.pop(key, None) is not None


class Throttle:
    """Failures of pairs of account and source, and of sources."""

    __slots__ = ("_pairs", "_sources", "_under_way", "failures", "held", "settings", "tell")

    def __init__(self, settings: ThrottleSettings) -> None:
        self.settings = settings
        self.failures = 0
        """Failed log-ins, counted."""
        self.held = 0
        """Attempts and answers that were held back, counted."""
        self.tell: Callable[[str, str, float | None], object] | None = None
        """Tells the other workers what they then hear (`heard`): account, source, and when the attempt was made."""
        self._pairs = _Memory()
        self._sources = _Memory()
        self._under_way: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._pairs) + len(self._sources)

    def begin(self, account: str, source: str, now: float, *, is_again: bool = False) -> float:
        """Begin an attempt: 0 when it may go on now, else the seconds after which to ask again (`is_again`).

        What has begun ends with exactly one of `failed`, `succeeded`, `came_to_nothing`.
        """
        if self.settings.first_delay_s <= 0:
            return 0.0
        pair = _pair(account, source)
        under_way = self._under_way.get(pair, 0)
        failures = self._pairs.find(pair, now, self.settings)
        wait = 0.0
        if failures is not None and failures.until - now > _ROUNDING_S:
            wait = failures.until - now
        elif under_way >= (self.settings.parallel if failures is None else 1):
            wait = AGAIN_S
        if not wait:
            self._under_way[pair] = under_way + 1
        elif not is_again:
            self.held += 1
        return wait

    def failed(self, account: str, source: str, began: float | None, now: float) -> float:
        """The mail server refused the credentials: the seconds from `now` for which the answer is to be held.

        The delay counts from `began`, when the attempt was made: how long the mail server took does not show.
        None: it never began here, and ends nobody else's either.
        """
        self.failures += 1
        settings = self.settings
        if settings.first_delay_s <= 0:
            return 0.0
        pair = _pair(account, source)
        if began is None:
            began = now
        else:
            self._end(pair)
        delay = self._count(pair, source, began, now)
        if self.tell is not None:
            self.tell(account, source, began)
        wait = max(0.0, began + delay - now)
        self.held += wait > 0
        return wait

    def heard(self, account: str, source: str, began: float | None, now: float) -> None:
        """Another worker had a failure of an attempt made at `began`; None: a success after failures."""
        pair = _pair(account, source)
        if began is None:
            self._pairs.forget(pair)
        elif self.settings.first_delay_s > 0:
            self._count(pair, source, began, now)

    def succeeded(self, account: str, source: str) -> None:
        """The mail server took the credentials, whatever the policy says then: the pair is forgiven."""
        pair = _pair(account, source)
        self._end(pair)
        if self._pairs.forget(pair) and self.tell is not None:
            self.tell(account, source, None)

    def came_to_nothing(self, account: str, source: str) -> None:
        """The attempt ended without an answer about the credentials."""
        self._end(_pair(account, source))

    def _count(self, pair: str, source: str, began: float, now: float) -> float:
        """One more failure: the seconds from `began` for which its answer is to be held."""
        settings = self.settings
        if self._pairs.find(pair, now, settings) is None:
            self._sources.add(source, now, settings)
        failures = self._pairs.add(pair, now, settings)
        spread = self._sources.find(source, now, settings)
        by_pair = self._delay(failures.count)
        failures.until = max(failures.until, began + by_pair)
        return max(by_pair, self._delay(0 if spread is None else spread.count - settings.free_accounts))

    def _delay(self, count: int) -> float:
        """Seconds after so many failures: 2, 4, 8, 15, 15 and so on."""
        if count <= 0:
            return 0.0
        return min(self.settings.first_delay_s * float(1 << min(count - 1, 30)), self.settings.max_delay_s)

    def _end(self, pair: str) -> None:
        left = self._under_way.get(pair, 0) - 1
        if left > 0:
            self._under_way[pair] = left
        else:
            self._under_way.pop(pair, None)


def _pair(account: str, source: str) -> str:
    return f"{source} {account}"  # neither has a space
