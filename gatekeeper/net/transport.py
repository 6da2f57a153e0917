"""A lean transport: a non-blocking socket, plain or TLS, with the interface of `asyncio.Transport`.

asyncio's own TLS transport keeps a 256 KiB buffer and two memory BIOs for each connection. Here OpenSSL works on the
socket itself. Any `asyncio.Protocol` runs on it unchanged; `start_tls` upgrades in place and `detach` gives the socket
away to the relay.

What holds inside:

* Reading stops before a TLS upgrade, and nothing that was read before is ever delivered after it.
* What cannot be written yet is kept in one bounded buffer; a peer that does not read is cut off when it is full.
* `connection_lost` is called exactly once, on the event loop, unless the socket was detached.
"""

import asyncio
import select
import ssl
from collections.abc import Callable
from socket import MSG_PEEK, SHUT_WR, SO_ERROR, SO_RCVLOWAT, SOL_SOCKET, socket
from typing import Any, cast

from gatekeeper.net.poller import READ, WRITE, Poller
from gatekeeper.net.tls import Engine, engine

READ_OCTETS = 65536
_GONE = select.EPOLLHUP | select.EPOLLERR
MAX_UNSENT_OCTETS = 262_144
"""Replies a client has not read yet, before log-in; nginx and Dovecot keep a few KiB."""

_RECORD_HEADER = 5
_HANDSHAKE_RECORD = 22
_LONGEST_RECORD = _RECORD_HEADER + 16384
"""A TLS record in the clear (RFC 8446 §5.1)."""

Upgraded = Callable[[], None]
_NOBODY = asyncio.Protocol()
"""Is told nothing any more."""


class Transport(asyncio.Transport):
    """One connection before it is relayed, towards a phone or towards the mail server."""

    __slots__ = (
        "_closing",
        "_connecting",
        "_context",
        "_engine",
        "_handshaking",
        "_loop",
        "_lost",
        "_low_water",
        "_paused",
        "_poller",
        "_protocol",
        "_sock",
        "_unsent",
        "_upgraded",
        "fd",
        "max_unsent",
    )

    def __init__(
        self,
        sock: socket,
        protocol: asyncio.Protocol,
        *,
        poller: Poller,
        loop: asyncio.AbstractEventLoop,
        peername: tuple[str, int] | None = None,
        connecting: bool = False,
    ) -> None:
        super().__init__({"peername": peername, "sockname": None})
        self.fd = sock.fileno()
        self._sock = sock
        self._engine: Engine | None = None
        """Set while TLS is spoken, or begun."""
        self._protocol: asyncio.Protocol = protocol
        self._poller = poller
        self._loop = loop
        self._unsent = b""
        self.max_unsent = MAX_UNSENT_OCTETS
        self._connecting = connecting
        self._handshaking = False
        self._upgraded: Upgraded | None = None
        self._context: ssl.SSLContext | None = None
        """What a phone's handshake begins with, once its ClientHello is there."""
        self._low_water = 0
        """Octets of the ClientHello for which the socket wakes us, when that is more than one."""
        self._paused = False
        self._closing = False
        self._lost = False
        poller.watch(self.fd, WRITE if connecting else READ, self)

    # What a connection's owner calls.

    def start_tls(self, context: ssl.SSLContext, upgraded: Upgraded, server_hostname: str | None = None) -> None:
        """Begin the handshake on this socket; `upgraded` is called when it is done, `connection_lost` if it fails.

        Towards a phone `server_hostname` is None. What is still unsent goes out first; a peer that does not take it is
        cut off, for it must never turn up inside TLS as if it had been said there.
        """
        self._flush()
        if self._unsent:
            self._lose(ConnectionAbortedError("peer does not read"))
        if self._lost:
            return
        self._handshaking = True
        self._upgraded = upgraded
        if server_hostname is None:
            self._context = context
            self._await_hello(context)
        else:
            self._wrap(context, server_hostname)

    def detach(self) -> tuple[socket, bytes]:
        """Give away the socket (still watched by the poller) and the bytes not sent yet; nothing is called any more."""
        self._lost = True
        unsent, self._unsent = self._unsent, b""
        self._engine = None
        del self._protocol  # a cycle that would keep both in memory until the collector comes
        return self._sock, unsent

    def tls(self) -> ssl.SSLSocket | None:
        """The TLS socket, when the connection is encrypted."""
        return self._sock if isinstance(self._sock, ssl.SSLSocket) else None

    @property
    def is_connected(self) -> bool:
        """Whether the peer has taken the connection; asks the kernel where nothing was heard of it yet."""
        if self._lost or self._connecting:
            return False
        try:
            self._sock.getpeername()
        except OSError:
            return False
        return True

    # Watched by the poller.

    def ready(self, mask: int) -> bool:
        """Serve the socket: handshake, flush, then one read."""
        if self._connecting:
            self._connected()
            return False
        if self._handshaking:
            if self._context is not None:
                self._await_hello(self._context)
            else:
                self._handshake()
            return False
        if mask & WRITE:
            self._flush()
        if mask & ~WRITE and not self._lost:
            if not self._paused:
                self._read()
            elif mask & _GONE:  # reported whatever is watched for
                self._lose(ConnectionResetError("peer went away"))
        return False

    def failed(self, error: Exception) -> None:
        """Close after an unexpected error; the protocol's owner logs it."""
        self._lose(error)

    def _connected(self) -> None:
        error = self._sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if error:
            self._lose(OSError(error, "cannot connect"))
            return
        self._connecting = False
        self._watch()
        self._protocol.connection_made(self)

    def _await_hello(self, context: ssl.SSLContext) -> None:
        """Begin when the first record is there whole: a handshake that goes no further would hold OpenSSL's buffers.

        They are ten times what a connection takes otherwise, and a thousand half-open ones are cheap to make.
        """
        buffer = self._poller.buffer
        try:
            count = self._sock.recv_into(buffer, _LONGEST_RECORD, MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            self._poller.change(self.fd, READ)
            return
        except OSError as error:
            self._lose(error)
            return
        if not count or count < self._low_water:
            # Woken for less than we asked: nothing more will come.
            self._lose(ConnectionAbortedError("peer was gone before the handshake"))
            return
        wanted = _record_octets(buffer, count)
        if count < wanted:
            # What was peeked at is still there: without this it would be reported again at once, and for ever.
            self._low_water = wanted
            self._sock.setsockopt(SOL_SOCKET, SO_RCVLOWAT, wanted)
            self._poller.change(self.fd, READ)
            return
        self._context = None
        if self._low_water:
            self._sock.setsockopt(SOL_SOCKET, SO_RCVLOWAT, 1)
        self._wrap(context, None)

    def _wrap(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        gone: Exception | None = None
        try:
            self._sock = context.wrap_socket(
                self._sock,
                server_side=server_hostname is None,
                server_hostname=server_hostname,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
        except (OSError, ValueError) as error:
            # A new exception: the frames of this one would hold the descriptor, which `wrap_socket` took, open.
            gone = ConnectionAbortedError(f"peer was gone before the handshake: {error}")
        self._engine = engine(self._sock)
        if gone is not None:
            self._poller.forget(self.fd)
            self._lose(gone)
        else:
            self._handshake()

    def _handshake(self) -> None:
        try:
            cast("Engine", self._engine).do_handshake()
        except ssl.SSLWantReadError:
            self._poller.change(self.fd, READ)
            return
        except ssl.SSLWantWriteError:
            self._poller.change(self.fd, WRITE)
            return
        except OSError as error:
            self._lose(error)
            return
        self._handshaking = False
        upgraded, self._upgraded = self._upgraded, None
        self._watch()
        if upgraded is not None and not self._closing:
            upgraded()

    def _read(self) -> None:
        buffer = self._poller.buffer
        try:
            tls = self._engine
            count = self._sock.recv_into(buffer, READ_OCTETS) if tls is None else tls.read(READ_OCTETS, buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if count:
            self._protocol.data_received(bytes(buffer[:count]))
            return
        self._protocol.eof_received()
        self._lose(None, is_polite=True)

    def _flush(self) -> None:
        while self._unsent:
            try:
                tls = self._engine
                sent = self._sock.send(self._unsent) if tls is None else tls.write(self._unsent)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._lose(error)
                return
            self._unsent = self._unsent[sent:]
        if not self._unsent and self._closing:
            self._finish()
        elif not self._lost:
            self._watch()

    def _finish(self) -> None:
        """Close, now that everything is sent: over TLS after the close-notify, once a socket that is full takes it."""
        if not self._handshaking and not close_notify(self._sock):
            self._watch()
            return
        self._lose(None)

    def _watch(self) -> None:
        if not self._lost:
            wants_to_write = self._unsent or self._closing
            self._poller.change(self.fd, (0 if self._paused else READ) | (WRITE if wants_to_write else 0))

    def _lose(self, error: Exception | None, *, is_polite: bool = False) -> None:
        if self._lost:
            return
        self._lost = True
        self._closing = True
        self._unsent = b""
        self._engine = None  # the collector may be long in coming, and OpenSSL keeps 27 KiB for each
        close_socket(self._sock, self._poller, polite=is_polite)
        self._loop.call_soon(self._tell, self._protocol.connection_lost, error)

    def _tell(self, lost: Callable[[Exception | None], None], error: Exception | None) -> None:
        """Once, and let go of the protocol: a cycle would keep both in memory until the collector comes."""
        self._protocol = _NOBODY
        lost(error)

    # asyncio.Transport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send what the socket takes now and keep the rest."""
        if self._lost or self._closing or not data:
            return
        if self._unsent or self._handshaking:
            self._unsent += bytes(data)
        else:
            self._unsent = bytes(data)
            self._flush()
        if len(self._unsent) > self.max_unsent:
            self._lose(ConnectionAbortedError("peer does not read"))

    def close(self) -> None:
        """Close when everything is sent."""
        if self._lost or self._closing:
            return
        self._closing = True
        self.pause_reading()
        if not self._unsent:
            self._finish()

    def abort(self) -> None:
        """Close at once."""
        self._lose(ConnectionAbortedError("aborted"))

    def is_closing(self) -> bool:
        """Whether `close`, `abort` or the peer ended the connection."""
        return self._closing or self._lost

    def pause_reading(self) -> None:
        """Stop delivering data; a peer that goes away is still noticed."""
        self._paused = True
        if not self._handshaking:
            self._watch()

    def resume_reading(self) -> None:
        """Deliver data again."""
        self._paused = False
        if not self._handshaking:
            self._watch()

    def is_reading(self) -> bool:
        """Whether data is delivered."""
        return not (self._paused or self._closing)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to another protocol from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.Protocol:
        """The protocol that is delivered to."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sslcontext`, `ssl_object`, `cipher`, `socket`."""
        tls = self.tls()
        if name == "ssl_object":
            return tls or default
        if name == "sslcontext":
            return tls.context if tls else default
        if name == "socket":
            return self._sock
        return super().get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Octets kept for the peer."""
        return len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Accepted and without effect: the buffer is bounded by `max_unsent`."""

    def can_write_eof(self) -> bool:
        """A TLS connection cannot be half-closed."""
        return self.tls() is None

    def write_eof(self) -> None:
        """Half-close a plain connection."""
        if self.tls() is None and not self._lost:
            self._sock.shutdown(SHUT_WR)


def _record_octets(buffer: memoryview, count: int) -> int:
    """How long the record is whose first `count` octets stand in `buffer`; 1 for what is no TLS: OpenSSL says so."""
    if buffer[0] != _HANDSHAKE_RECORD:
        return 1
    if count < _RECORD_HEADER:
        return _RECORD_HEADER
    return min(_RECORD_HEADER + int.from_bytes(buffer[3:5], "big"), _LONGEST_RECORD)


def close_notify(sock: socket) -> bool:
    """Tell the peer by TLS, where that is spoken, that nothing more comes; False when the socket is too full for it.

    Then it is to be called again when the socket takes something. The peer's own is not waited for.
    """
    if isinstance(sock, ssl.SSLSocket):
        try:
            sock.unwrap()
        except ssl.SSLWantWriteError:
            return False
        except (OSError, ValueError):
            pass  # sent; or the peer is gone: closing is all that is left to do
    return True


def close_socket(sock: socket, poller: Poller, *, polite: bool) -> None:
    """Stop watching and close; after a close-notify, if there is room for one, when `polite`."""
    poller.forget(sock.fileno())
    if polite:
        close_notify(sock)
    sock.close()
