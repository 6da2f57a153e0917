"""A phone's lines before log-in (RFC 5321 §4.5.3.1, RFC 4954 §4); framed as `protocols.lines` does."""

from gatekeeper.protocols.lines import LineReceiver

MAX_COMMAND_OCTETS = 2048
"""Postfix's line_length_limit; RFC 5321 asks for 512."""


class Receiver(LineReceiver):
    """Turns a client's octets into lines of SMTP."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(MAX_COMMAND_OCTETS)
