"""The relay through a screen: what comes of it goes out in order, whatever the sockets take."""

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from gatekeeper.net.relay import BUDGET_OCTETS, Ended, Owner, Relay, Relayed
from gatekeeper.net.screened import Octets, Screened
from testkit.loops import exchange, read_all
from testkit.relay_bench import Owned, RelayBench

BOTH = list(itertools.product([False, True], repeat=2))
LEGS = [f"{'tls' if client else 'plain'}-{'tls' if upstream else 'plain'}" for client, upstream in BOTH]
ALL_LEGS = pytest.mark.parametrize(("client_tls", "upstream_tls"), BOTH, ids=LEGS)


@dataclass
class Doubling:
    """Doubles every `d` on its way down, drops every `u` on its way up, and answers each `?` of the client's itself."""

    is_idle: bool = False

    def from_upstream(self, octets: Octets) -> tuple[Octets, Octets]:
        if self.is_idle:
            return octets, b""
        return bytes(octets).replace(b"d", b"dd"), b""

    def from_client(self, octets: Octets) -> tuple[Octets, Octets]:
        if self.is_idle:
            return b"", octets
        said = bytes(octets)
        return b"!" * said.count(b"?"), said.replace(b"u", b"").replace(b"?", b"")


def through(screen: Doubling) -> Callable[[Relay, Owner], Relayed]:
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
