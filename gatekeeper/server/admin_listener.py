"""The admin port's listener: a bounded number of connections, none for longer than a request can need.

Agents post evidence here, so it must not be possible to take the descriptors that mail needs, or to hold them.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from socket import socket
from time import monotonic

from aiohttp import web

MAX_CONNECTIONS = 64
MAX_AGE_S = 60.0
"""Of a connection, idle or not; aiohttp's own limits begin only when a request's head is complete."""


class _Refusal(asyncio.Protocol):
    """Closes at once: there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class AdminListener:
    """Listens for one aiohttp application."""

    def __init__(self, app: web.Application, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._monotonic = monotonic
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        self._listening: asyncio.Server | None = None
        self._since: dict[web.RequestHandler, float] = {}

    async def start(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Listen, by TLS with a context; returns the bound port. Raises OSError."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._accepted, host, port, backlog=MAX_CONNECTIONS, ssl=context)
        return int(self._listening.sockets[0].getsockname()[1])

    async def start_on(self, sock: socket) -> int:
        """Listen on a socket that is bound already; returns its port."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._accepted, sock=sock, backlog=MAX_CONNECTIONS)
        return int(sock.getsockname()[1])

    def sweep(self) -> None:
        """End what has been open for too long; called now and then."""
        now = self._monotonic()
        open_now = set(self._connections())
        self._since = {one: self._since.get(one, now) for one in open_now}
        for connection, since in self._since.items():
            if now - since > MAX_AGE_S:
                connection.force_close()

    async def cleanup(self) -> None:
        """Stop listening and end the connections."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _connections(self) -> Iterable[web.RequestHandler]:
        server = self._runner.server
        return () if server is None else server.connections

    def _accepted(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            return _Refusal()
        return server()
