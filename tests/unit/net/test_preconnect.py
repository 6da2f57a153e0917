"""A connection that waits for its phone's log-in: whose turn it is, how it is given away, and how it ends."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.net.preconnect import EARNED_FOR_S, KEPT_S, MAX_GREETING_OCTETS, MAX_WAITING, PAUSE_S, Ahead, Preconnect
from testkit.gate_fakes import ManualClock
from testkit.loops import CountingPoller, Kept, read_all
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
def clock() -> ManualClock:
    """The test's."""
    return ManualClock()


@pytest.fixture
async def preconnect(poller: CountingPoller, clock: ManualClock) -> AsyncIterator[Preconnect]:
    """Somebody has just logged in."""
    made = Preconnect(poller, asyncio.get_running_loop(), clock.monotonic)
    made.logged_in()
    yield made
    told = asyncio.Event()
    asyncio.get_running_loop().call_soon(told.set)  # behind the end of a connection, which is told on the loop
    await told.wait()


async def _accepted(server: socket.socket) -> socket.socket:
    peer, _ = await asyncio.to_thread(server.accept)
    peer.settimeout(10)
    return peer


def _begun(preconnect: Preconnect, upstream: Upstream) -> Ahead:
    ahead = preconnect.begin(upstream)
    assert ahead is not None
    return ahead


def _counts(preconnect: Preconnect) -> tuple[int, int, int]:
    """Used, unused, waiting."""
    return preconnect.used, preconnect.unused, len(preconnect)


async def test_it_is_given_away_once_with_its_greeting(
    poller: CountingPoller, preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """Who takes it talks on it."""
    ahead = _begun(preconnect, upstream)
    with await _accepted(server) as peer:
        peer.sendall(GREETING)
        await poller.until(lambda: ahead._greeting)
        taken = ahead.take(upstream)
        assert taken is not None
        assert taken[1] == GREETING
        assert ahead.take(upstream) is None
        ahead.close()
        taken[0].set_protocol(Kept())
        taken[0].write(b"a LOGIN\r\n")
        assert await asyncio.to_thread(peer.recv, 100) == b"a LOGIN\r\n"
        taken[0].abort()
    assert _counts(preconnect) == (1, 0, 0)


async def test_it_may_be_on_its_way_still(
    poller: CountingPoller, preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """Who takes it hears what comes."""
    ahead = _begun(preconnect, upstream)
    with await _accepted(server) as peer:
        peer.sendall(b"* OK")
        await poller.until(lambda: ahead._greeting)
        taken = ahead.take(upstream)
        assert taken is not None
        transport, received = taken
        assert received == b"* OK"
        kept = Kept()
        transport.set_protocol(kept)
        peer.sendall(b" ready\r\n")
        await kept.until(lambda: kept.received == b" ready\r\n")
        peer.close()
        assert await kept.until_lost() is None
    assert _counts(preconnect) == (1, 0, 0)


async def _taken_in_the_handshake(
    preconnect: Preconnect, verified: Upstream, server: socket.socket
) -> tuple[socket.socket, Kept]:
    """Its ClientHello is there, unread; return the mail server's side, and what hears of ours from then on."""
    ahead = _begun(preconnect, verified)
    peer = await _accepted(server)
    await asyncio.to_thread(peer.recv, 1, socket.MSG_PEEK)
    taken = ahead.take(verified)
    assert taken is not None
    kept = Kept()
    taken[0].set_protocol(kept)
    return peer, kept


async def test_it_may_be_in_the_midst_of_its_handshake(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket, authority: Authority
) -> None:
    """Who takes it is told nothing of it, or that it failed."""
    verified = replace(upstream, tls=TlsMode.IMPLICIT, context=authority.client_context())
    context = server_context(authority.server_certificate("server"))
    peer, kept = await _taken_in_the_handshake(preconnect, verified, server)
    with await asyncio.to_thread(context.wrap_socket, peer, server_side=True) as encrypted:
        encrypted.sendall(GREETING)
        await kept.until(lambda: kept.received == GREETING)
    assert kept.events[0] == "data"
    await kept.until_lost()


async def test_a_certificate_that_is_not_trusted_is_told_to_who_took_it(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket, authority: Authority
) -> None:
    """Nothing is said over it."""
    verified = replace(upstream, tls=TlsMode.IMPLICIT, context=ssl.create_default_context())
    context = server_context(authority.server_certificate("server"))
    peer, kept = await _taken_in_the_handshake(preconnect, verified, server)

    def serve() -> None:
        with peer, pytest.raises(ssl.SSLError), context.wrap_socket(peer, server_side=True) as encrypted:
            encrypted.recv(1)

    await asyncio.to_thread(serve)
    assert isinstance(await kept.until_lost(), ssl.SSLCertVerificationError)
    assert kept.received == b""


async def test_a_turn_is_earned(preconnect: Preconnect, upstream: Upstream, server: socket.socket) -> None:
    """One for each that was admitted, as many as may be on their way at once."""
    one = _begun(preconnect, upstream)
    assert preconnect.begin(upstream) is None
    with await _accepted(server):  # what is closed on its way the mail server may never hear of
        one.close()
    assert preconnect.begin(upstream) is None
    for _ in range(MAX_WAITING + 3):
        preconnect.logged_in()
    for _ in range(MAX_WAITING):
        _begun(preconnect, upstream).close()
    assert preconnect.begin(upstream) is None
    assert _counts(preconnect) == (0, 1 + MAX_WAITING, 0)


async def test_so_many_wait_at_most(preconnect: Preconnect, upstream: Upstream) -> None:
    """However many are admitted meanwhile: whoever takes every turn, and does not log in, leaves room for them."""
    waiting = []
    for _ in range(MAX_WAITING):
        waiting.append(_begun(preconnect, upstream))
        preconnect.logged_in()
    assert preconnect.begin(upstream) is None
    assert len(preconnect) == MAX_WAITING
    waiting.pop().close()
    waiting.append(_begun(preconnect, upstream))
    for ahead in waiting:
        ahead.close()


@pytest.mark.parametrize(("later_s", "is_its_turn"), [(0.0, True), (EARNED_FOR_S, True), (EARNED_FOR_S + 0.1, False)])
async def test_a_turn_does_not_last(
    preconnect: Preconnect, upstream: Upstream, clock: ManualClock, later_s: float, is_its_turn: bool
) -> None:
    """Who comes alone costs the mail server one connection, his own; a log-in later does not renew old turns."""
    preconnect.logged_in()
    clock.advance(later_s)
    preconnect.logged_in()
    ahead = _begun(preconnect, upstream)
    ahead.close()
    other = preconnect.begin(upstream)
    assert (other is not None) == is_its_turn
    if other is not None:
        other.close()
    clock.advance(EARNED_FOR_S + 0.1)
    assert preconnect.begin(upstream) is None


@pytest.mark.parametrize("change", [{"preconnect": False}, {"client_address": "proxy"}, {"client_address": "proxy-v2"}])
async def test_some_mail_servers_have_none(
    preconnect: Preconnect, upstream: Upstream, change: dict[str, object]
) -> None:
    """Where it is switched off, and where the phone has to be named first."""
    assert preconnect.begin(replace(upstream, **change)) is None  # type: ignore[arg-type]
    assert _counts(preconnect) == (0, 0, 0)


@pytest.mark.parametrize("change", [{"port": 1}, {}])
async def test_nobody_gets_one_to_another_address(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket, change: dict[str, object]
) -> None:
    """Nor one that was made under other settings: it is closed."""
    ahead = _begun(preconnect, upstream)
    with await _accepted(server) as peer:
        assert ahead.take(replace(upstream, **change)) is None  # type: ignore[arg-type]
        assert await asyncio.to_thread(read_all, peer) == b""
    assert _counts(preconnect) == (0, 1, 0)


async def test_its_time_is_short(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket, clock: ManualClock
) -> None:
    """Then it is closed, and nothing was said on it."""
    ahead = _begun(preconnect, upstream)
    with await _accepted(server) as peer:
        clock.advance(KEPT_S - 0.1)
        preconnect.tick()
        assert len(preconnect) == 1
        clock.advance(0.1)
        preconnect.tick()
        assert await asyncio.to_thread(read_all, peer) == b""
    assert ahead.take(upstream) is None
    assert _counts(preconnect) == (0, 1, 0)


async def test_a_mail_server_that_closes_it_is_left_in_peace(
    poller: CountingPoller, preconnect: Preconnect, upstream: Upstream, server: socket.socket, clock: ManualClock
) -> None:
    """It may count connections; a minute later it is tried again."""
    ahead = _begun(preconnect, upstream)
    (await _accepted(server)).close()
    await poller.until(lambda: not len(preconnect))
    assert ahead.take(upstream) is None
    assert _counts(preconnect) == (0, 1, 0)
    clock.advance(PAUSE_S - 0.1)
    preconnect.logged_in()
    assert preconnect.begin(upstream) is None
    clock.advance(0.1)
    again = _begun(preconnect, upstream)
    with await _accepted(server):
        again.close()


async def test_one_that_is_just_being_closed_is_not_given_away(
    poller: CountingPoller, preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """Its end is known, and not told yet: who went on with it would wait in vain."""
    ahead = _begun(preconnect, upstream)
    transport = ahead._transport
    assert transport is not None
    asked: list[object] = []

    def look() -> None:
        if transport.is_closing() and not asked:
            asked.append(ahead.take(upstream))

    poller.after_turn = look  # what is told comes after the turn
    (await _accepted(server)).close()
    await poller.until(lambda: asked)
    assert asked == [None]
    assert _counts(preconnect) == (0, 1, 0)


async def test_who_greets_without_end_is_not_listened_to(
    poller: CountingPoller, preconnect: Preconnect, upstream: Upstream, server: socket.socket
) -> None:
    """What it says would be kept."""
    ahead = _begun(preconnect, upstream)
    with await _accepted(server) as peer:
        peer.sendall(b"*" * (MAX_GREETING_OCTETS + 1))
        await poller.until(lambda: not len(preconnect))
        assert ahead.take(upstream) is None


async def test_what_cannot_be_dialled_is_left_to_the_log_in(
    preconnect: Preconnect, upstream: Upstream, clock: ManualClock
) -> None:
    """No TCP to a broadcast: it fails at once, and the log-in tells of it."""
    assert preconnect.begin(replace(upstream, address="255.255.255.255")) is None
    assert _counts(preconnect) == (0, 1, 0)
    clock.advance(PAUSE_S - 1)
    preconnect.logged_in()
    assert preconnect.begin(upstream) is None


async def test_tls_is_there_already_and_ends_politely(
    poller: CountingPoller, preconnect: Preconnect, upstream: Upstream, server: socket.socket, authority: Authority
) -> None:
    """The name is verified; the close-notify tells the mail server that nothing was cut off."""
    verified = replace(upstream, tls=TlsMode.IMPLICIT, context=authority.client_context())
    ahead = _begun(preconnect, verified)
    peer = await _accepted(server)
    context = server_context(authority.server_certificate("server"))
    with await asyncio.to_thread(context.wrap_socket, peer, server_side=True, suppress_ragged_eofs=False) as encrypted:
        encrypted.sendall(GREETING)
        await poller.until(lambda: ahead._greeting == GREETING)
        ahead.close()
        assert await asyncio.to_thread(encrypted.recv, 100) == b""


async def test_closing_in_the_midst_of_a_handshake(
    preconnect: Preconnect, upstream: Upstream, server: socket.socket, authority: Authority
) -> None:
    """Nothing is left."""
    verified = replace(upstream, tls=TlsMode.IMPLICIT, context=authority.client_context())
    ahead = _begun(preconnect, verified)
    with await _accepted(server) as peer:
        assert await asyncio.to_thread(peer.recv, 1)  # its ClientHello
        ahead.close()
        assert await asyncio.to_thread(read_all, peer)
    assert _counts(preconnect) == (0, 1, 0)
