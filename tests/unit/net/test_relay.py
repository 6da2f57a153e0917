"""The relay between two far ends, plain and over TLS on either side."""

import array
import asyncio
import contextlib
import fcntl
import gc
import itertools
import math
import random
import select
import socket
import ssl
import struct
import termios

import pytest

from gatekeeper.net.poller import READ
from gatekeeper.net.relay import BUDGET_OCTETS, Ended
from testkit.loops import (
    DEADLINE_S,
    Kept,
    exchange,
    is_drained,
    local_pair,
    read_all,
    read_exactly,
    reset,
    tcp_pair,
    transport_on,
    was_reset,
)
from testkit.relay_bench import Owned, RelayBench

SMALL = 65_536
"""Of a kernel buffer: below a segment of loopback, TCP itself would stall."""
BOTH = list(itertools.product([False, True], repeat=2))
LEGS = [f"{'tls' if client else 'plain'}-{'tls' if upstream else 'plain'}" for client, upstream in BOTH]
ALL_LEGS = pytest.mark.parametrize(("client_tls", "upstream_tls"), BOTH, ids=LEGS)


def _octets(count: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(count)


async def _both_ways(owned: Owned, up: bytes, down: bytes, *, largest: int, seed: int = 0) -> tuple[bytes, bytes]:
    """Exchange at once; return what the server and the phone got."""
    async with asyncio.TaskGroup() as tasks:
        at_phone = tasks.create_task(
            asyncio.to_thread(exchange, owned.phone, up, len(down), random.Random(seed), largest)
        )
        at_server = tasks.create_task(
            asyncio.to_thread(exchange, owned.server, down, len(up), random.Random(seed + 1), largest)
        )
    return at_server.result(), at_phone.result()


@ALL_LEGS
@pytest.mark.parametrize("largest", [3_000, 60_000, 300_000])
async def test_octets_arrive_whole_and_in_order_whatever_the_pieces(
    bench: RelayBench, *, client_tls: bool, upstream_tls: bool, largest: int
) -> None:
    """Random pieces and small kernel buffers: both sides read slowly, and every kind of short write happens."""
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls, buffer=SMALL)
    up, down = _octets(1_500_000, 1), _octets(2_000_000, 2)
    most = 0

    def watch() -> None:
        nonlocal most
        session = owned.session
        most = max(most, len(session.client.unsent), len(session.upstream.unsent))

    bench.poller.after_turn = watch
    assert await _both_ways(owned, up, down, largest=largest) == (up, down)
    assert most <= 2 * BUDGET_OCTETS
    assert (owned.session.octets_up, owned.session.octets_down) == (len(up), len(down))
    assert owned.endings == []


@ALL_LEGS
async def test_large_messages_pass_both_ways_at_once(
    bench: RelayBench, *, client_tls: bool, upstream_tls: bool
) -> None:
    """25 MB each way, in bounded memory."""
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls)
    up, down = _octets(25_000_000, 3), _octets(25_000_000, 4)
    most = 0

    def watch() -> None:
        nonlocal most
        most = max(most, len(owned.session.client.unsent), len(owned.session.upstream.unsent))

    bench.poller.after_turn = watch
    got_up, got_down = await _both_ways(owned, up, down, largest=1_000_000)
    assert got_up == up
    assert got_down == down
    assert most <= 2 * BUDGET_OCTETS


@ALL_LEGS
async def test_what_goes_first_goes_first(bench: RelayBench, *, client_tls: bool, upstream_tls: bool) -> None:
    """The reply to the log-in, and what the phone pipelined behind it, even when they do not fit the socket at once."""
    reply, pipelined = _octets(1_000_000, 5), _octets(900_000, 6)
    owned = await bench.session(
        client_tls=client_tls, upstream_tls=upstream_tls, to_client=reply, to_upstream=pipelined, buffer=SMALL
    )
    up, down = _octets(10_000, 7), _octets(10_000, 8)
    async with asyncio.TaskGroup() as tasks:
        at_phone = tasks.create_task(
            asyncio.to_thread(exchange, owned.phone, up, len(reply + down), random.Random(1), 50_000)
        )
        at_server = tasks.create_task(
            asyncio.to_thread(exchange, owned.server, down, len(pipelined + up), random.Random(2), 50_000)
        )
    assert at_phone.result() == reply + down
    assert at_server.result() == pipelined + up
    assert owned.session.octets_up == len(pipelined + up)
    assert owned.session.octets_down == len(down)


@ALL_LEGS
async def test_a_side_that_does_not_read_stops_the_other(
    bench: RelayBench, *, client_tls: bool, upstream_tls: bool
) -> None:
    """Back-pressure, not memory: the sender's socket fills up, what the relay holds stays within its budget."""
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls, buffer=SMALL)
    data = _octets(4_000_000, 9)
    owned.server.settimeout(0)
    sent = 0
    stuck = 0
    while stuck < 50:
        try:
            sent += owned.server.send(data[sent : sent + 16384])
            stuck = 0
        except (BlockingIOError, ssl.SSLWantWriteError):
            stuck += 1
        await asyncio.to_thread(lambda: None)
    turns = bench.poller.turns
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, due.set)
    await due.wait()

    assert sent < 2_000_000
    assert len(owned.session.client.unsent) <= 2 * BUDGET_OCTETS
    assert bench.poller.turns - turns < 20
    owned.server.settimeout(DEADLINE_S)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(exchange, owned.server, data[sent:], 0, random.Random(1), 16384))
        got = tasks.create_task(asyncio.to_thread(exchange, owned.phone, b"", len(data), random.Random(2), 16384))
    assert got.result() == data


@ALL_LEGS
async def test_the_servers_end_comes_after_everything_it_sent(
    bench: RelayBench, *, client_tls: bool, upstream_tls: bool
) -> None:
    """A phone that reads slowly still gets the last octet, and over TLS a close-notify."""
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls, buffer=SMALL)
    data = _octets(2_000_000, 10)

    def serve() -> None:
        owned.server.sendall(data)
        _close_politely(owned.server)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(serve))
        got = tasks.create_task(asyncio.to_thread(read_all, owned.phone))
    assert got.result() == data
    assert await owned.ended() is Ended.UPSTREAM
    assert owned.session.octets_down == len(data)


@pytest.mark.parametrize("by", ["server", "phone"])
async def test_the_end_is_told_by_tls_also_where_the_socket_is_full(bench: RelayBench, by: str) -> None:
    """All was taken, and there is no room for the close-notify: without it the last answer would look cut off."""
    owned = await bench.session(client_tls=by == "server", upstream_tls=by == "phone", pair=local_pair)
    session = owned.session
    talks, listens = (owned.server, owned.phone) if by == "server" else (owned.phone, owned.server)
    source, target = (session.upstream, session.client) if by == "server" else (session.client, session.upstream)
    sent = await owned.fill_up(talks, target)
    talks.close()
    await owned.until(lambda: source.at_eof)
    turns = bench.poller.turns
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, due.set)
    await due.wait()
    assert bench.poller.turns - turns < 20
    if by == "server":
        # It may say something meanwhile: nobody is there to hear it, which is no failure.
        listens.sendall(b"n NOOP\r\n")
        await owned.until(lambda: is_drained(session.client.sock))
    assert len(await asyncio.to_thread(read_all, listens)) == sent
    assert await owned.ended() is (Ended.UPSTREAM if by == "server" else Ended.CLIENT)
    assert source.octets == sent
    assert target.octets == 0


async def test_a_plain_client_may_half_close(bench: RelayBench) -> None:
    """The mail server answers what was asked last, then ends; so does the phone's side."""
    owned = await bench.session()
    await asyncio.to_thread(owned.phone.sendall, b"a LOGOUT\r\n")
    owned.phone.shutdown(socket.SHUT_WR)
    assert await asyncio.to_thread(read_all, owned.server) == b"a LOGOUT\r\n"
    await asyncio.to_thread(owned.server.sendall, b"* BYE\r\n")
    owned.server.close()

    assert await asyncio.to_thread(read_all, owned.phone) == b"* BYE\r\n"
    assert await owned.ended() is Ended.UPSTREAM


async def test_a_half_closed_client_still_gets_a_long_answer(bench: RelayBench) -> None:
    """The server has closed too by the time the phone reads: nothing is missing, and waiting costs no turns."""
    owned = await bench.session(buffer=SMALL)
    data = _octets(1_000_000, 12)
    sent = asyncio.Event()
    loop = asyncio.get_running_loop()

    def serve() -> None:
        owned.server.sendall(data)
        owned.server.close()
        loop.call_soon_threadsafe(sent.set)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(serve))
        while not owned.session.client.unsent:
            await asyncio.to_thread(lambda: None)
        owned.phone.shutdown(socket.SHUT_WR)
        got = bytearray()
        while not sent.is_set():
            got += await asyncio.to_thread(owned.phone.recv, 4096)
        turns = bench.poller.turns
        due = asyncio.Event()
        loop.call_later(0.05, due.set)
        await due.wait()
        assert bench.poller.turns - turns < 20
        got += await asyncio.to_thread(read_all, owned.phone)
    assert got == data
    assert await owned.ended() is Ended.UPSTREAM


@pytest.mark.parametrize("upstream_tls", [False, True])
async def test_a_tls_clients_close_ends_the_session_politely(bench: RelayBench, *, upstream_tls: bool) -> None:
    """A close-notify is an end: the server gets all octets, then its end."""
    owned = await bench.session(client_tls=True, upstream_tls=upstream_tls)
    await asyncio.to_thread(owned.phone.sendall, b"QUIT\r\n")
    _close_politely(owned.phone)

    assert await asyncio.to_thread(read_all, owned.server) == b"QUIT\r\n"
    assert await owned.ended() is Ended.CLIENT
    assert owned.session.octets_up == 6


async def test_the_end_frees_what_tls_holds(bench: RelayBench) -> None:
    """Not when the garbage collector comes by, which may be a thousand sessions later: that is 27 KiB a session."""

    def engines() -> int:
        return sum(type(one).__name__ == "_SSLSocket" for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = engines()
        owned = await bench.session(client_tls=True, upstream_tls=True)
        assert engines() - before == 4
        owned.session.end(Ended.CUT)
        assert await owned.ended() is Ended.CUT
        assert engines() - before == 2, "those of the far ends"
    finally:
        gc.enable()


@pytest.mark.parametrize("upstream_tls", [False, True])
@pytest.mark.parametrize("by", ["end without close-notify", "reset"])
async def test_a_client_that_vanishes_aborts_the_servers_side(
    bench: RelayBench, by: str, *, upstream_tls: bool
) -> None:
    """A truncated upload never looks finished: the server gets a RST, never an end of file."""
    owned = await bench.session(client_tls=True, upstream_tls=upstream_tls)
    await asyncio.to_thread(owned.phone.sendall, b"DATA of which half is mis")
    await asyncio.to_thread(owned.server.recv, 5)
    _vanish(owned.phone, by)

    assert await owned.ended() is Ended.CLIENT_ABORTED
    assert isinstance(owned.endings[0][1], OSError)
    assert await asyncio.to_thread(was_reset, owned.server)
    assert owned.session.octets_up == 25


@ALL_LEGS
async def test_a_client_that_vanishes_while_the_server_is_slow_aborts_too(
    bench: RelayBench, *, client_tls: bool, upstream_tls: bool
) -> None:
    """Nothing is read from the phone at that time: the hang-up alone tells."""
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls, buffer=SMALL)
    owned.phone.settimeout(0)
    while not owned.session.upstream.unsent:
        with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
            owned.phone.send(b"x" * 16384)
        await asyncio.to_thread(lambda: None)
    _vanish(owned.phone, "reset")

    assert await owned.ended() is Ended.CLIENT_ABORTED
    assert await asyncio.to_thread(was_reset, owned.server)


async def test_a_client_that_ends_and_is_gone_before_all_was_passed_on_aborts(bench: RelayBench) -> None:
    """It had sent its end, but the server has not got everything: it must not take what it has for all."""
    owned = await bench.session(client_tls=False, buffer=SMALL)
    owned.phone.settimeout(0)
    while not owned.session.upstream.unsent:
        with contextlib.suppress(BlockingIOError):
            owned.phone.send(b"x" * 16384)
        await asyncio.to_thread(lambda: None)
    bench.poller.change(owned.session.upstream.fd, 0)  # as if the kernel took nothing any more
    owned.session.client.at_eof = True  # as if its end had been read before
    _vanish(owned.phone, "reset")

    assert await owned.ended() is Ended.CLIENT_ABORTED
    assert await asyncio.to_thread(was_reset, owned.server)


@ALL_LEGS
async def test_a_server_that_resets_ends_the_session(
    bench: RelayBench, *, client_tls: bool, upstream_tls: bool
) -> None:
    """Over TLS the phone sees no close-notify: it knows that something is missing."""
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls)
    _vanish(owned.server, "reset")

    assert await owned.ended() is Ended.UPSTREAM_ABORTED
    if client_tls:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):  # SSLEOFError, where Python knows it
            await asyncio.to_thread(owned.phone.recv, 1)
    else:
        assert await asyncio.to_thread(owned.phone.recv, 1) == b""


@ALL_LEGS
@pytest.mark.parametrize("why", [Ended.CUT, Ended.IDLE, Ended.DRAINED])
async def test_a_cut_closes_both_sides_politely(
    bench: RelayBench, why: Ended, *, client_tls: bool, upstream_tls: bool
) -> None:
    """At once, and told once."""
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls)
    owned.session.end(why)
    owned.session.end(Ended.FAULT)

    assert await asyncio.to_thread(read_all, owned.phone) == b""
    assert await asyncio.to_thread(read_all, owned.server) == b""
    assert await owned.ended() is why


async def test_a_cut_does_not_wait_for_a_phone_that_does_not_read(bench: RelayBench) -> None:
    """What is kept for it is dropped."""
    owned = await bench.session(client_tls=True, buffer=SMALL, to_client=b"x" * 3_000_000)
    assert owned.session.client.unsent
    owned.session.end(Ended.CUT)
    assert await owned.ended() is Ended.CUT


@pytest.mark.parametrize(("sent", "told"), [(b"* OK\r\n", b"* BYE\r\n"), (b"* 1 FETCH {9}", b"")])
@pytest.mark.parametrize("client_tls", [False, True])
async def test_last_words_are_said_between_lines_only(
    bench: RelayBench, sent: bytes, told: bytes, *, client_tls: bool
) -> None:
    """In the middle of a line they would become part of a message."""
    owned = await bench.session(client_tls=client_tls)
    owned.last_words = b"* BYE\r\n"
    await asyncio.to_thread(owned.server.sendall, sent)
    assert await asyncio.to_thread(owned.phone.recv, 100) == sent
    owned.session.drain()
    owned.session.drain()

    assert await asyncio.to_thread(read_all, owned.phone) == told
    assert await owned.ended() is Ended.DRAINED


async def test_quiet_sessions_end_after_their_ticks(bench: RelayBench) -> None:
    """Traffic in either direction starts the count anew."""
    quiet, lively = await bench.session(), await bench.session()
    for _ in range(2):
        bench.relay.tick(2)
    await asyncio.to_thread(lively.phone.sendall, b"NOOP\r\n")
    await asyncio.to_thread(lively.server.recv, 10)
    assert len(bench.relay) == 2
    bench.relay.tick(2)

    assert [why for why, _ in quiet.endings] == [Ended.IDLE]
    assert lively.endings == []
    assert bench.relay.sessions() == (lively.session,)


async def test_all_can_be_ended(bench: RelayBench) -> None:
    """For the end of the drain."""
    made = [await bench.session() for _ in range(3)]
    bench.relay.end_all(Ended.DRAINED)
    for owned in made:
        assert await owned.ended() is Ended.DRAINED


async def test_an_unexpected_error_ends_that_session_only(bench: RelayBench) -> None:
    """The owner is told what it was."""
    bad, good = await bench.session(), await bench.session()
    bad.session.client.peer = None  # type: ignore[assignment]  # any bug would do
    await asyncio.to_thread(bad.phone.sendall, b"x")
    async with asyncio.timeout(DEADLINE_S):
        await bad.over.wait()
    assert bad.endings[0][0] is Ended.FAULT
    assert await asyncio.to_thread(was_reset, bad.server)  # what it got may be half of something
    assert isinstance(bad.endings[0][1], AttributeError)
    await asyncio.to_thread(good.phone.sendall, b"still here")
    assert await asyncio.to_thread(good.server.recv, 100) == b"still here"


@pytest.mark.parametrize("client_tls", [False, True])
async def test_what_is_sent_in_one_turn_leaves_in_full_segments(bench: RelayBench, *, client_tls: bool) -> None:
    """However many pieces it was read in; and nothing of it is held back."""
    owned = await bench.session(client_tls=client_tls)
    client, upstream = owned.session.client, owned.session.upstream
    octets = 3 * BUDGET_OCTETS
    await _both_ways(owned, _octets(4_000_000, 1), b"", largest=300_000)  # until then segments are smaller
    for sock in (owned.phone, client.sock, upstream.sock, owned.server):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * octets)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * octets)
    owned.phone.sendall(bytes(octets))
    while _unread(client.sock) < octets:
        pass  # the loop stands still, so that all of it is there when the relay looks
    before = _segments(upstream.sock)
    bench.poller.rounds = 8
    assert client.ready(READ)
    bench.poller.rounds = 1
    assert read_exactly(owned.server, octets) == bytes(octets)
    size = upstream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    assert _segments(upstream.sock) - before == math.ceil(octets / size)
    assert not upstream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK)


def _unread(sock: socket.socket) -> int:
    waiting = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, waiting)
    return waiting[0]


def _segments(sock: socket.socket) -> int:
    """Return how many with data were sent: `tcpi_data_segs_out`."""
    (count,) = struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160), 156)
    return int(count)


async def test_an_idle_session_costs_no_turns(bench: RelayBench) -> None:
    """Nothing wakes for it."""
    for _ in range(5):
        await bench.session(client_tls=True)
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, due.set)
    turns = bench.poller.turns
    await due.wait()
    assert bench.poller.turns - turns < 10


async def test_a_session_that_cannot_begin_ends_at_once(bench: RelayBench) -> None:
    """The phone was gone before the relay began: told once, nothing left behind."""
    near_phone, phone = tcp_pair()
    near_server, server = tcp_pair()
    for near in (near_phone, near_server):
        transport_on(near, Kept(), bench.poller).detach()
    reset(phone)
    owned = Owned(bench.relay, phone, server, None)  # type: ignore[arg-type]  # never looked at
    bench.relay.begin((near_phone, b"a OK\r\n"), (near_server, b""), owned)

    assert await owned.ended() is Ended.CLIENT_ABORTED
    assert await asyncio.to_thread(was_reset, server)
    server.close()


def _close_politely(sock: socket.socket) -> None:
    """Close-notify (not waiting for the peer's), then close."""
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(0)
        is_told = False
        while not is_told:
            try:
                sock.unwrap()
            except ssl.SSLWantWriteError:  # full of what was sent before
                select.select([], [sock], [], DEADLINE_S)
            except ssl.SSLWantReadError:
                is_told = True
    sock.close()


def _vanish(sock: socket.socket, by: str) -> None:
    """Close without a close-notify."""
    if by == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
