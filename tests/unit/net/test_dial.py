"""Dialling a mail server."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatekeeper.net.dial import TlsMode, Upstream, dial
from gatekeeper.net.poller import Poller, PollerLoop
from testkit.loops import CountingPoller, Kept, read_all, tls_server
from testkit.ports import free_port
from testkit.tls import Authority, server_context


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(10)
        yield sock


def _upstream(server: socket.socket, *, host: str = "localhost", **more: object) -> Upstream:
    facts: dict[str, object] = {"tls": TlsMode.OFF, "context": None, **more}
    return Upstream(host=host, address="127.0.0.1", port=server.getsockname()[1], **facts)  # type: ignore[arg-type]


class _Encrypting(Kept):
    """Starts TLS as soon as the connection stands, as the log-in leg does."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        self.upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        context = self.upstream.context
        assert context is not None
        transport.start_tls(context, lambda: self.happened("upgraded"), self.upstream.host)  # type: ignore[attr-defined]


async def test_a_server_that_talks_first_is_simply_read(poller: CountingPoller, server: socket.socket) -> None:
    """Its greeting says that the connection stands, one event earlier than the kernel would have."""
    kept = Kept()
    transport = dial(_upstream(server), kept, poller=poller, loop=asyncio.get_running_loop())
    peer, _ = await asyncio.to_thread(server.accept)
    peer.sendall(b"* OK\r\n")
    await kept.until(lambda: kept.received)

    assert kept.events == ["data"]
    assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport.write(b"a LOGOUT\r\n")
    transport.close()
    assert await asyncio.to_thread(read_all, peer) == b"a LOGOUT\r\n"
    await kept.until_lost()
    peer.close()


@pytest.mark.parametrize(("chosen", "expected"), [(b"reno", b"reno"), (b"unknown", None)])
async def test_nothing_is_paced_to_a_server_on_this_machine(
    poller: CountingPoller,
    server: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    chosen: bytes,
    expected: bytes | None,
) -> None:
    """Whatever the system chooses for its networks; where that is not allowed it stays."""
    with socket.socket() as usual:
        default = usual.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    monkeypatch.setattr("gatekeeper.net.dial._ON_LOOPBACK", chosen)
    kept = Kept()
    transport = dial(_upstream(server), kept, poller=poller, loop=asyncio.get_running_loop())
    with (await asyncio.to_thread(server.accept))[0] as peer:
        peer.sendall(b"* OK\r\n")
        await kept.until(lambda: kept.received)
        sock = transport.get_extra_info("socket")
        found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        transport.abort()
    assert found.rstrip(b"\0") == (expected or default.rstrip(b"\0"))


async def test_where_we_talk_first_we_are_told_when(poller: CountingPoller, server: socket.socket) -> None:
    """A PROXY header goes out as soon as the connection stands."""
    kept = Kept()
    upstream = _upstream(server, client_address="proxy")
    transport = dial(upstream, kept, poller=poller, loop=asyncio.get_running_loop())
    await kept.until(lambda: kept.events == ["made"])
    transport.write(b"PROXY\r\n")
    transport.close()
    peer, _ = await asyncio.to_thread(server.accept)
    assert await asyncio.to_thread(read_all, peer) == b"PROXY\r\n"
    await kept.until_lost()
    peer.close()


@pytest.mark.parametrize("talks_first", [False, True])
async def test_a_refusal_is_told_as_the_loss_of_the_connection(
    poller: CountingPoller, server: socket.socket, *, talks_first: bool
) -> None:
    """Whoever talks first."""
    upstream = replace(_upstream(server, client_address="proxy" if talks_first else "none"), port=free_port())
    kept = Kept()
    dial(upstream, kept, poller=poller, loop=asyncio.get_running_loop())

    assert isinstance(await kept.until_lost(), ConnectionRefusedError)
    assert kept.events == ["lost"]


async def test_a_fitting_certificate_is_accepted(
    poller: CountingPoller, server: socket.socket, for_server: ssl.SSLContext, for_client: ssl.SSLContext
) -> None:
    """Implicit TLS from the first octet."""
    kept = _Encrypting(_upstream(server, tls=TlsMode.IMPLICIT, context=for_client))
    transport = dial(kept.upstream, kept, poller=poller, loop=asyncio.get_running_loop())

    def serve() -> None:
        peer, _ = server.accept()
        with tls_server(peer, for_server) as tls:
            tls.sendall(b"* OK\r\n")
            tls.recv(1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(serve))
        await kept.until(lambda: kept.received == b"* OK\r\n")
        transport.close()
    await kept.until_lost()
    assert kept.events[:2] == ["made", "upgraded"]


@pytest.mark.parametrize("host", ["mail.example.com", "127.0.0.2"])
async def test_a_certificate_for_another_name_fails_closed(
    poller: CountingPoller, server: socket.socket, for_server: ssl.SSLContext, for_client: ssl.SSLContext, host: str
) -> None:
    """Nothing is read from, nor sent to, a server that cannot prove its name."""
    kept = _Encrypting(_upstream(server, host=host, tls=TlsMode.IMPLICIT, context=for_client))
    dial(kept.upstream, kept, poller=poller, loop=asyncio.get_running_loop())

    def serve() -> None:
        peer, _ = server.accept()
        with pytest.raises((ssl.SSLError, ConnectionError)), tls_server(peer, for_server) as tls:  # noqa: PT012
            tls.sendall(b"* OK\r\n")
            tls.recv(1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(serve))
        assert isinstance(await kept.until_lost(), ssl.SSLCertVerificationError)
    assert kept.events == ["made", "lost"]
    assert kept.received == b""


@pytest.mark.parametrize(("host", "sni"), [("localhost", "localhost"), ("127.0.0.1", None)])
async def test_the_configured_host_is_asked_for_and_verified(
    poller: CountingPoller, server: socket.socket, authority: Authority, host: str, sni: str | None
) -> None:
    """A name by SNI; an address literal without (RFC 6066 §3), and against the certificate's addresses only."""
    asked: list[str | None] = []
    context = server_context(authority.server_certificate(f"for-{host}", host))
    context.sni_callback = lambda _, name, __: asked.append(name)
    kept = _Encrypting(_upstream(server, host=host, tls=TlsMode.IMPLICIT, context=authority.client_context()))
    transport = dial(kept.upstream, kept, poller=poller, loop=asyncio.get_running_loop())

    def serve() -> None:
        peer, _ = server.accept()
        with tls_server(peer, context) as tls:
            tls.sendall(b"* OK\r\n")
            tls.recv(1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(serve))
        await kept.until(lambda: kept.received == b"* OK\r\n")
        transport.close()
    await kept.until_lost()
    assert asked == [sni]


def test_an_attempt_that_fails_at_once_raises() -> None:
    """An address of another family than the socket's, or none: the caller hears it as an exception, nothing leaks."""
    poller = Poller()
    loop = PollerLoop(poller)
    upstream = Upstream(host="mail", address="255.255.255.255", port=143, tls=TlsMode.OFF, context=None)
    with pytest.raises(OSError, match=r"mail:143"):
        dial(upstream, Kept(), poller=poller, loop=loop)
    assert not poller._watched
    loop.close()


@pytest.mark.parametrize(("address", "is_loopback"), [("127.0.0.9", True), ("::1", True), ("192.0.2.1", False)])
def test_loopback_is_known(address: str, *, is_loopback: bool) -> None:
    """What lies on this machine needs no TLS."""
    upstream = Upstream(host="mail", address=address, port=143, tls=TlsMode.OFF, context=None)
    assert upstream.is_loopback is is_loopback
