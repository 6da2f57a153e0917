"""A witness by HTTP: `POST /add-checkpoint` (c2sp.org/tlog-witness), for logs that ask by themselves.

Inside holds: a request is at most `MAX_OCTETS` long, connections are few and short (`AdminListener`); one head at a
time is compared and put down, away from the event loop; nothing of an exception reaches a client.
"""

import asyncio
import signal
import ssl
from collections.abc import Callable

from aiohttp import web

from gatekeeper.adapters.sinks.witnessing import Answer, WitnessDesk
from gatekeeper.audit.proof import MAX_PROOF_OCTETS
from gatekeeper.server.admin_listener import AdminListener

MAX_OCTETS = MAX_PROOF_OCTETS
_SWEEP_S = 5.0

Told = Callable[[Answer], None]


def witness_app(desk: WitnessDesk, told: Told) -> web.Application:
    """What is served; `told` hears of each answer."""
    turn = asyncio.Lock()

    async def add_checkpoint(request: web.Request) -> web.Response:
        body = await request.read()
        async with turn:
            answer = await asyncio.to_thread(desk.answer, body)
        told(answer)
        return web.Response(status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type})

    app = web.Application(client_max_size=MAX_OCTETS)
    app.add_routes([web.post("/add-checkpoint", add_checkpoint)])
    return app


async def serve_witness(
    desk: WitnessDesk,
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None,
    listening: Callable[[int], None],
    told: Told,
) -> None:
    """Serve until SIGTERM or SIGINT; `listening` is told the port. Raises OSError when the address is taken."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    listener = AdminListener(witness_app(desk, told))
    listening(await listener.start(host, port, context))
    try:
        while not ended.is_set():
            try:
                async with asyncio.timeout(_SWEEP_S):
                    await ended.wait()
            except TimeoutError:
                listener.sweep()
    finally:
        await listener.cleanup()
