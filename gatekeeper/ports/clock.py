"""The time, as an argument of the composition root, so that tests drive it."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Wall clock."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        ...
