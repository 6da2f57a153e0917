"""What a phone may say before log-in (RFC 1939 §3, RFC 2449 §4); framed as `protocols.lines` does."""

import re
from dataclasses import dataclass

from gatekeeper.protocols.lines import LineReceiver
from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS

MAX_COMMAND_OCTETS = 253
"""RFC 2449 §4: 255 with CRLF. AUTH may be longer than RFC 5034 §4 has it: clients send whole bearer tokens in it."""
_HTTP = re.compile(rb"[A-Z]+ [^ ]+ HTTP/[0-9.]+\Z")


@dataclass(frozen=True, slots=True)
class Command:
    """One line, taken apart at its first space."""

    name: bytes
    """Upper case."""
    argument: bytes | None
    """All that stands behind the space, as it is: a password may begin and end with spaces. None: there is no space."""


class Receiver(LineReceiver):
    """Turns a client's octets into lines of POP3."""

    __slots__ = ()

    def __init__(self, max_command: int = MAX_COMMAND_OCTETS, max_response: int = MAX_RESPONSE_OCTETS) -> None:
        super().__init__(max_command, max_response)


def parse_command(line: bytes) -> Command | None:
    """A command of any name; None for HTTP: a browser made to speak to us (ALPACA) must not be answered."""
    if _HTTP.match(line):
        return None
    name, space, argument = line.partition(b" ")
    return Command(name.upper(), argument if space else None)
