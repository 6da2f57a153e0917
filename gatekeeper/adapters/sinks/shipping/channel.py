"""What every way of sending has in common, as the shipper sees it, and how it fails."""

import ssl
from collections.abc import Sequence
from typing import Protocol


class PeerFailed(Exception):
    """The peer did not take what was sent; the text says why, for operators."""

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        """It asked for so much time."""


class Refused(PeerFailed):
    """A witness does not take the log for the one that it cosigned before: it was forked, or cut."""


class TooLarge(PeerFailed):
    """It would take fewer at a time."""


class RecordChannel(Protocol):
    """Sends records in their order. Used by one thread; every call ends within bounds.

    Whatever fails raises `PeerFailed` or `OSError`; after `close` the next call begins anew.
    """

    batch: int
    """How many records are sent at a time."""

    def send(self, first: int, lines: Sequence[bytes]) -> None:
        """Send lines (with their newlines), the first of them with the number `first`."""
        ...

    def confirm(self) -> None:
        """Return when the peer has what was sent, as far as this way of sending can know."""
        ...

    def idle(self) -> None:
        """There is nothing to send: see that the peer is still there, where that can be seen."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


def words(error: Exception) -> str:
    """One line for operators; what a peer said is cut."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"[:300]
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"[:300]
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError):
        return (error.strerror or str(error))[:300]
    return str(error)[:300]
