"""One connection of a recording mail server: how it is told to behave, what came, and how its octets are read."""

import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True)
class Recorded:
    """What one connection brought."""

    received: bytearray = field(default_factory=bytearray)
    """Every byte, after TLS."""
    logged_in_at: int | None = None
    """How many bytes had come when the log-in succeeded."""
    sasl: list[tuple[str, bytes]] = field(default_factory=list)
    """Mechanism and decoded responses, as they came; LOGIN commands as mechanism `LOGIN` with `user NUL password`."""
    ended: bool = False
    aborted: bool = False
    """The connection ended by a reset, or in the midst of TLS: what came may be cut short."""

    @property
    def after_login(self) -> bytes:
        """The bytes that came after the log-in had succeeded."""
        return b"" if self.logged_in_at is None else bytes(self.received[self.logged_in_at :])


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How the server behaves."""

    protocol: Literal["imap", "smtp", "pop3", "sieve"] = "imap"
    passwords: Mapping[str, str] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    accepts_all: bool = False
    """Any password and any token will do."""
    features: tuple[bytes, ...] = (
        b"PIPELINING",
        b"SIZE 67108864",
        b"8BITMIME",
        b"AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER",
    )
    """What SMTP's EHLO offers."""
    sieve_features: tuple[bytes, ...] = ()
    """What ManageSieve offers besides the usual."""
    unauthenticate: bytes = b'NO "what"\r\n'
    """What ManageSieve answers to UNAUTHENTICATE after a log-in."""
    tls: ssl.SSLContext | None = None
    mode: Literal["off", "implicit", "starttls"] = "off"
    greeting: bytes | None = None
    """In place of the usual greeting; the connection ends after it."""
    silent: bool = False
    """Accept connections and never say a word."""
    act: Callable[["Peer"], None] | None = None
    """In place of the whole dialogue, after implicit TLS: a server that misbehaves. All that still comes is noted."""
    before_data: Callable[[Recorded], None] | None = None
    """Called once per connection, before the first byte that follows the log-in is taken note of."""


class EndedError(Exception):
    """The peer went away."""


class Peer:
    """The server's end of a connection: buffered reading with a record of all that was read."""

    def __init__(self, connection: socket.socket, recorded: Recorded) -> None:
        self.socket = connection
        self.recorded = recorded
        self._buffer = bytearray()

    def secure(self, context: ssl.SSLContext) -> None:
        """Begin TLS."""
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def line(self) -> bytes:
        """Return the next line without its end."""
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill()
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        self._take(end + 1)
        return line

    def exactly(self, count: int) -> bytes:
        """Return so many octets."""
        while len(self._buffer) < count:
            self._fill()
        data = bytes(self._buffer[:count])
        self._take(count)
        return data

    def chunk(self) -> bytes:
        """Return what comes next."""
        if not self._buffer:
            self._fill()
        data = bytes(self._buffer)
        self._take(len(data))
        return data

    def wait(self) -> None:
        """Return when there is something to read that was not yet counted as received."""
        if not self._buffer:
            self._fill()

    def close(self) -> None:
        """Close without a word."""
        self.socket.close()

    def reset(self) -> None:
        """Close by a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _fill(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EndedError
        self._buffer += data

    def _take(self, count: int) -> None:
        self.recorded.received += self._buffer[:count]
        del self._buffer[:count]
