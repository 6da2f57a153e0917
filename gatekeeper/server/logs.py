"""The operational log: JSON lines on stderr. Not the audit log: it may be lost, and holds no decision."""

import logging
import sys
from typing import TYPE_CHECKING, TextIO

import structlog

if TYPE_CHECKING:
    from sys import UnraisableHookArgs  # there for type checkers only

_log = structlog.get_logger(__name__)


def configure_logs(stream: TextIO) -> None:
    """Send structlog's events to `stream`; the libraries' own logs only from warnings on.

    What Python would print of exceptions that it cannot raise goes there too, each in a line.
    """
    sys.unraisablehook = _ignored
    logging.basicConfig(level=logging.WARNING, stream=stream, format="%(name)s: %(message)s")
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd: its lower levels show what clients send
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )


def _ignored(what: "UnraisableHookArgs") -> None:
    """Log an exception that nobody could be told."""
    error = what.exc_value
    if isinstance(error, UnicodeDecodeError):
        # A client asked by SNI for a name that is not ASCII, which fails the handshake: ssl says so in this way. It is
        # for the audit log to count what anybody can bring about, and the name is the client's octets.
        return
    _log.error("exception.ignored", kind=what.exc_type.__name__, exc_info=error)
