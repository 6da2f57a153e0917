"""The admin port's bounds: how many connections, and for how long."""

import asyncio

from aiohttp import web

from gatekeeper.server.admin_listener import MAX_AGE_S, MAX_CONNECTIONS, AdminListener


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


def _app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", _hello)
    return app


async def _served(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    except ConnectionError:
        return False  # closed with the request unread
    return answer.endswith(b"hello")


async def test_more_connections_than_allowed_are_closed_at_once() -> None:
    """And there is room again when the others have gone."""
    listener = AdminListener(_app())
    port = await listener.start("127.0.0.1", 0)
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
    assert await _served(port) is False

    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(30):
        while not await _served(port):
            pass
    await listener.cleanup()


async def test_a_connection_that_never_finishes_its_request_is_ended() -> None:
    """However slowly it goes on talking."""
    instant = 0.0
    listener = AdminListener(_app(), monotonic=lambda: instant)
    port = await listener.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nX-")
    assert await _served(port)
    listener.sweep()
    instant = MAX_AGE_S + 1
    listener.sweep()

    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()
    await listener.cleanup()
