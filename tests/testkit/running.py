"""The programs that run now, so that the report of a failed test can show their logs."""

from typing import Protocol


class Logged(Protocol):
    """A program that keeps a log."""

    def log(self) -> str:
        """Return what it logged so far."""
        ...


running: dict[str, Logged] = {}
"""By a name for people."""
