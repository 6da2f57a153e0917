"""What a mail server offers before log-in, asked of scripted servers."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gatekeeper.domain.request import MailProtocol
from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.server.probe import ProbeFailed, probe
from testkit.loops import poller_of, tls_server
from testkit.ports import free_port
from testkit.tls import Authority, server_context

Script = Callable[[socket.socket], None]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A scripted server's socket."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(10)
        yield sock


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who certified the servers."""
    return Authority(Path(tmp_path_factory.mktemp("ca")))


@pytest.fixture(scope="module")
def for_server(authority: Authority) -> ssl.SSLContext:
    """A server for `localhost`."""
    return server_context(authority.server_certificate("server"))


async def _ask(
    listening: socket.socket,
    protocol: MailProtocol,
    script: Script,
    tls: TlsMode,
    context: ssl.SSLContext | None,
    client_address: str = "none",
) -> frozenset[str]:
    upstream = Upstream(
        host="localhost",
        address="127.0.0.1",
        port=listening.getsockname()[1],
        tls=tls,
        context=context,
        client_address=client_address,
    )

    def serve() -> None:
        sock, _ = listening.accept()
        sock.settimeout(10)
        with sock, suppress(ssl.SSLError, ConnectionError):  # the prober may leave at any point
            script(sock)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(serve))
        return await probe(upstream, protocol, poller_of(asyncio.get_running_loop()))


def _imap(sock: socket.socket) -> None:
    sock.sendall(b"* OK ready\r\n")
    tag = sock.recv(1000).split()[0]
    sock.sendall(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR\r\n" + tag + b" OK done\r\n")
    sock.recv(1000)


def _smtp(sock: socket.socket) -> None:
    sock.sendall(b"220 mx ESMTP\r\n")
    sock.recv(1000)
    sock.sendall(b"250-mx\r\n250-SIZE 1000\r\n250 AUTH PLAIN LOGIN\r\n")
    sock.recv(1000)


async def test_an_imap_servers_capabilities_are_learnt(listening: socket.socket) -> None:
    """In the clear, on loopback."""
    offers = await _ask(listening, MailProtocol.IMAP, _imap, TlsMode.OFF, None)
    assert {"AUTH=PLAIN", "AUTH=XOAUTH2", "SASL-IR"} <= offers


async def test_a_submission_servers_extensions_are_learnt(listening: socket.socket) -> None:
    """From its answer to EHLO."""
    offers = await _ask(listening, MailProtocol.SMTP, _smtp, TlsMode.OFF, None)
    assert {"AUTH=PLAIN", "AUTH=LOGIN"} <= offers


async def test_implicit_tls_is_spoken_first(
    listening: socket.socket, authority: Authority, for_server: ssl.SSLContext
) -> None:
    """With the name verified."""

    def script(sock: socket.socket) -> None:
        with tls_server(sock, for_server) as tls:
            _imap(tls)

    offers = await _ask(listening, MailProtocol.IMAP, script, TlsMode.IMPLICIT, authority.client_context())
    assert "AUTH=PLAIN" in offers


async def test_after_starttls_what_was_said_before_is_forgotten(
    listening: socket.socket, authority: Authority, for_server: ssl.SSLContext
) -> None:
    """Only what is offered under TLS counts."""

    def script(sock: socket.socket) -> None:
        sock.sendall(b"220 mx ESMTP\r\n")
        sock.recv(1000)
        sock.sendall(b"250-mx\r\n250-AUTH CRAM-MD5\r\n250 STARTTLS\r\n")
        assert sock.recv(1000).upper() == b"STARTTLS\r\n"
        sock.sendall(b"220 go\r\n")
        with tls_server(sock, for_server) as tls:
            tls.recv(1000)
            tls.sendall(b"250-mx\r\n250 AUTH PLAIN\r\n")
            tls.recv(1000)

    offers = await _ask(listening, MailProtocol.SMTP, script, TlsMode.STARTTLS, authority.client_context())
    assert {offer for offer in offers if offer.startswith("AUTH=")} == {"AUTH=PLAIN"}


async def test_a_server_that_wants_a_proxy_header_gets_one(listening: socket.socket) -> None:
    """Of our own connection: without it the server would look as if it were down."""
    seen: list[bool] = []

    def script(sock: socket.socket) -> None:
        header = sock.recv(1000)
        port, there = sock.getpeername()[1], sock.getsockname()[1]
        seen.append(header == f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {there}\r\n".encode())
        _imap(sock)

    assert "AUTH=PLAIN" in await _ask(listening, MailProtocol.IMAP, script, TlsMode.OFF, None, "proxy")
    assert seen == [True]


FAILURES: list[tuple[str, Script, TlsMode, str]] = [
    ("closes", lambda sock: None, TlsMode.OFF, "closed the connection"),
    ("garbage", lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), TlsMode.OFF, ""),
    ("says BYE", lambda sock: sock.sendall(b"* BYE full\r\n"), TlsMode.OFF, ""),
    ("no TLS", lambda sock: sock.sendall(b"* OK ready\r\n"), TlsMode.IMPLICIT, "closed the connection"),
]


@pytest.mark.parametrize(("script", "tls", "text"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
async def test_a_server_that_does_not_answer_properly_is_told(
    listening: socket.socket, authority: Authority, script: Script, tls: TlsMode, text: str
) -> None:
    """With a reason for the operator."""
    context = authority.client_context() if tls is not TlsMode.OFF else None
    with pytest.raises(ExceptionGroup) as raised:
        await _ask(listening, MailProtocol.IMAP, script, tls, context)
    (error,) = raised.value.exceptions
    assert isinstance(error, ProbeFailed)
    assert text in str(error)
    assert str(error)


async def test_a_server_that_is_not_there_is_told() -> None:
    """Connection refused."""
    upstream = Upstream(host="localhost", address="127.0.0.1", port=free_port(), tls=TlsMode.OFF, context=None)
    with pytest.raises(ProbeFailed, match="nothing listens"):
        await probe(upstream, MailProtocol.IMAP, poller_of(asyncio.get_running_loop()))


async def test_a_wrong_certificate_is_told(listening: socket.socket, authority: Authority) -> None:
    """Nothing is learnt from a server that cannot prove its name."""
    other = server_context(authority.server_certificate("other", "other.example.com"))

    def script(sock: socket.socket) -> None:
        with tls_server(sock, other) as tls:
            _imap(tls)

    with pytest.raises(ExceptionGroup) as raised:
        await _ask(listening, MailProtocol.IMAP, script, TlsMode.IMPLICIT, authority.client_context())
    assert "certificate is not trusted" in str(raised.value.exceptions[0])


@pytest.mark.parametrize("how", ["proxy", "proxy-v2"])
@pytest.mark.parametrize("tls", [TlsMode.OFF, TlsMode.IMPLICIT], ids=str)
async def test_a_server_that_wants_a_proxy_header_gets_one_about_ourselves(
    listening: socket.socket, authority: Authority, for_server: ssl.SSLContext, how: str, tls: TlsMode
) -> None:
    """Before TLS. Version 1 has no LOCAL that every server takes: the connection's own addresses (§2.1)."""
    heard: list[bytes] = []

    def script(sock: socket.socket) -> None:
        expected = 16
        if how == "proxy":
            expected = len(f"PROXY TCP4 127.0.0.1 127.0.0.1 {sock.getpeername()[1]} {sock.getsockname()[1]}\r\n")
        heard.append(sock.recv(expected, socket.MSG_WAITALL))
        heard.append(f"{sock.getpeername()[1]} {sock.getsockname()[1]}".encode())
        with tls_server(sock, for_server) if tls is TlsMode.IMPLICIT else sock as spoken:
            _imap(spoken)

    context = authority.client_context() if tls is TlsMode.IMPLICIT else None
    assert "AUTH=PLAIN" in await _ask(listening, MailProtocol.IMAP, script, tls, context, how)
    header, ports = heard
    if how == "proxy":
        assert header == b"PROXY TCP4 127.0.0.1 127.0.0.1 " + ports + b"\r\n"
    else:
        assert header == b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
