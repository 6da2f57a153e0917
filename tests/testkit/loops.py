"""An event loop on the poller, connected pairs of sockets, and a protocol that keeps what it is told.

The far end of a pair is driven by blocking calls in a thread (`asyncio.to_thread`), as a program of its own would.
"""

import array
import asyncio
import fcntl
import random
import select
import selectors
import socket
import ssl
import termios
from collections.abc import Callable

from gatekeeper.net.poller import READ, Poller, PollerLoop, Watched
from gatekeeper.net.transport import Transport

DEADLINE_S = 20.0


class CountingPoller(Poller):
    """A poller that counts its turns: one that spins counts thousands."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.after_turn: Callable[[], None] = lambda: None
        self._turned = asyncio.Event()

    def _serve(self, events: list[tuple[int, int]]) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        for_asyncio = super()._serve(events)
        self.after_turn()
        self._turned.set()
        return for_asyncio

    async def until(self, condition: Callable[[], object]) -> None:
        """Return when something holds that a turn of the loop brings about, and nobody tells."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._turned.clear()
                await self._turned.wait()


def poller_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop on a poller of its own."""
    return PollerLoop(CountingPoller())


def poller_of(loop: asyncio.AbstractEventLoop) -> CountingPoller:
    """Return the poller that `poller_loop` put under a loop."""
    poller = loop._selector  # type: ignore[attr-defined]  # asyncio has no public way to it
    assert isinstance(poller, CountingPoller)
    return poller


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected loopback sockets: the near one non-blocking, the far one with a deadline."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname(), timeout=DEADLINE_S)
        near, _ = server.accept()
    near.settimeout(0)
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def local_pair() -> tuple[socket.socket, socket.socket]:
    """Return two like those, but of this machine: what one sends, the other has when `send` returns.

    Loopback TCP may leave that to a thread of the kernel, which waits for a processor like any other: where turns are
    counted, or who comes first, that would be counted too.
    """
    near, far = socket.socketpair()
    near.settimeout(0)
    far.settimeout(DEADLINE_S)
    return near, far


def reset(sock: socket.socket) -> None:
    """Close so that the peer gets a RST instead of an end of file."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def is_drained(sock: socket.socket) -> bool:
    """Whether all that has arrived was read."""
    unread = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, unread)
    return not unread[0]


def read_all(sock: socket.socket) -> bytes:
    """Return what arrives up to the end of file; blocking."""
    collected = bytearray()
    while more := sock.recv(1 << 16):
        collected += more
    return bytes(collected)


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Return `count` octets; blocking; fewer only at the end of file."""
    collected = bytearray()
    while len(collected) < count and (more := sock.recv(min(1 << 16, count - len(collected)))):
        collected += more
    return bytes(collected)


def was_reset(sock: socket.socket) -> bool:
    """Whether the connection ends with a RST, over TLS with anything but a close-notify; blocking."""
    try:
        read_all(sock)
    except (ConnectionResetError, ssl.SSLError):
        return True
    return False


class Kept(asyncio.Protocol):
    """Keeps everything in order; `until` waits for it."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.events: list[str] = []
        self.lost: list[Exception | None] = []
        self.on_data: Callable[[bytes], None] | None = None
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.happened("made")

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.happened("data")
        if self.on_data is not None:
            self.on_data(data)

    def eof_received(self) -> bool:
        self.happened("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)
        self.happened("lost")

    def happened(self, event: str) -> None:
        """Keep an event and wake those who wait."""
        self.events.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds after some event."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_lost(self) -> Exception | None:
        """Wait for the end and return its reason."""
        await self.until(lambda: self.lost)
        return self.lost[0]


def transport_on(near: socket.socket, protocol: asyncio.Protocol, poller: Poller) -> Transport:
    """Put the lean transport on the near end of a pair."""
    return Transport(near, protocol, poller=poller, loop=asyncio.get_running_loop(), peername=("127.0.0.1", 1))


class Readings(Watched):
    """Watches the near end of a pair and reads everything at once; counts how it was served."""

    def __init__(self, sock: socket.socket, poller: Poller, *, is_heavy: bool = False) -> None:
        self.sock = sock
        self.served = 0
        self.received = bytearray()
        self.failures: list[Exception] = []
        self.raises: Exception | None = None
        self._is_heavy = is_heavy
        self._poller = poller
        self.changed = asyncio.Event()
        poller.watch(sock.fileno(), READ, self)

    def ready(self, mask: int) -> bool:
        self.served += 1
        self.changed.set()
        if self.raises is not None:
            raise self.raises
        if mask & select.EPOLLIN:
            self.received += self.sock.recv(4096)
        return self._is_heavy

    def failed(self, error: Exception) -> None:
        self.failures.append(error)
        self._poller.forget(self.sock.fileno())
        self.sock.close()
        self.changed.set()


def tls_client(far: socket.socket, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
    """Do the client's handshake on the far end; blocking."""
    return context.wrap_socket(far, server_hostname=name)


def tls_server(far: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Do the server's handshake on the far end; blocking."""
    return context.wrap_socket(far, server_side=True)


def exchange(sock: socket.socket, outgoing: bytes, expected: int, rng: random.Random, largest: int) -> bytes:
    """Send `outgoing` and receive `expected` octets at once, in pieces of random sizes; blocking, in one thread.

    One thread, because a TLS socket must not be read and written by two.
    """
    sock.settimeout(0)
    received = bytearray()
    sent = 0
    piece = largest  # OpenSSL wants a write that did not fit before to be tried again with no less
    while sent < len(outgoing) or len(received) < expected:
        wants_to_send = sent < len(outgoing)
        has_pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
        readable, writable, _ = select.select(
            [sock], [sock] if wants_to_send else [], [], 0 if has_pending else DEADLINE_S
        )
        if not readable and not writable and not has_pending:
            raise TimeoutError(f"stuck after {sent} out and {len(received)} in")
        try:
            if readable or has_pending:
                received += _received(sock, rng.randint(1, largest))
            if writable:
                count = sock.send(outgoing[sent : sent + piece])
                sent += count
                piece = rng.randint(1, largest)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass
    sock.settimeout(DEADLINE_S)
    return bytes(received)


def _received(sock: socket.socket, largest: int) -> bytes:
    try:
        piece = sock.recv(largest)
    except (ssl.SSLWantReadError, BlockingIOError):
        return b""
    if not piece:
        raise EOFError("the connection ended early")
    return piece
