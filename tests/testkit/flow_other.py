"""A mail server with another address beside a bed's own."""

import ssl

from testkit.flow_bed import Bed, MailServer
from testkit.ports import LOOPBACK


class Other:
    """A second mail server, preferred to the bed's own."""

    def __init__(self, bed: Bed, context: ssl.SSLContext | None = None) -> None:
        self.server = MailServer()
        self._bed = bed
        self._context = context

    async def __aenter__(self) -> MailServer:
        self._bed.before.append((LOOPBACK, await self.server.start(self._context)))
        return self.server

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()
