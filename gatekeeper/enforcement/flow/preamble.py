"""What a mail server is told before anything else: whose connection this is."""

from gatekeeper.domain.request import Connection
from gatekeeper.net.dial import Upstream


def proxy_header(upstream: Upstream, connection: Connection) -> bytes:
    """The PROXY v1 header (haproxy's proxy-protocol.txt §2.1) where the mail server wants one, else nothing."""
    if upstream.client_address != "proxy":
        return b""
    family = "TCP6" if ":" in connection.client_address else "TCP4"
    if (":" in upstream.address) != (family == "TCP6"):
        return b"PROXY UNKNOWN\r\n"
    addresses = f"{connection.client_address} {upstream.address} {connection.client_port} {upstream.port}"
    return f"PROXY {family} {addresses}\r\n".encode()
