"""How long to wait after a failure: twice as long each time, up to a limit, and never all at the same moment.

Half of the time is fixed and half by chance, so that the workers of many gates do not come back together.
"""

from collections.abc import Callable


class BackOff:
    """Of one peer."""

    def __init__(self, least_s: float, most_s: float, chance: Callable[[], float]) -> None:
        """`chance` gives numbers from 0 to 1."""
        self._least_s = least_s
        self._most_s = most_s
        self._chance = chance
        self._ceiling_s = 0.0

    def next(self) -> float:
        """Seconds to wait now."""
        self._ceiling_s = min(max(self._ceiling_s * 2, self._least_s), self._most_s)
        return self._ceiling_s * (1 + self._chance()) / 2

    def reset(self) -> None:
        """It works again."""
        self._ceiling_s = 0.0
