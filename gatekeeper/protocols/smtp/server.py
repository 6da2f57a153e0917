"""A phone's lines before log-in, framed and bounded (RFC 5321 §4.5.3.1, RFC 4954 §4).

What holds inside:

* A line ends in CRLF. A bare LF, a bare CR or a NUL in it ends the dialogue (`Fatal`): servers disagree on them, and
  that is how one command becomes two (CVE-2023-51764's class).
* No more than the longest allowed line is ever searched, however slowly it comes.
* What was not taken as a line is kept in order for whoever is next: the mail server, or nobody.
"""

from enum import Enum

from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS

MAX_COMMAND_OCTETS = 2048
"""Postfix's line_length_limit; RFC 5321 asks for 512."""
MAX_AUTH_NAME_OCTETS = 32
MAX_AUTH_OCTETS = MAX_RESPONSE_OCTETS + MAX_AUTH_NAME_OCTETS
"""AUTH carries a mechanism name and a whole response."""


class Fatal(Enum):
    """Something after which lines can no longer be told apart: answer once and close."""

    LINE_TOO_LONG = "line too long"
    BAD_OCTETS = "bare LF, bare CR or NUL"


class Receiver:
    """Turns a client's octets into lines, at the pace of whoever reads them."""

    __slots__ = ("_buffer", "_max_command", "_max_response", "_searched")

    def __init__(self, max_command: int = MAX_COMMAND_OCTETS, max_response: int = MAX_RESPONSE_OCTETS) -> None:
        """Octets of a command line and of a SASL response, which AUTH carries besides its mechanism's name."""
        self._max_command = max_command
        self._max_response = max_response
        self._buffer = bytearray()
        self._searched = 0
        """So many octets hold no LF."""

    def receive_data(self, data: bytes) -> None:
        """Take octets from the wire."""
        self._buffer += data

    def next_command(self) -> bytes | Fatal | None:
        """A command line without its CRLF; None while there is none."""
        is_auth = self._buffer[:5].upper() == b"AUTH "
        return self._next_line(self._max_response + MAX_AUTH_NAME_OCTETS if is_auth else self._max_command)

    def next_response(self) -> bytes | Fatal | None:
        """A response of a SASL exchange without its CRLF; None while there is none."""
        return self._next_line(self._max_response)

    @property
    def trailing_data(self) -> bytes:
        """Octets received and not taken as lines."""
        return bytes(self._buffer)

    def _next_line(self, limit: int) -> bytes | Fatal | None:
        longest = limit + len(b"\r\n")
        end = self._buffer.find(b"\n", self._searched, longest)
        if end < 0:
            self._searched = min(len(self._buffer), longest)
            return Fatal.LINE_TOO_LONG if len(self._buffer) >= longest else None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        if not line.endswith(b"\r") or b"\r" in line[:-1] or b"\0" in line:
            return Fatal.BAD_OCTETS
        return line[:-1]
