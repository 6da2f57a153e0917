"""Syslog over TLS (RFC 5425): one connection, octet-counted frames.

RFC 5425 has no acknowledgement. What can be known is that the peer's TCP has taken every octet: the kernel tells how
many it has not acknowledged yet (`TIOCOUTQ`). It does not mean that the program behind it has read them, let alone
stored them. That is why the shipper goes back some seconds after every lost connection.

Inside holds: the server's chain and name are verified; what it says to us is read and dropped; a peer that takes
nothing for `TIMEOUT_S` is lost.
"""

import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from gatekeeper.adapters.sinks.shipping.channel import PeerFailed
from gatekeeper.adapters.sinks.shipping.settings import SyslogPeer
from gatekeeper.audit.mappings.syslog import framed, message
from gatekeeper.net.tls import client_context

TIMEOUT_S = 10.0
"""Connecting, a handshake, a write that makes no progress, or octets that stay without acknowledgement."""
REFUSED_WITHIN_S = 0.3
"""A server that does not like our certificate says so only after its handshake looks done to us (TLS 1.3)."""
_GOODBYE_S = 1.0
_LONGEST_PAUSE_S = 0.01
_MOST_READ = 65_536
_Octets = struct.Struct("i")


class SyslogConnection:
    """A connection that is made when it is needed."""

    def __init__(self, peer: SyslogPeer) -> None:
        self._peer = peer
        self._socket: socket.socket | None = None
        self._made_at = 0.0

    def send(self, data: bytes) -> None:
        """Hand the octets to the kernel. Raises OSError, ssl.SSLError or PeerFailed."""
        self.connected().sendall(data)

    def connected(self) -> socket.socket:
        """The open connection."""
        if self._socket is None:
            self._socket = connect(self._peer)
            self._made_at = time.monotonic()
        return self._socket

    def confirm(self) -> None:
        """Wait until the peer's TCP has everything, and see that the peer did not leave."""
        sock = self.connected()
        end, pause = time.monotonic() + TIMEOUT_S, 0.0002
        while _unacknowledged(sock):
            self.look()
            if time.monotonic() > end:
                raise PeerFailed(f"nothing was acknowledged for {TIMEOUT_S:.0f} s")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        young_for = self._made_at + REFUSED_WITHIN_S - time.monotonic()
        if young_for > 0:
            self._listen(young_for)
        self.look()

    def look(self) -> None:
        """Read what the peer says, which means nothing, and raise when it said goodbye or is gone."""
        sock = self.connected()
        sock.settimeout(0)
        try:
            for _ in range(_MOST_READ // 4096):
                if not sock.recv(4096):
                    raise PeerFailed("the connection was closed")
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        finally:
            sock.settimeout(TIMEOUT_S)

    def close(self) -> None:
        """Say goodbye (RFC 5425 section 4.4) and close."""
        sock, self._socket = self._socket, None
        if sock is None:
            return
        with suppress(OSError, ValueError):
            sock.settimeout(_GOODBYE_S)
            if isinstance(sock, ssl.SSLSocket):
                sock.unwrap().close()
        sock.close()

    def _listen(self, within_s: float) -> None:
        sock = self.connected()
        end = time.monotonic() + within_s
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                if not sock.recv(4096):
                    raise PeerFailed("the connection was closed")
            except TimeoutError:
                break
            finally:
                sock.settimeout(TIMEOUT_S)


class SyslogChannel:
    """Records as messages; implements `channel.RecordChannel`."""

    batch = 64
    """About half a millisecond of work between two calls that let other threads run."""

    def __init__(self, peer: SyslogPeer, log: str) -> None:
        self._peer = peer
        self._log = log
        self._connection = SyslogConnection(peer)

    def send(self, first: int, lines: Sequence[bytes]) -> None:
        """See `RecordChannel`."""
        peer = self._peer
        frames = []
        for number, line in enumerate(lines, first):
            try:
                made = message(line[:-1], log=self._log, hostname=peer.hostname, sd_id=peer.sd_id)
            except ValueError as error:
                raise PeerFailed(f"record {number} {error}: see `gatekeeper audit verify`") from error
            frames.append(framed(made))
        self._connection.send(b"".join(frames))

    def confirm(self) -> None:
        """See `RecordChannel`."""
        self._connection.confirm()

    def idle(self) -> None:
        """See `RecordChannel`; connects, so that what cannot be reached shows before it is needed."""
        self._connection.look()

    def close(self) -> None:
        """See `RecordChannel`."""
        self._connection.close()


def connect(peer: SyslogPeer, connection: Callable[..., socket.socket] = socket.create_connection) -> socket.socket:
    """A connection with the server verified. Raises OSError, of which ssl.SSLError is one."""
    context = None
    if peer.tls is not None:
        context = client_context(peer.tls.ca, peer.tls.client_certificate, peer.tls.client_key)
    sock = connection((peer.host, peer.port), TIMEOUT_S)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        if context is not None:
            return context.wrap_socket(sock, server_hostname=peer.host)
    except BaseException:
        sock.close()
        raise
    return sock


def _unacknowledged(sock: socket.socket) -> int:
    """Octets in the send queue: not sent yet, or sent and not acknowledged by the peer's TCP (tcp(7), SIOCOUTQ)."""
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, _Octets.pack(0))
    return int(_Octets.unpack(answer)[0])
