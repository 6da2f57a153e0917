"""The drain: no new connections, a word to those who wait, quiet sessions first, the rest at the deadline."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from gatekeeper.gate.outage import TICK_S
from gatekeeper.net.relay import Ended, Relayed
from gatekeeper.server import run
from gatekeeper.server.run import Stop, _drain, _tick
from testkit.loops import DEADLINE_S, Kept, tcp_pair, transport_on

from .conftest import House


class Owner:
    """Owns a relayed session."""

    last_words = b""

    def __init__(self) -> None:
        self.why: Ended | None = None

    def session_ended(self, relayed: Relayed, why: Ended, error: Exception | None) -> None:
        self.why = why


@pytest.fixture
async def session(house: House) -> AsyncIterator[Owner]:
    """A session that is relayed."""
    owner = Owner()
    far_ends = []
    sides = []
    for _ in range(2):
        near, far = tcp_pair()
        far_ends.append(far)
        sides.append(transport_on(near, Kept(), house.gatekeeper.poller).detach())
    house.gatekeeper.relay.begin(sides[0], sides[1], owner)
    yield owner
    house.gatekeeper.relay.end_all(Ended.DRAINED)
    for far in far_ends:
        far.close()


def _within(house: House, window: timedelta) -> None:
    house.gatekeeper.settings = replace(house.gatekeeper.settings, drain_timeout=window)


async def test_a_drain_ends_everything_in_order(house: House, session: Owner) -> None:
    """Listeners first, then a goodbye to who is not logged in, then the sessions that are quiet."""
    gatekeeper = house.gatekeeper
    port = gatekeeper.fronts["submission"].port
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as waiting:
        assert (await asyncio.to_thread(waiting.recv, 1000)).startswith(b"220")
        _within(house, timedelta(seconds=30))
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            draining = tasks.create_task(_drain(gatekeeper, Stop()))
            assert (await asyncio.to_thread(waiting.recv, 1000)).startswith(b"421 4.3.2")
            assert gatekeeper.draining
            assert [listener.is_listening for listener in gatekeeper.listeners.values()] == [False, False]
            assert session.why is None
            for _ in range(2):
                gatekeeper.relay.tick(1000)
            await draining
    assert session.why is Ended.DRAINED
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_what_is_left_at_the_deadline_is_cut(house: House, session: Owner) -> None:
    """A session that is never quiet."""
    _within(house, timedelta(milliseconds=50))
    async with asyncio.timeout(30):
        await _drain(house.gatekeeper, Stop())
    assert session.why is Ended.DRAINED
    assert len(house.gatekeeper.relay) == 0


async def test_a_second_signal_stops_at_once(house: House, session: Owner) -> None:
    """However long the window is."""
    _within(house, timedelta(hours=1))
    stop = Stop()
    stop.ask()
    assert stop.drain.is_set()
    assert not stop.at_once.is_set()
    stop.ask()
    async with asyncio.timeout(30):
        await _drain(house.gatekeeper, stop)
    assert session.why is Ended.DRAINED


async def test_the_tick_keeps_deadlines_and_looks_at_listeners_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One timer for all of it: a phone that never logs in is sent away."""
    monkeypatch.setattr(run, "TICK_S", TICK_S / 50)
    front = house.gatekeeper.fronts["submission"]
    front.waiting.after_s = 0.01
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(_tick(house.gatekeeper))
        with socket.create_connection(("127.0.0.1", front.port), timeout=DEADLINE_S) as waiting:
            said = b""
            while more := await asyncio.to_thread(waiting.recv, 1000):
                said += more
        ticking.cancel()
    assert said.startswith(b"220")
    assert b"\r\n421 " in said
