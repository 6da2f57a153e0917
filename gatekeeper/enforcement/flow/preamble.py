"""What a mail server is told before anything else: whose connection this is (proxy-protocol.txt)."""

from socket import socket

from gatekeeper.domain.request import Connection
from gatekeeper.net.dial import Upstream
from gatekeeper.net.transport import Transport
from gatekeeper.protocols.proxy_protocol import sending


def proxy_header(upstream: Upstream, connection: Connection, client: Transport) -> bytes:
    """The PROXY header about a phone where the mail server wants one, else nothing.

    Its destination is where the phone connected to, so that both addresses are of one family, whatever the mail
    server's own is of.
    """
    if not upstream.wants_proxy_header:
        return b""
    tls = client.tls()
    source = connection.client_address, connection.client_port
    destination = connection.server or _endpoint((tls or client.get_extra_info("socket")).getsockname())
    if upstream.client_address == "proxy":
        return sending.version_1(source, destination)
    return sending.version_2(source, destination, None if tls is None else tls.version())


def own_header(upstream: Upstream, sock: socket) -> bytes:
    """The PROXY header of a connection of our own, behind which there is no phone; else nothing."""
    if not upstream.wants_proxy_header:
        return b""
    if upstream.client_address == "proxy":
        # UNKNOWN is not taken by every server; its own connection's addresses are (§2.1).
        return sending.version_1(_endpoint(sock.getsockname()), _endpoint(sock.getpeername()))
    return sending.LOCAL


def _endpoint(name: tuple[str, int, *tuple[int, ...]]) -> tuple[str, int]:
    return name[0], name[1]
