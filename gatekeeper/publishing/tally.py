"""What a rollout sees: of each device the last decision within a sliding window, on the side of the new version or not.

Devices are counted, not log-ins: a blocked phone tries again and again. Memory is bounded; the oldest give way.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from gatekeeper.domain.decision import Decision, Reason
from gatekeeper.publishing.rollout import Figures

MAX_UNITS = 50_000
"""On each side; some 10 MiB."""
_OF_RULES = (Reason.APP_MATCH, Reason.APP_MATCH_UNCERTAIN)


class _Side:
    """The devices on one side, with what blocks them counted as they come and go."""

    __slots__ = ("blocked", "units")

    def __init__(self) -> None:
        self.units: dict[str, tuple[datetime, tuple[str, ...]]] = {}
        """In the order in which they were seen last."""
        self.blocked: Counter[str] = Counter()

    def put(self, unit: str, found: tuple[str, ...], now: datetime) -> None:
        self.drop(unit)
        self.units[unit] = (now, found)
        self.blocked.update(found)

    def drop(self, unit: str) -> None:
        old = self.units.pop(unit, None)
        for cause in () if old is None else old[1]:
            self.blocked[cause] -= 1
            if not self.blocked[cause]:
                del self.blocked[cause]

    def forget(self, begin: datetime) -> None:
        while self.units:
            oldest = next(iter(self.units))
            if self.units[oldest][0] >= begin and len(self.units) <= MAX_UNITS:
                return
            self.drop(oldest)


class Tally:
    """Filled by the gate, read by the rollout."""

    def __init__(self, window: timedelta) -> None:
        self._window = window
        self._sides = (_Side(), _Side())
        """First without the new version, then with it."""

    def note(self, unit: str, causes: tuple[str, ...], now: datetime, *, is_new: bool) -> None:
        """A device was decided about; `causes`: what blocks it, empty when nothing does."""
        self._sides[not is_new].drop(unit)
        self._sides[is_new].put(unit, causes, now)
        self._sides[is_new].forget(now - self._window)

    def figures(self, now: datetime, *, is_new: bool) -> Figures:
        """What was seen within the window up to `now`."""
        side = self._sides[is_new]
        side.forget(now - self._window)
        return Figures(len(side.units), Counter(side.blocked))

    def clear(self) -> None:
        """Begin anew."""
        self._sides = (_Side(), _Side())


def causes(decision: Decision) -> tuple[str, ...]:
    """What blocks a session: the rules that match, where a rule does; else the strongest reason. Empty: it is not."""
    if decision.verdict.admits:
        return ()
    if decision.reasons[0] in _OF_RULES:
        return decision.rule_ids
    return (decision.reasons[0].value,)


def together(parts: Mapping[str, Figures]) -> Figures:
    """What several workers saw."""
    blocked: Counter[str] = Counter()
    for part in parts.values():
        blocked.update(part.blocked)
    return Figures(sum(part.seen for part in parts.values()), blocked)
