"""A phone's lines before log-in (RFC 5321 §4.5.3.1, RFC 4954 §4); framed as `protocols.lines` does."""

from gatekeeper.protocols.lines import LineReceiver
from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS

MAX_COMMAND_OCTETS = 2048
"""Postfix's line_length_limit; RFC 5321 asks for 512."""


class Receiver(LineReceiver):
    """Turns a client's octets into lines of SMTP."""

    __slots__ = ()

    def __init__(self, max_command: int = MAX_COMMAND_OCTETS, max_response: int = MAX_RESPONSE_OCTETS) -> None:
        super().__init__(max_command, max_response)
