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


class Tally:
    """Filled by the gate, read by the rollout."""

    def __init__(self, window: timedelta) -> None:
        self._window = window
        self._sides: tuple[dict[str, tuple[datetime, tuple[str, ...]]], ...] = ({}, {})
        """By device, in the order in which they were seen; first without the new version, then with it."""

    def note(self, unit: str, causes: tuple[str, ...], now: datetime, *, is_new: bool) -> None:
        """A device was decided about; `causes`: what blocks it, empty when nothing does."""
        side = self._sides[is_new]
        self._sides[not is_new].pop(unit, None)
        side.pop(unit, None)
        side[unit] = (now, causes)
        if len(side) > MAX_UNITS:
            del side[next(iter(side))]

    def figures(self, now: datetime, *, is_new: bool) -> Figures:
        """What was seen within the window up to `now`."""
        side = self._sides[is_new]
        begin = now - self._window
        while side:
            oldest = next(iter(side))
            if side[oldest][0] >= begin:
                break
            del side[oldest]
        return Figures(len(side), Counter(cause for _, causes in side.values() for cause in causes))

    def clear(self) -> None:
        """Begin anew."""
        for side in self._sides:
            side.clear()


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
