"""The lean transport, plain and over TLS, against a far end that is a blocking socket in a thread."""

import asyncio
import select
import socket
import ssl

import pytest

from gatekeeper.net.transport import MAX_UNSENT_OCTETS, Transport
from testkit.loops import (
    DEADLINE_S,
    CountingPoller,
    Kept,
    local_pair,
    read_all,
    read_exactly,
    reset,
    tcp_pair,
    tls_client,
    tls_server,
    transport_on,
)

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
MEGABYTE = bytes(range(256)) * 4096


def _exactly(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = version
    return context


async def _encrypted(
    poller: CountingPoller,
    for_server: ssl.SSLContext,
    for_client: ssl.SSLContext,
    pair: tuple[socket.socket, socket.socket] | None = None,
) -> tuple[Transport, Kept, ssl.SSLSocket]:
    """Return the server's side on the transport and the client's socket, after the handshake."""
    near, far = pair or tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    transport.start_tls(for_server, lambda: kept.happened("upgraded"))
    client = await asyncio.to_thread(tls_client, far, for_client)
    await kept.until(lambda: "upgraded" in kept.events)
    return transport, kept, client


async def test_plain_octets_pass_both_ways(poller: CountingPoller) -> None:
    """What arrives is delivered, what is written goes out, and the end is told once, without an error."""
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    far.sendall(b"hello")
    await kept.until(lambda: kept.received == b"hello")
    transport.write(b"wel")
    transport.write(bytearray(b"come"))
    assert await asyncio.to_thread(read_exactly, far, 7) == b"welcome"
    far.close()

    assert await kept.until_lost() is None
    assert kept.events[-2:] == ["eof", "lost"]
    assert transport.is_closing()
    transport.write(b"into the void")
    transport.close()
    transport.abort()
    assert kept.lost == [None]


@pytest.mark.parametrize("version", VERSIONS)
async def test_tls_octets_pass_both_ways(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    """Also those sent in one flight with the end of the handshake; and the TLS objects are at hand."""
    for_client = _exactly(for_client, version)
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    transport.start_tls(for_server, lambda: kept.happened("upgraded"))

    def client() -> bytes:
        with tls_client(far, for_client) as tls:
            tls.sendall(b"a" * 100_000)
            return read_exactly(tls, 200_000)

    far_end = asyncio.to_thread(client)
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(far_end)
        await kept.until(lambda: len(kept.received) == 100_000)
        transport.write(b"b" * 200_000)

    assert answer.result() == b"b" * 200_000
    assert kept.events[0] == "upgraded"
    tls = transport.tls()
    assert tls is not None
    assert transport.get_extra_info("ssl_object") is tls
    assert transport.get_extra_info("sslcontext") is for_server
    assert transport.get_extra_info("peername") == ("127.0.0.1", 1)
    assert not transport.can_write_eof()
    await kept.until_lost()
    for_client.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_upgrade_forgets_what_came_before(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    """STARTTLS: the reply goes out in the clear, then the handshake, then only what came encrypted."""
    for_client = _exactly(for_client, version)
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)

    def upgrade(_data: bytes) -> None:
        kept.on_data = None
        transport.write(b"220 go\r\n")
        transport.start_tls(for_server, lambda: kept.happened("upgraded"))

    kept.on_data = upgrade
    far.sendall(b"STARTTLS\r\n")
    assert await asyncio.to_thread(read_exactly, far, 8) == b"220 go\r\n"
    client = await asyncio.to_thread(tls_client, far, for_client)
    client.sendall(b"EHLO")
    await kept.until(lambda: kept.received == b"STARTTLS\r\nEHLO")

    assert kept.events == ["data", "upgraded", "data"]
    transport.close()
    await kept.until_lost()
    client.close()
    for_client.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


async def test_plaintext_behind_starttls_ends_the_connection(
    poller: CountingPoller, for_server: ssl.SSLContext
) -> None:
    """Octets in the clear where the handshake belongs are never delivered."""
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    transport.start_tls(for_server, lambda: kept.happened("upgraded"))
    far.sendall(b"a LOGIN alice secret\r\n" * 100)

    assert isinstance(await kept.until_lost(), ssl.SSLError)
    assert kept.events == ["lost"]
    far.close()


async def test_unsent_plaintext_is_never_sent_inside_tls(poller: CountingPoller, for_server: ssl.SSLContext) -> None:
    """A peer that did not read the replies from before is cut: they must not appear as words of the new session."""
    near, far = tcp_pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    kept = Kept()
    transport = transport_on(near, kept, poller)
    while not transport.get_write_buffer_size():
        transport.write(b"250 before\r\n" * 1000)
    transport.start_tls(for_server, lambda: kept.happened("upgraded"))

    assert isinstance(await kept.until_lost(), ConnectionAbortedError)
    assert kept.events == ["lost"]
    far.close()


STAGES = ["nothing", "first octets", "reset", "garbage", "half of the hello", "hello"]


@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_that_disappears_in_the_handshake_is_lost_once(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext, stage: str
) -> None:
    """Whatever it had sent by then; nothing is delivered, nothing stays watched."""
    hello = ssl.MemoryBIO()
    half = for_client.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    first_flight = hello.read()
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    transport.start_tls(for_server, lambda: kept.happened("upgraded"))
    match stage:
        case "first octets":
            far.sendall(first_flight[:3])
        case "half of the hello":
            far.sendall(first_flight[:100])
        case "garbage":
            far.sendall(b"\x16\x03\x01\xff\xff" + b"z" * 70_000)
        case "hello":
            far.sendall(first_flight)
            await asyncio.to_thread(far.recv, 1)
    if stage == "reset":
        reset(far)
    else:
        far.close()

    assert isinstance(await kept.until_lost(), OSError)
    assert kept.events == ["lost"]
    assert transport.fd not in poller._watched


@pytest.mark.filterwarnings("ignore:Exception ignored.*unclosed")  # some Pythons leave the closing to the collector
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_client_that_was_gone_before_the_handshake_is_lost_once(
    poller: CountingPoller, for_server: ssl.SSLContext, is_reset: bool
) -> None:
    """`start_tls` on a dead connection raises nothing and leaves nothing behind."""
    near, far = tcp_pair()
    if is_reset:
        reset(far)
        poll = select.poll()
        poll.register(near, select.POLLIN)
        poll.poll(5000)
    else:
        far.close()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    transport.start_tls(for_server, lambda: kept.happened("upgraded"))

    assert isinstance(await kept.until_lost(), OSError)
    assert kept.events == ["lost"]
    assert transport.fd not in poller._watched


async def test_a_servers_wrong_name_fails_the_upgrade(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext
) -> None:
    """Towards a mail server the certificate's name counts, and nothing is sent after it does not fit."""
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    transport.start_tls(for_client, lambda: kept.happened("upgraded"), "mail.example.com")

    def serve() -> None:
        with tls_server(far, for_server) as tls:
            tls.recv(1)

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(serve)

    assert isinstance(await kept.until_lost(), ssl.SSLCertVerificationError)
    assert kept.events == ["lost"]
    far.close()


async def test_nothing_is_delivered_after_detaching(poller: CountingPoller) -> None:
    """The socket and what was not sent yet belong to somebody else then."""
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    while not transport.get_write_buffer_size():
        transport.write(b"x" * 100_000)
    sock, unsent = transport.detach()
    far.sendall(b"late")
    before = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, before.set)
    await before.wait()

    assert kept.events == []
    assert sock is near
    assert unsent
    assert set(unsent) == {ord("x")}
    assert transport.is_closing()
    transport.write(b"y")
    transport.close()
    poller.unwatch(sock.fileno())
    sock.settimeout(DEADLINE_S)
    assert sock.recv(10) == b"late"
    sock.close()
    far.close()


async def test_a_paused_transport_delivers_when_it_is_resumed(poller: CountingPoller) -> None:
    """Nothing is lost, and waiting costs no turns even when the peer has closed meanwhile."""
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    transport.pause_reading()
    assert not transport.is_reading()
    far.sendall(b"later")
    far.shutdown(socket.SHUT_WR)
    before = poller.turns
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, due.set)
    await due.wait()
    assert kept.events == []
    assert poller.turns - before < 10

    transport.resume_reading()
    await kept.until_lost()
    assert kept.received == b"later"
    far.close()


async def test_a_peer_that_resets_is_noticed_while_paused(poller: CountingPoller) -> None:
    """A hang-up is reported whatever is watched for."""
    near, far = tcp_pair()
    kept = Kept()
    transport_on(near, kept, poller).pause_reading()
    reset(far)

    assert isinstance(await kept.until_lost(), ConnectionResetError)


async def test_an_event_from_before_a_pause_is_no_hang_up(poller: CountingPoller) -> None:
    """Within one turn of the poller somebody else pauses the transport: its readability was reported already."""
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    far.sendall(b"data")
    transport.pause_reading()
    transport.ready(select.EPOLLIN)
    assert kept.lost == []

    transport.resume_reading()
    await kept.until(lambda: kept.received == b"data")
    transport.close()
    await kept.until_lost()
    far.close()


@pytest.mark.parametrize("is_tls", [False, True])
async def test_closing_sends_what_was_written_first(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext, is_tls: bool
) -> None:
    """Then the end: over TLS with a close-notify, so that nothing looks cut off."""
    text = MEGABYTE[:MAX_UNSENT_OCTETS]
    if is_tls:
        transport, kept, far = await _encrypted(poller, for_server, for_client)
        far.suppress_ragged_eofs = False
    else:
        near, far = tcp_pair()
        kept = Kept()
        transport = transport_on(near, kept, poller)
    transport.write(text)
    transport.close()
    transport.close()

    assert await asyncio.to_thread(read_all, far) == text
    assert await kept.until_lost() is None
    assert kept.events.count("lost") == 1
    far.close()


async def test_a_socket_that_is_full_takes_the_close_notify_later(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext
) -> None:
    """All that was written is with the kernel, which has no room for more just then: that is not the end yet."""
    near, far = local_pair()  # of which the kernel keeps what was sent in one buffer, the near one's
    transport, kept, client = await _encrypted(poller, for_server, for_client, (near, far))
    client.suppress_ragged_eofs = False
    transport.write(MEGABYTE[:65536])
    assert not transport.get_write_buffer_size()
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    before = poller.turns
    transport.close()
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, due.set)
    await due.wait()
    assert kept.lost == []
    assert poller.turns - before < 10

    transport.write(b"too late")  # nothing may be said behind it
    assert await asyncio.to_thread(read_all, client) == MEGABYTE[:65536]
    assert await kept.until_lost() is None
    client.close()


async def test_an_end_is_answered(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext
) -> None:
    """A close-notify by a close-notify: a client that waits for it does not wait in vain (RFC 8446 §6.1)."""
    _, kept, client = await _encrypted(poller, for_server, for_client)
    client.settimeout(DEADLINE_S)
    (await asyncio.to_thread(client.unwrap)).close()
    assert await kept.until_lost() is None


async def test_who_is_cut_gets_no_close_notify_later(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext
) -> None:
    """A peer that takes nothing keeps nothing open: whoever waited for it has the last word."""
    transport, kept, client = await _encrypted(poller, for_server, for_client, local_pair())
    transport.write(MEGABYTE[:65536])
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    transport.close()
    transport.abort()

    assert isinstance(await kept.until_lost(), ConnectionAbortedError)
    assert kept.events.count("lost") == 1
    client.close()


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_peer_that_does_not_read_is_cut(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext, is_tls: bool
) -> None:
    """The buffer never grows beyond its bound by more than one write."""
    if is_tls:
        transport, kept, far = await _encrypted(poller, for_server, for_client)
    else:
        near, far = tcp_pair()
        kept = Kept()
        transport = transport_on(near, kept, poller)
    largest = 0
    for _ in range(1000):
        transport.write(b"x" * 16384)
        largest = max(largest, transport.get_write_buffer_size())
        if transport.is_closing():
            break

    assert isinstance(await kept.until_lost(), ConnectionAbortedError)
    assert MAX_UNSENT_OCTETS - 16384 < largest <= MAX_UNSENT_OCTETS
    far.close()


async def test_aborting_drops_what_is_unsent(poller: CountingPoller) -> None:
    """And tells why, once."""
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    while not transport.get_write_buffer_size():
        transport.write(b"x" * 100_000)
    transport.abort()

    assert isinstance(await kept.until_lost(), ConnectionAbortedError)
    assert transport.get_write_buffer_size() == 0
    far.close()


async def test_an_error_in_the_protocol_closes_its_connection(poller: CountingPoller) -> None:
    """The error is what `connection_lost` is told; the loop goes on."""
    near, far = tcp_pair()
    kept = Kept()
    transport_on(near, kept, poller)

    def fail(_data: bytes) -> None:
        raise ZeroDivisionError

    kept.on_data = fail
    far.sendall(b"x")

    assert isinstance(await kept.until_lost(), ZeroDivisionError)
    assert await asyncio.to_thread(far.recv, 1) == b""
    far.close()


async def test_another_protocol_can_take_over(poller: CountingPoller) -> None:
    """`set_protocol` is for libraries that switch."""
    near, far = tcp_pair()
    first, second = Kept(), Kept()
    transport = transport_on(near, first, poller)
    transport.set_protocol(second)
    assert transport.get_protocol() is second
    far.sendall(b"x")
    await second.until(lambda: second.received)
    transport.write_eof()
    assert await asyncio.to_thread(far.recv, 1) == b""
    far.close()
    await second.until_lost()
    assert first.events == []


async def test_writing_in_the_handshake_waits_for_its_end(
    poller: CountingPoller, for_server: ssl.SSLContext, for_client: ssl.SSLContext
) -> None:
    """And goes out encrypted."""
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    transport.start_tls(for_server, lambda: kept.happened("upgraded"))
    transport.write(b"early")
    client = await asyncio.to_thread(tls_client, far, for_client)
    assert await asyncio.to_thread(client.recv, 10) == b"early"
    transport.pause_reading()
    transport.resume_reading()
    client.close()
    await kept.until_lost()


async def test_a_close_in_the_handshake_is_final(poller: CountingPoller, for_server: ssl.SSLContext) -> None:
    """Nobody is told of an upgrade afterwards."""
    near, far = tcp_pair()
    kept = Kept()
    transport = transport_on(near, kept, poller)
    transport.start_tls(for_server, lambda: kept.happened("upgraded"))
    transport.close()

    assert await kept.until_lost() is None
    assert kept.events == ["lost"]
    assert await asyncio.to_thread(far.recv, 1) == b""
    far.close()
