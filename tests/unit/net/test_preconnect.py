"""The one connection that waits for a log-in: when it is made, when it is given away, and how it ends."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.net.preconnect import KEPT_S, MAX_GREETING_OCTETS, PAUSE_S, Preconnect
from testkit.loops import CountingPoller, read_all
from testkit.tls import Authority, server_context

GREETING = b"* OK ready\r\n"


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(10)
        yield sock


@pytest.fixture
def upstream(server: socket.socket) -> Upstream:
    """Where it is."""
    return Upstream(host="localhost", address="127.0.0.1", port=server.getsockname()[1], tls=TlsMode.OFF, context=None)


@pytest.fixture
async def preconnect(poller: CountingPoller) -> AsyncIterator[Preconnect]:
    """Nothing is connected yet."""
    made = Preconnect(poller, asyncio.get_running_loop())
    yield made
    made.close()
    await asyncio.sleep(0)  # its end is told on the loop


async def _accepted(server: socket.socket) -> socket.socket:
    peer, _ = await asyncio.to_thread(server.accept)
    peer.settimeout(10)
    return peer


def _nobody_waits(server: socket.socket) -> bool:
    return not select.select([server], [], [], 0)[0]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0)


async def _ready(preconnect: Preconnect, upstream: Upstream, server: socket.socket) -> socket.socket:
    preconnect.logged_in(upstream, 100.0)
    preconnect.logged_in(upstream, 101.0)
    peer = await _accepted(server)
    peer.sendall(GREETING)
    await _until(lambda: preconnect.is_greeted)
    return peer


async def test_it_is_given_away_once_with_its_greeting(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """And the next one may be made."""
    with await _ready(preconnect, upstream, server) as peer:
        taken = preconnect.take(upstream, 101.0)
        assert taken is not None
        assert taken[1] == GREETING
        assert preconnect.take(upstream, 101.0) is None
        taken[0].write(b"a LOGIN\r\n")
        assert await asyncio.to_thread(peer.recv, 100) == b"a LOGIN\r\n"
        taken[0].abort()
        preconnect.logged_in(upstream, 102.0)
        (await _accepted(server)).close()
    assert (preconnect.used, preconnect.unused) == (1, 0)


async def test_there_is_one_at_most(preconnect: Preconnect, upstream: Upstream, server: socket.socket) -> None:
    """However many log in."""
    with await _ready(preconnect, upstream, server):
        for second in range(5):
            preconnect.logged_in(upstream, 102.0 + second / 10)
        assert _nobody_waits(server)


async def test_a_greeting_in_pieces_is_waited_for(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """A log-in before it is whole dials."""
    preconnect.logged_in(upstream, 100.0)
    preconnect.logged_in(upstream, 100.0)
    with await _accepted(server) as peer:
        assert preconnect.take(upstream, 101.0) is None
        peer.sendall(b"* OK")
        ahead = preconnect._next
        assert ahead is not None
        await _until(lambda: ahead.greeting == b"* OK")
        assert preconnect.take(upstream, 101.0) is None
        peer.sendall(b" hello\r\n")
        await _until(lambda: preconnect.is_greeted)
        taken = preconnect.take(upstream, 101.0)
        assert taken is not None
        assert taken[1] == b"* OK hello\r\n"
        taken[0].abort()


@pytest.mark.parametrize(
    ("seconds", "makes_one"),
    [((100.0,), False), ((100.0, 100.0 + KEPT_S), True), ((100.0, 100.1 + KEPT_S), False), ((1.0, 9.0, 9.0), True)],
)
async def test_log_ins_have_to_follow_each_other(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket, seconds: tuple[float, ...], makes_one: bool
) -> None:
    """Who comes alone costs the mail server one connection, his own."""
    for second in seconds:
        preconnect.logged_in(upstream, second)
    assert (preconnect._next is not None) == makes_one
    if makes_one:
        (await _accepted(server)).close()
    assert _nobody_waits(server)


@pytest.mark.parametrize("change", [{"preconnect": False}, {"client_address": "proxy"}, {"client_address": "proxy-v2"}])
async def test_some_mail_servers_have_none(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket, change: dict[str, object]
) -> None:
    """Where it is switched off, and where the phone has to be named first."""
    other = replace(upstream, **change)  # type: ignore[arg-type]
    preconnect.logged_in(other, 100.0)
    preconnect.logged_in(other, 100.0)
    assert preconnect._next is None
    assert _nobody_waits(server)


async def test_nobody_gets_one_to_another_address(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """Nor one that was made under other settings."""
    with await _ready(preconnect, upstream, server):
        assert preconnect.take(replace(upstream, port=1), 101.0) is None
        assert preconnect.take(replace(upstream), 101.0) is None
        assert preconnect.is_greeted


async def test_its_time_is_short(preconnect: Preconnect, upstream: Upstream, server: socket.socket) -> None:
    """Then it is closed, and nothing was said on it."""
    with await _ready(preconnect, upstream, server) as peer:
        preconnect.tick(101.0 + KEPT_S - 0.1)
        assert preconnect.is_greeted
        preconnect.tick(101.0 + KEPT_S)
        assert not preconnect.is_greeted
        assert await asyncio.to_thread(read_all, peer) == b""
    assert (preconnect.used, preconnect.unused) == (0, 1)


async def test_a_mail_server_that_closes_it_is_left_in_peace(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """It may count connections; a minute later it is tried again."""
    peer = await _ready(preconnect, upstream, server)
    ahead = preconnect._next
    assert ahead is not None
    peer.close()
    await _until(lambda: ahead.transport is None)
    assert preconnect.take(upstream, 101.0) is None
    await _is_left_in_peace(preconnect, upstream, server, 101.0)


async def test_a_mail_server_that_closes_one_that_nobody_wanted_is_left_in_peace(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """As well."""
    peer = await _ready(preconnect, upstream, server)
    ahead = preconnect._next
    assert ahead is not None
    peer.close()
    await _until(lambda: ahead.transport is None)
    preconnect.logged_in(upstream, 101.0)
    await _is_left_in_peace(preconnect, upstream, server, 101.0)


async def test_a_mail_server_that_greets_late_is_left_in_peace(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """It delays its greeting on purpose, perhaps, and counts who does not wait for it."""
    preconnect.logged_in(upstream, 100.0)
    preconnect.logged_in(upstream, 100.0)
    with await _accepted(server) as peer:
        preconnect.tick(100.0 + KEPT_S)
        assert await asyncio.to_thread(read_all, peer) == b""
    await _is_left_in_peace(preconnect, upstream, server, 100.0 + KEPT_S)


async def _is_left_in_peace(preconnect: Preconnect, upstream: Upstream, server: socket.socket, since: float) -> None:
    for second in range(int(PAUSE_S)):
        preconnect.logged_in(upstream, since + second)
    assert preconnect._next is None
    assert _nobody_waits(server)
    preconnect.logged_in(upstream, since + PAUSE_S)
    (await _accepted(server)).close()
    assert (preconnect.used, preconnect.unused) == (0, 1)


async def test_who_greets_without_end_is_not_listened_to(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """What it says would be kept."""
    preconnect.logged_in(upstream, 100.0)
    preconnect.logged_in(upstream, 100.0)
    with await _accepted(server) as peer:
        ahead = preconnect._next
        assert ahead is not None
        peer.sendall(b"*" * (MAX_GREETING_OCTETS + 1))
        await _until(lambda: ahead.transport is None)
        assert preconnect.take(upstream, 101.0) is None


async def test_what_cannot_be_dialled_is_left_to_the_log_in(preconnect: Preconnect, upstream: Upstream) -> None:
    """No TCP to a broadcast: it fails at once, and the next log-in tells of it."""
    nowhere = replace(upstream, address="255.255.255.255")
    preconnect.logged_in(nowhere, 100.0)
    preconnect.logged_in(nowhere, 100.0)
    assert preconnect.take(nowhere, 101.0) is None
    preconnect.logged_in(upstream, 100.0 + PAUSE_S - 1)
    preconnect.logged_in(upstream, 100.0 + PAUSE_S - 1)
    assert preconnect._next is None
    assert preconnect.unused == 1


async def test_tls_is_there_already_and_ends_politely(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket, authority: Authority
) -> None:
    """The name is verified; the close-notify tells the mail server that nothing was cut off."""
    verified = replace(upstream, tls=TlsMode.IMPLICIT, context=authority.client_context())
    preconnect.logged_in(verified, 100.0)
    preconnect.logged_in(verified, 100.0)
    peer = await _accepted(server)
    context = server_context(authority.server_certificate("server"))
    with await asyncio.to_thread(context.wrap_socket, peer, server_side=True, suppress_ragged_eofs=False) as encrypted:
        encrypted.sendall(GREETING)
        await _until(lambda: preconnect.is_greeted)
        preconnect.close()
        assert await asyncio.to_thread(encrypted.recv, 100) == b""


async def test_closing_in_the_midst_of_a_handshake(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket, authority: Authority
) -> None:
    """Nothing is left, and none is made any more."""
    verified = replace(upstream, tls=TlsMode.IMPLICIT, context=authority.client_context())
    preconnect.logged_in(verified, 100.0)
    preconnect.logged_in(verified, 100.0)
    with await _accepted(server) as peer:
        assert await asyncio.to_thread(peer.recv, 1)  # its ClientHello
        preconnect.close()
        assert await asyncio.to_thread(read_all, peer)
    preconnect.logged_in(verified, 100.0)
    assert _nobody_waits(server)
