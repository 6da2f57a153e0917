"""The audit log as the gate sees it."""

from collections.abc import Callable
from typing import Protocol

from gatekeeper.audit.event import Event


class AuditLog(Protocol):
    """One append-only log with one writer."""

    def append(self, event: Event, recorded: Callable[[bool], None] | None = None) -> None:
        """Queue `event` for the next write.

        `recorded(True)` is called on the event loop once the line is durable, `recorded(False)` if it never will be.
        Order of the lines is the order of the calls. Must be called on the event loop's thread. Never raises: a log
        that cannot be written answers False, and `writable` turns False.
        """
        ...

    @property
    def writable(self) -> bool:
        """Whether the last attempt to write succeeded; no new session is admitted while it is False."""
        ...
