"""A raw client: sends exactly the bytes it is told and reads replies line by line, plain or over TLS.

Each `send` on TLS is one record, and a receiver gets at most one record per read: that makes split positions exact.
A connection that is reset counts as ended, as a phone would see it.
"""

import contextlib
import socket
import ssl
from types import TracebackType
from typing import ClassVar

from testkit.ports import LOOPBACK

_ENDED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Wire:
    """One connection to a mail server."""

    open: ClassVar[set["Wire"]] = set()
    """Every connection that was not closed, so that a failed test leaves none behind."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext | None = None,
        *,
        deadline_s: float = 15,
        host: str = LOOPBACK,
        source: str | None = None,
    ) -> None:
        """Connect, from the address `source`; with `context`, at once over TLS.

        No single wait is longer than `deadline_s`.
        """
        own = None if source is None else (source, 0)
        self._socket = socket.create_connection((host, port), timeout=deadline_s, source_address=own)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        Wire.open.add(self)
        if context is not None:
            self._secure(context)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor, for `select`."""
        return self._socket.fileno()

    @property
    def local_port(self) -> int:
        """Our end's port, by which the audit log knows this connection."""
        return int(self._socket.getsockname()[1])

    def send(self, data: bytes) -> None:
        """Send `data` in one piece."""
        self._socket.sendall(data)

    def line(self) -> bytes:
        """Return the next line without CRLF; b"" when the connection ended."""
        while b"\n" not in self._buffer:
            more = self._receive()
            if not more:
                rest, self._buffer = self._buffer, b""
                return rest
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.removesuffix(b"\r")

    def piece(self) -> bytes:
        """Return what comes next, whatever it is; b"" when the connection ended."""
        found, self._buffer = self._buffer, b""
        return found or self._receive()

    def exactly(self, count: int) -> bytes:
        """Return the next `count` octets; fewer when the connection ended."""
        while len(self._buffer) < count and (more := self._receive()):
            self._buffer += more
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def imap(self, command: bytes) -> list[bytes]:
        """Send one IMAP command line (with its tag) and return the reply's lines, the tagged one last."""
        self.send(command + b"\r\n")
        return self.tagged(command.split(b" ", 1)[0])

    def tagged(self, tag: bytes) -> list[bytes]:
        """Return the lines up to and including the one with `tag`; a continuation request or the end also stops."""
        lines: list[bytes] = []
        while line := self.line():
            lines.append(line)
            if line.startswith((tag + b" ", b"+")):
                break
        return lines

    def smtp(self, command: bytes) -> list[bytes]:
        """Send one SMTP command line and return the reply's lines."""
        self.send(command + b"\r\n")
        return self.smtp_reply()

    def smtp_reply(self) -> list[bytes]:
        """Return the lines of one SMTP reply; [] when the connection ended."""
        lines: list[bytes] = []
        while line := self.line():
            lines.append(line)
            if line[3:4] != b"-":
                break
        return lines

    def pop3(self, command: bytes, *, lists: bool = False) -> list[bytes]:
        """Send one POP3 command line and return the reply's lines: one, or with `lists` all up to the dot."""
        self.send(command + b"\r\n")
        lines = [self.line()]
        while lists and lines[0].startswith(b"+OK") and lines[-1] not in (b".", b""):
            lines.append(self.line())
        return lines

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Begin TLS after the server's go-ahead."""
        assert self._buffer == b"", "the server sent something after its go-ahead"
        self._secure(context)

    def rest(self, *, within: float) -> bytes:
        """Return everything up to the end of the connection; TimeoutError when it has not ended in time.

        What came until then is kept for the next call.
        """
        self._socket.settimeout(within)
        while more := self._receive():
            self._buffer += more
        collected, self._buffer = self._buffer, b""
        return collected

    def server_certificate(self) -> bytes:
        """Return the DER of the server's certificate."""
        assert isinstance(self._socket, ssl.SSLSocket)
        der = self._socket.getpeercert(binary_form=True)
        assert der is not None
        return der

    def say_goodbye(self) -> None:
        """Send TLS's close-notify, without waiting for the answer."""
        assert isinstance(self._socket, ssl.SSLSocket)
        self._socket.settimeout(0)
        with contextlib.suppress(OSError):
            self._socket.unwrap()

    def close(self) -> None:
        """Close without a word."""
        self._socket.close()
        Wire.open.discard(self)

    def _secure(self, context: ssl.SSLContext) -> None:
        self._socket = context.wrap_socket(self._socket, server_hostname="localhost")

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65_536)
        except _ENDED:
            return b""
