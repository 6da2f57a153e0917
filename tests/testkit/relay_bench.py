"""Relayed sessions between two far ends, plain and over TLS on either side, for tests of the relay."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from gatekeeper.net.relay import Ended, Owner, Relay, Relayed, Side
from testkit.loops import DEADLINE_S, CountingPoller, Kept, tcp_pair, tls_client, tls_server, transport_on

_SO_MEMINFO = 55
_WMEM_ALLOC, _SNDBUF = 2, 3
"""linux/sock_diag.h."""


@dataclass
class Owned:
    """A relayed session with its two far ends; the owner of the session."""

    relay: Relay
    phone: socket.socket
    server: socket.socket
    session: Relayed
    endings: list[tuple[Ended, Exception | None]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    last_words: bytes = b""

    def session_ended(self, relayed: Relayed, why: Ended, error: Exception | None) -> None:
        self.endings.append((why, error))
        self.over.set()

    async def ended(self) -> Ended:
        """Wait for the end; it must be told once, and nothing stay watched."""
        async with asyncio.timeout(DEADLINE_S):
            await self.over.wait()
        await asyncio.to_thread(lambda: None)
        assert len(self.endings) == 1
        assert len(self.relay) == 0
        return self.endings[0][0]

    def close(self) -> None:
        """End whatever is left."""
        self.relay.end_all(Ended.DRAINED)
        self.phone.close()
        self.server.close()

    async def until(self, condition: Callable[[], object]) -> None:
        """Return when something holds that the relay does not tell."""
        poller = self.relay.poller
        assert isinstance(poller, CountingPoller)
        await poller.until(condition)

    async def fill_up(self, talks: socket.socket, target: Side) -> int:
        """Let a far end talk until the socket of the other side takes nothing more; return how much it said."""
        sent = 0
        while not _is_full(target.sock):
            talks.sendall(b"x" * 1000)
            sent += 1000
            await self.until(lambda: target.peer.octets == sent)  # noqa: B023  within this turn
        assert not target.unsent
        return sent


def _is_full(sock: socket.socket) -> bool:
    """Whether the kernel takes nothing more; it says so of a local socket only: TCP fills its last segment up."""
    counts = struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))
    return counts[_WMEM_ALLOC] >= counts[_SNDBUF]


class RelayBench:
    """Makes sessions."""

    def __init__(self, poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext) -> None:
        self.relay = Relay(poller)
        self.poller = poller
        self.made: list[Owned] = []
        self._for_server = for_server
        self._for_client = for_client

    async def session(
        self,
        *,
        client_tls: bool = False,
        upstream_tls: bool = False,
        to_client: bytes = b"",
        to_upstream: bytes = b"",
        buffer: int | None = None,
        new_session: Callable[[Relay, Owner], Relayed] = Relayed,
        pair: Callable[[], tuple[socket.socket, socket.socket]] = tcp_pair,
    ) -> Owned:
        """Connect two far ends by the relay; `buffer` makes the kernel's send buffers small."""
        near_phone, phone = pair()
        near_server, server = pair()
        for sock in (near_phone, near_server, phone, server):
            if buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client_side, phone = await self._leg(near_phone, phone, is_tls=client_tls, we_serve=True)
        server_side, server = await self._leg(near_server, server, is_tls=upstream_tls, we_serve=False)
        owned = Owned(self.relay, phone, server, None)  # type: ignore[arg-type]  # set below
        self.made.append(owned)
        owned.session = self.relay.begin((client_side, to_client), (server_side, to_upstream), owned, new_session)
        return owned

    async def _leg(
        self, near: socket.socket, far: socket.socket, *, is_tls: bool, we_serve: bool
    ) -> tuple[socket.socket, socket.socket]:
        kept = Kept()
        transport = transport_on(near, kept, self.poller)
        if is_tls and we_serve:
            transport.start_tls(self._for_server, lambda: kept.happened("upgraded"))
            far = await asyncio.to_thread(tls_client, far, self._for_client)
        elif is_tls:
            transport.start_tls(self._for_client, lambda: kept.happened("upgraded"), "localhost")
            far = await asyncio.to_thread(tls_server, far, self._for_server)
        if is_tls:
            await kept.until(lambda: "upgraded" in kept.events)
            assert isinstance(far, ssl.SSLSocket)
            far.suppress_ragged_eofs = False
        return transport.detach()[0], far
