"""The operational log: JSON lines on stderr. Not the audit log: it may be lost, and holds no decision."""

import logging
from typing import TextIO

import structlog


def configure_logs(stream: TextIO) -> None:
    """Send structlog's events to `stream`; the libraries' own logs only from warnings on."""
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
