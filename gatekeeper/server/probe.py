"""What a mail server offers before log-in: learnt at start, so that the first phone is offered the right mechanisms.

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
from gatekeeper.protocols.login import Failed, Learnt, LoggedIn, LoginClient, NeedData, Rejected, Send, StartTls

if TYPE_CHECKING:
    from gatekeeper.net.transport import Transport
    from gatekeeper.server.compose import Gatekeeper

_log = structlog.get_logger("gatekeeper.probe")

_TIMEOUT_S = 10.0
_RETRY_S = 30.0


class ProbeFailed(Exception):
    """The mail server could not be asked; the text says why."""


async def learn_offers(gatekeeper: "Gatekeeper") -> None:
    """Ask every mail server once, and those that do not answer again and again."""
    while True:
        unknown = [front for front in gatekeeper.fronts.values() if not front.upstream_offers]
        for front in unknown:
            try:
                front.upstream_offers = await probe(front.upstream, front.protocol, gatekeeper.poller)
            except ProbeFailed as error:
                _log.warning("upstream.unreachable", listener=front.name, reason=str(error))
        await asyncio.sleep(_RETRY_S)


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
