"""Listening: accepted sockets reach their owner; a want of descriptors and faults of single connections are survived."""

import asyncio
import errno
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import structlog

from gatekeeper.net.listen import Accepted, Listener, bind
from testkit.loops import CountingPoller

Peer = tuple[str, int]
HAS_IPV6 = Path("/proc/net/if_inet6").exists() and "lo" in Path("/proc/net/if_inet6").read_text()


class Desk:
    """Takes accepted sockets."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[socket.socket, Peer]] = asyncio.Queue()

    def __call__(self, sock: socket.socket, peer: Peer) -> None:
        self.queue.put_nowait((sock, peer))


@contextmanager
def listening(poller: CountingPoller, accepted: Accepted, host: str = "127.0.0.1") -> Iterator[Listener]:
    """A listener on a free port."""
    listener = Listener(bind(host, 0), poller, accepted, client_talks_first=False)
    try:
        yield listener
    finally:
        listener.stop()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6"))],
)
async def test_accepted_sockets_reach_their_owner_with_their_address(poller: CountingPoller, host: str) -> None:
    """Non-blocking, and with Nagle's delay off."""
    desk = Desk()
    with (
        listening(poller, desk, host) as listener,
        closing(socket.create_connection((host, listener.port))) as client,
    ):
        sock, peer = await desk.queue.get()

        assert peer == client.getsockname()[:2]
        assert sock.gettimeout() == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sock.close()


async def test_many_at_once_are_all_accepted(poller: CountingPoller) -> None:
    """A thousand phones that come back at once are not refused."""
    desk = Desk()
    with listening(poller, desk) as listener:
        clients = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(300)]
        async with asyncio.timeout(30):
            peers = set()
            for _ in clients:
                sock, peer = await desk.queue.get()
                peers.add(peer)
                sock.close()
        assert peers == {client.getsockname() for client in clients}
        for client in clients:
            client.close()


async def test_a_client_that_should_talk_first_is_not_accepted_before(poller: CountingPoller) -> None:
    """With implicit TLS a silent connection costs no descriptor until it speaks or the kernel's patience ends."""
    desk = Desk()
    listener = Listener(bind("127.0.0.1", 0), poller, desk, client_talks_first=True)
    client = socket.create_connection(("127.0.0.1", listener.port))
    await asyncio.to_thread(lambda: None)
    assert desk.queue.empty()
    client.send(b"\x16")
    sock, _ = await desk.queue.get()
    assert sock.recv(1) == b"\x16"
    sock.close()
    client.close()
    listener.stop()


def test_an_address_in_use_is_told_with_the_address() -> None:
    """One clear line for the operator."""
    with closing(bind("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use") as raised:
            bind("127.0.0.1", port)
        assert raised.value.errno == errno.EADDRINUSE


def test_a_name_that_does_not_resolve_is_told_with_the_address() -> None:
    """Also when it is no address at all."""
    with pytest.raises(OSError, match=r"cannot listen on no such host:1"):
        bind("no such host", 1)


async def test_a_stopped_listener_refuses(poller: CountingPoller) -> None:
    """Stopping is idempotent and says so."""
    with listening(poller, Desk()) as listener:
        port = listener.port
        assert listener.is_listening
        listener.stop()
        listener.stop()
        listener.resume()
        assert not listener.is_listening
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


class _Broken(socket.socket):
    """A listening socket whose next `accept` fails."""

    fails_with: int | None = None

    def accept(self) -> tuple[socket.socket, object]:
        if self.fails_with is not None:
            number, self.fails_with = self.fails_with, None
            raise OSError(number, "made up")
        return super().accept()


def _broken(number: int) -> _Broken:
    sock = _Broken(fileno=bind("127.0.0.1", 0).detach())
    sock.settimeout(0)
    sock.fails_with = number
    return sock


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH, errno.EPERM])
async def test_what_went_wrong_with_one_connection_is_not_the_listeners_fault(
    poller: CountingPoller, number: int
) -> None:
    """Linux passes errors of the network on by accept(2); the next connection is served."""
    desk = Desk()
    listener = Listener(_broken(number), poller, desk, client_talks_first=False)
    client = socket.create_connection(("127.0.0.1", listener.port))
    sock, _ = await desk.queue.get()

    assert listener.is_listening
    sock.close()
    client.close()
    listener.stop()


async def test_a_socket_that_cannot_accept_is_given_up_and_logged(poller: CountingPoller) -> None:
    """Readiness shows it; the process goes on."""
    listener = Listener(_broken(errno.EINVAL), poller, Desk(), client_talks_first=False)
    with structlog.testing.capture_logs() as logs, closing(socket.create_connection(("127.0.0.1", listener.port))):
        while listener.is_listening:
            await asyncio.to_thread(lambda: None)
        await asyncio.to_thread(lambda: None)

    assert [log["event"] for log in logs] == ["listener.fault"]


async def test_a_fault_with_one_connection_does_not_end_the_listener(poller: CountingPoller) -> None:
    """It is logged, and the next connection is served."""
    desk = Desk()
    refused: list[socket.socket] = []

    def accepted(sock: socket.socket, peer: Peer) -> None:
        if not refused:
            refused.append(sock)
            raise ZeroDivisionError
        desk(sock, peer)

    with listening(poller, accepted) as listener, structlog.testing.capture_logs() as logs:
        first = socket.create_connection(("127.0.0.1", listener.port))
        second = socket.create_connection(("127.0.0.1", listener.port))
        sock, _ = await desk.queue.get()

    assert [log["event"] for log in logs] == ["listener.fault"]
    for one in (first, second, sock, refused[0]):
        one.close()


_STARVED = """
import asyncio, resource, socket, sys
from gatekeeper.net.listen import Listener, bind
from gatekeeper.net.poller import Poller, PollerLoop

async def main(poller):
    accepted = asyncio.Queue()
    listener = Listener(bind("127.0.0.1", 0), poller, lambda *a: accepted.put_nowait(a), client_talks_first=False)
    clients = [socket.socket() for _ in range(8)]
    limit = max(client.fileno() for client in clients) + 1 + 3
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    for client in clients:
        client.connect(("127.0.0.1", listener.port))
    held = [await accepted.get() for _ in range(3)]
    while not listener.out_of_descriptors:
        await asyncio.sleep(0)
    turns = 0
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, due.set)
    serve = poller._serve
    def counted(events):
        nonlocal turns
        turns += 1
        return serve(events)
    poller._serve = counted
    await due.wait()
    assert turns < 20, f"spins: {turns} turns"
    listener.resume()
    await asyncio.sleep(0)
    assert accepted.empty()
    for sock, _ in held:
        sock.close()
    for _ in range(5):
        while accepted.empty():
            listener.resume()
            await asyncio.sleep(0)
        sock, _ = accepted.get_nowait()
        sock.close()
    print("recovered", listener.is_listening)

poller = Poller()
with asyncio.Runner(loop_factory=lambda: PollerLoop(poller)) as runner:
    async def bounded():
        async with asyncio.timeout(20):
            await main(poller)

    runner.run(bounded())
"""


def test_a_want_of_descriptors_is_survived() -> None:
    """Without spinning while it lasts; once there are descriptors again, everybody is served."""
    done = subprocess.run([sys.executable, "-c", _STARVED], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout == "recovered True\n", done.stderr
