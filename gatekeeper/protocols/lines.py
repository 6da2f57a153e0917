"""A phone's lines before log-in, framed and bounded, for the protocols that are nothing but lines (SMTP, POP3).

What holds inside:

* A line ends in CRLF. A bare LF, a bare CR or a NUL in it ends the dialogue (`Fatal`): servers disagree on them, and
  that is how one command becomes two (CVE-2023-51764's class).
* No more than the longest allowed line is ever searched, however slowly it comes.
* What was not taken as a line is kept in order for whoever is next: the mail server, or nobody.
"""

from enum import Enum

from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS

MAX_AUTH_NAME_OCTETS = 32
"""`AUTH`, its spaces and a mechanism's name (RFC 4422 §3.1: 20 octets), beside a whole response."""
MAX_AUTH_OCTETS = MAX_RESPONSE_OCTETS + MAX_AUTH_NAME_OCTETS


class Fatal(Enum):
    """Something after which lines can no longer be told apart: answer once and close."""

    LINE_TOO_LONG = "line too long"
    BAD_OCTETS = "bare LF, bare CR or NUL"


class LineReceiver:
    """Turns a client's octets into lines, at the pace of whoever reads them."""

    __slots__ = ("_buffer", "_longest_command", "_longest_response", "_searched")

    def __init__(self, max_command: int, max_response: int = MAX_RESPONSE_OCTETS) -> None:
        """Octets of a command, without its CRLF, and of a SASL response, which AUTH may carry besides its own."""
        self._buffer = bytearray()
        self._longest_command = max_command
        self._longest_response = max_response
        self._searched = 0
        """So many octets hold no LF."""

    def receive_data(self, data: bytes) -> None:
        """Take octets from the wire."""
        self._buffer += data

    def next_command(self) -> bytes | Fatal | None:
        """A command line without its CRLF; None while there is none."""
        is_auth = self._buffer[:5].upper() == b"AUTH "
        return self._next_line(self._longest_response + MAX_AUTH_NAME_OCTETS if is_auth else self._longest_command)

    def next_response(self) -> bytes | Fatal | None:
        """A response of a SASL exchange without its CRLF; None while there is none."""
        return self._next_line(self._longest_response)

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
