"""Asking the mail servers, at start and now and then: who is up, and what is offered before log-in.

So the first phone is offered the right mechanisms, and an address that is out comes back before a phone has to try it.
The same log-in clients as for a phone speak to the server, up to the point where credentials would be sent; nothing is
ever sent as credentials.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog

from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement import points
from gatekeeper.enforcement.flow.preamble import own_header
from gatekeeper.enforcement.flow.upstream import lost
from gatekeeper.net.dial import TlsMode, Upstream, dial
from gatekeeper.net.poller import Poller
from gatekeeper.net.pool import UpstreamPool
from gatekeeper.protocols.login import Failed, Learnt, LoggedIn, LoginClient, NeedData, Rejected, Send, StartTls

if TYPE_CHECKING:
    from gatekeeper.net.transport import Transport
    from gatekeeper.server.compose import Gatekeeper

_log = structlog.get_logger("gatekeeper.probe")

_TIMEOUT_S = 10.0
PERIOD_S = 30.0
"""Between two looks at an address that is up; Envoy's documentation has 60 s, haproxy's `inter` 2 s without TLS."""
RETRY_S = 5.0
"""Between two looks at one that is out."""


class ProbeFailed(Exception):
    """The mail server could not be asked; the text says why."""


async def watch_upstreams(gatekeeper: "Gatekeeper") -> None:
    """Ask every address of every mail server again and again, those that are out more often, new ones soon."""
    turns = int(PERIOD_S / RETRY_S)
    turn = 0
    while True:
        await look(gatekeeper, only_out=turn % turns != 0)
        turn += 1
        await asyncio.sleep(RETRY_S)


async def look(gatekeeper: "Gatekeeper", *, only_out: bool = False) -> None:
    """Ask the mail servers' addresses once, all at the same time; `only_out`: those out, and those never asked."""
    async with asyncio.TaskGroup() as tasks:
        for protocol, pool in gatekeeper.upstreams.items():
            for upstream, health in tuple(pool.health().items()):
                if health.fault or not (only_out and health.is_known):
                    tasks.create_task(_look_at(gatekeeper, protocol, pool, upstream), name=f"ask {upstream.place}")


async def _look_at(gatekeeper: "Gatekeeper", protocol: MailProtocol, pool: UpstreamPool, upstream: Upstream) -> None:
    try:
        offers = await probe(upstream, protocol, gatekeeper.poller)
    except ProbeFailed as error:
        pool.failed(upstream, str(error))
        return
    except Exception as error:  # noqa: BLE001  the guard of a background loop: one server must not stop the others
        _log.error("probe.fault", address=upstream.place, exc_info=error)
        return
    pool.worked(upstream)
    for front in gatekeeper.fronts.values():
        if front.upstream is pool and (upstream == pool.order[0] or not front.upstream_offers):
            front.upstream_offers = offers


async def probe(upstream: Upstream, protocol: MailProtocol, poller: Poller) -> frozenset[str]:
    """What the mail server offers before log-in, under TLS where configured. Raises `ProbeFailed`."""
    loop = asyncio.get_running_loop()
    asked = _Probe(upstream, points()[protocol].probe(upstream.tls is TlsMode.STARTTLS), loop.create_future())
    try:
        asked.transport = dial(upstream, asked, poller=poller, loop=loop)
        async with asyncio.timeout(_TIMEOUT_S):
            return await asked.done
    except (OSError, TimeoutError) as error:
        raise ProbeFailed(str(error) or "no answer") from error
    finally:
        if asked.transport is not None:
            asked.transport.close()


class _Probe(asyncio.Protocol):
    def __init__(self, upstream: Upstream, client: LoginClient, done: "asyncio.Future[frozenset[str]]") -> None:
        self.transport: Transport | None = None
        self.done = done
        self._upstream = upstream
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.transport is not None:
            self.transport.write(own_header(self._upstream, transport.get_extra_info("socket")))
        if self._upstream.tls is TlsMode.IMPLICIT:
            self._encrypt()

    def data_received(self, data: bytes) -> None:
        self._client.receive_data(data)
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(lost(exc))

    def _go_on(self) -> None:
        while self.transport is not None and not self.done.done():
            step = self._client.next_step()
            match step:
                case NeedData():
                    return
                case Send(data):
                    self.transport.write(data)
                case StartTls():
                    self._encrypt()
                    return
                case Failed(reason):
                    self._fail(reason)
                case Learnt() | LoggedIn() | Rejected():
                    self.done.set_result(self._client.offers)

    def _encrypt(self) -> None:
        upstream = self._upstream
        if self.transport is not None and upstream.context is not None:
            self.transport.start_tls(upstream.context, self._encrypted, upstream.host)

    def _encrypted(self) -> None:
        if self._upstream.tls is TlsMode.STARTTLS:
            self._client.tls_started()
        self._go_on()

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(ProbeFailed(reason))
