"""The relay through a screen: what comes of it goes out in order, whatever the sockets take."""

import asyncio
import itertools
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest

from gatekeeper.net.poller import READ
from gatekeeper.net.relay import BUDGET_OCTETS, Ended, Owner, Relay, Relayed
from gatekeeper.net.screened import Octets, Screen, Screened
from testkit.loops import exchange, is_drained, local_pair, read_all
from testkit.relay_bench import Owned, RelayBench

BOTH = list(itertools.product([False, True], repeat=2))
LEGS = [f"{'tls' if client else 'plain'}-{'tls' if upstream else 'plain'}" for client, upstream in BOTH]
ALL_LEGS = pytest.mark.parametrize(("client_tls", "upstream_tls"), BOTH, ids=LEGS)


@dataclass
class Doubling:
    """Doubles every `d` on its way down, drops every `u` on its way up, and answers each `?` of the client's itself."""

    is_idle: bool = False
    holds: bool = False
    is_over: bool = False
    reads_client: bool = True

    def from_upstream(self, octets: Octets) -> tuple[Octets, Octets]:
        if self.is_idle:
            return octets, b""
        return bytes(octets).replace(b"d", b"dd"), b""

    def from_client(self, octets: Octets) -> tuple[Octets, Octets]:
        if self.is_idle:
            return b"", octets
        said = bytes(octets)
        return b"!" * said.count(b"?"), said.replace(b"u", b"").replace(b"?", b"")


@dataclass
class Holding:
    """Keeps what the client says until the mail server says `g`; ends the session at an `x`."""

    holds: bool = False
    is_over: bool = False
    reads_client: bool = True
    kept: bytes = b""

    def from_upstream(self, octets: Octets) -> tuple[Octets, Octets]:
        if b"g" not in bytes(octets):
            return octets, b""
        kept, self.kept, self.holds = self.kept, b"", False
        return octets, kept

    def from_client(self, octets: Octets) -> tuple[Octets, Octets]:
        self.is_over = b"x" in bytes(octets)
        self.kept += octets
        self.holds = True
        return (b"bye" if self.is_over else b""), b""


def through(screen: Screen) -> Callable[[Relay, Owner], Relayed]:
    return partial(Screened, screen=screen)


async def _both_ways(owned: Owned, up: bytes, down: bytes, at_server: int, at_phone: int) -> tuple[bytes, bytes]:
    """Exchange at once; return what the server and the phone got, so many octets."""
    async with asyncio.TaskGroup() as tasks:
        phone = tasks.create_task(asyncio.to_thread(exchange, owned.phone, up, at_phone, random.Random(1), 60_000))
        server = tasks.create_task(asyncio.to_thread(exchange, owned.server, down, at_server, random.Random(2), 60_000))
    return server.result(), phone.result()


@ALL_LEGS
@pytest.mark.parametrize("is_idle", [True, False])
async def test_what_comes_of_the_screen_arrives_in_order(
    bench: RelayBench, *, client_tls: bool, upstream_tls: bool, is_idle: bool
) -> None:
    """More or less than came in, both ways at once, with small kernel buffers; what is kept is bounded."""
    screen = Doubling(is_idle)
    owned = await bench.session(
        client_tls=client_tls, upstream_tls=upstream_tls, buffer=65_536, new_session=through(screen)
    )
    letters = random.Random(3)
    up = bytes(letters.choices(b"abcu", k=1_000_000))
    down = bytes(letters.choices(b"abcd", k=1_000_000))
    at_server = up if is_idle else up.replace(b"u", b"")
    at_phone = down if is_idle else down.replace(b"d", b"dd")
    most = 0

    def watch() -> None:
        nonlocal most
        most = max(most, len(owned.session.client.unsent), len(owned.session.upstream.unsent))

    bench.poller.after_turn = watch
    got = await _both_ways(owned, up, down, len(at_server), len(at_phone))
    assert got == (at_server, at_phone)
    assert most <= 4 * BUDGET_OCTETS
    assert (owned.session.octets_up, owned.session.octets_down) == (len(up), len(down))


async def test_nobody_answers_a_phone_whose_mail_server_has_ended(bench: RelayBench) -> None:
    """While the phone is still being told of it: behind a close-notify nothing may be said."""
    owned = await bench.session(client_tls=True, new_session=through(Doubling()), pair=local_pair)
    session = owned.session
    sent = await owned.fill_up(owned.server, session.client)
    owned.server.close()
    await owned.until(lambda: session.upstream.at_eof)
    owned.phone.sendall(b"a?u")
    await owned.until(lambda: is_drained(session.client.sock))
    assert len(await asyncio.to_thread(read_all, owned.phone)) == sent
    assert await owned.ended() is Ended.UPSTREAM
    assert session.octets_up == 0


@ALL_LEGS
async def test_a_screen_may_answer_by_itself(bench: RelayBench, *, client_tls: bool, upstream_tls: bool) -> None:
    """To the side that spoke, without the other's hearing of it."""
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls, new_session=through(Doubling()))
    assert await _both_ways(owned, b"a?b", b"cd", 2, 4) in {(b"ab", b"!cdd"), (b"ab", b"cdd!")}


async def test_the_servers_end_comes_after_what_was_made_of_its_words(bench: RelayBench) -> None:
    """Nothing is lost when the phone reads slowly."""
    owned = await bench.session(client_tls=True, buffer=65_536, new_session=through(Doubling()))
    said = b"d" * 500_000

    def serve() -> None:
        owned.server.sendall(said)
        owned.server.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(serve))
        got = tasks.create_task(asyncio.to_thread(read_all, owned.phone))
    assert got.result() == said * 2
    assert await owned.ended() is Ended.UPSTREAM


@ALL_LEGS
async def test_what_is_held_back_is_bounded(bench: RelayBench, *, client_tls: bool, upstream_tls: bool) -> None:
    """While the screen holds, the client is not read, and waiting costs no turns; then everything goes on in order."""
    screen = Holding()
    owned = await bench.session(
        client_tls=client_tls, upstream_tls=upstream_tls, buffer=65_536, new_session=through(screen)
    )
    said = bytes(random.Random(4).choices(b"abc", k=2_000_000))
    most = 0

    def watch() -> None:
        nonlocal most
        most = max(most, len(screen.kept))

    bench.poller.after_turn = watch

    def serve() -> bytes:
        got = b""
        while len(got) < len(said):
            owned.server.sendall(b"g")
            with suppress(TimeoutError):
                owned.server.settimeout(0.05)
                got += owned.server.recv(1 << 20)
        return got

    def talk() -> None:
        owned.phone.sendall(said)

    async with asyncio.TaskGroup() as tasks:
        server = tasks.create_task(asyncio.to_thread(serve))
        tasks.create_task(asyncio.to_thread(talk))
    assert server.result() == said
    assert 0 < most <= 2 * BUDGET_OCTETS + 16384


async def test_waiting_costs_no_turns(bench: RelayBench) -> None:
    """More has come from the client, and is left where it is."""
    screen = Holding()
    owned = await bench.session(new_session=through(screen))
    await asyncio.to_thread(owned.phone.sendall, b"a")
    while not screen.holds:
        await asyncio.to_thread(lambda: None)
    await asyncio.to_thread(owned.phone.sendall, b"b" * 10_000)
    turns = bench.poller.turns
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, due.set)
    await due.wait()
    assert bench.poller.turns - turns < 20
    assert screen.kept == b"a"


async def test_a_half_close_waits_for_what_is_held(bench: RelayBench) -> None:
    """The mail server hears it before the end."""
    screen = Holding()
    owned = await bench.session(new_session=through(screen))
    await asyncio.to_thread(owned.phone.sendall, b"a LOGOUT\r\n")
    owned.phone.shutdown(socket.SHUT_WR)
    await asyncio.to_thread(owned.server.sendall, b"s")
    assert await asyncio.to_thread(owned.phone.recv, 10) == b"s"
    while not screen.holds:
        await asyncio.to_thread(lambda: None)
    await asyncio.to_thread(owned.server.sendall, b"g")
    assert await asyncio.to_thread(read_all, owned.server) == b"a LOGOUT\r\n"


@ALL_LEGS
async def test_a_screen_ends_a_session_with_its_words(
    bench: RelayBench, *, client_tls: bool, upstream_tls: bool
) -> None:
    """The mail server gets nothing of what ended it."""
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls, new_session=through(Holding()))
    await asyncio.to_thread(owned.phone.sendall, b"x")
    assert await asyncio.to_thread(read_all, owned.phone) == b"bye"
    assert await asyncio.to_thread(read_all, owned.server) == b""
    assert await owned.ended() is Ended.SCREENED


async def test_a_session_that_was_over_before_it_began_ends_at_once(bench: RelayBench) -> None:
    """What the client sent behind its log-in was such."""
    owned = await bench.session(to_client=b"bye", new_session=through(Holding(is_over=True)))
    assert await asyncio.to_thread(read_all, owned.phone) == b"bye"
    assert await owned.ended() is Ended.SCREENED


@ALL_LEGS
async def test_a_screen_that_does_not_read_the_client_is_not_asked(
    bench: RelayBench, *, client_tls: bool, upstream_tls: bool
) -> None:
    """What the client says passes by it: `u` would be dropped. The other direction goes through it as ever."""
    screen = Doubling(reads_client=False)
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls, new_session=through(screen))

    assert await _both_ways(owned, b"uup?", b"down", 4, 5) == (b"uup?", b"ddown")


@dataclass
class Interrupted:
    """Lets another loop have its turn before it looks at what came."""

    turn: Callable[[], object]
    holds: bool = False
    is_over: bool = False
    reads_client: bool = True

    def from_upstream(self, octets: Octets) -> tuple[Octets, Octets]:
        self.turn()
        return octets, b""

    def from_client(self, octets: Octets) -> tuple[Octets, Octets]:
        self.turn()
        return b"", octets


@ALL_LEGS
async def test_what_one_loop_reads_another_does_not_write_over(
    bench: RelayBench, other_bench: RelayBench, *, client_tls: bool, upstream_tls: bool
) -> None:
    """Loops may run in threads of one process: then the one's turn may fall anywhere in the other's."""
    other = await other_bench.session()
    other.phone.sendall(b"elsewhere\r\n")
    screen = Interrupted(lambda: other.session.client.ready(READ))
    owned = await bench.session(client_tls=client_tls, upstream_tls=upstream_tls, new_session=through(screen))

    await asyncio.to_thread(owned.phone.sendall, b"a NOOP\r\n")

    assert await asyncio.to_thread(owned.server.recv, 100) == b"a NOOP\r\n"
    assert await asyncio.to_thread(other.server.recv, 100) == b"elsewhere\r\n"
