"""The poller: asyncio works on it unchanged, and the direct lane is fair, quiet when idle, and survives faults."""

import asyncio
import os
import socket
import sys
import threading

import pytest

from gatekeeper.net.poller import READ, Poller
from testkit.loops import DEADLINE_S, CountingPoller, Readings, local_pair


async def test_timers_are_never_early_and_come_in_order() -> None:
    """`call_later` works as on any loop."""
    loop = asyncio.get_running_loop()
    order: list[int] = []
    done = asyncio.Event()
    start = loop.time()
    loop.call_later(0.05, done.set)
    loop.call_later(0.02, order.append, 2)
    loop.call_later(0.01, order.append, 1)
    await done.wait()

    assert order == [1, 2]
    assert loop.time() - start >= 0.05


async def test_threads_wake_the_loop() -> None:
    """`call_soon_threadsafe` and `to_thread` reach a loop that waits without a timeout."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(woken.set))
    thread.start()
    async with asyncio.timeout(30):
        await woken.wait()
    thread.join()

    assert await asyncio.to_thread(sum, [1, 2]) == 3


async def test_subprocesses_run() -> None:
    """Asyncio's pipes and child watcher work on the nested epoll."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print(input()[::-1])", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate(b"abc\n")

    assert (process.returncode, out) == (0, b"cba\n")


async def test_streams_run() -> None:
    """Asyncio's own servers and connections live beside the direct lane."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert await reader.read() == b"x" * 300_000
        writer.close()


async def test_add_reader_is_called_while_the_direct_lane_is_busy(poller: CountingPoller) -> None:
    """A session at full stream does not keep asyncio's descriptors waiting."""
    near, far = local_pair()
    stream = _Endless(near, poller)
    far.send(b"x")  # never read: always ready
    receiving, sending = os.pipe()
    called = asyncio.Event()
    asyncio.get_running_loop().add_reader(receiving, called.set)
    os.write(sending, b"x")
    async with asyncio.timeout(30):
        await called.wait()

    asyncio.get_running_loop().remove_reader(receiving)
    assert stream.served > 0
    poller.unwatch(near.fileno())
    for fd in (receiving, sending):
        os.close(fd)
    near.close()
    far.close()


async def test_timers_come_due_while_the_direct_lane_is_busy(poller: CountingPoller) -> None:
    """The turns without asyncio end when a timer is due."""
    near, far = local_pair()
    _Endless(near, poller)
    far.send(b"x")
    loop = asyncio.get_running_loop()
    start = loop.time()
    due = asyncio.Event()
    loop.call_later(0.05, due.set)
    await due.wait()

    assert loop.time() - start < DEADLINE_S
    poller.unwatch(near.fileno())
    near.close()
    far.close()


@pytest.mark.parametrize("heavy_count", [1, 5])
async def test_light_objects_are_served_every_turn_beside_heavy_ones(poller: CountingPoller, heavy_count: int) -> None:
    """Of those at full stream one is served a turn, whatever their number."""
    pairs = [local_pair() for _ in range(heavy_count)]
    heavy = [_Endless(near, poller) for near, _ in pairs]
    for _, far in pairs:
        far.send(b"x")
    near, far = local_pair()
    light = Readings(near, poller)
    await heavy[0].changed.wait()
    before = sum(one.served for one in heavy)
    far.send(b"ping")
    async with asyncio.timeout(30):
        await light.changed.wait()

    assert bytes(light.received) == b"ping"
    # The octets are there at once; each turn until this is heard of served one heavy object.
    assert sum(one.served for one in heavy) - before < 10
    assert light.served == 1
    for sock, _ in [*pairs, (near, far)]:
        poller.unwatch(sock.fileno())
    for sock in [end for pair in [*pairs, (near, far)] for end in pair]:
        sock.close()


async def test_heavy_objects_take_turns(poller: CountingPoller) -> None:
    """None of the busy ones starves."""
    pairs = [local_pair() for _ in range(4)]
    heavy = [_Endless(near, poller) for near, _ in pairs]
    for _, far in pairs:
        far.send(b"x")
    due = asyncio.Event()
    poller.after_turn = lambda: due.set() if sum(one.served for one in heavy) > 400 else None
    await due.wait()

    served = [one.served for one in heavy]
    assert min(served) > 10
    assert max(served) < 2 * min(served)
    for near, far in pairs:
        poller.unwatch(near.fileno())
        near.close()
        far.close()


async def test_an_object_returns_from_the_busy_lane(poller: CountingPoller) -> None:
    """What is light again is served as such, and `change` follows it from lane to lane."""
    near, far = local_pair()
    stream = _Endless(near, poller)
    far.send(b"x")
    await stream.changed.wait()
    assert near.fileno() in poller._busy
    stream.rests = True
    stream.changed.clear()
    await stream.changed.wait()
    assert near.fileno() not in poller._busy

    poller.change(near.fileno(), 0)
    before = stream.served
    far.send(b"x")
    await asyncio.to_thread(lambda: None)  # a trip through the loop with the descriptor ready
    assert stream.served == before
    stream.changed.clear()
    poller.change(near.fileno(), READ)
    await stream.changed.wait()
    poller.unwatch(near.fileno())
    near.close()
    far.close()


async def test_what_a_turn_schedules_runs_after_it(poller: CountingPoller) -> None:
    """Though the loop waits without a deadline: nobody has to announce a callback or a timer."""
    loop = asyncio.get_running_loop()
    near, far = local_pair()
    soon, later = asyncio.Event(), asyncio.Event()

    class Schedules(Readings):
        def ready(self, mask: int) -> bool:
            self.sock.recv(1)
            loop.call_soon(soon.set)
            loop.call_later(0.01, later.set)
            return False

    Schedules(near, poller)
    sending = threading.Thread(target=far.send, args=(b"x",))
    sending.start()
    await soon.wait()
    await later.wait()
    sending.join()
    poller.unwatch(near.fileno())
    near.close()
    far.close()


async def test_what_waits_for_quiet_comes_after_all_who_have_something_to_say(
    poller: CountingPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two connections with something to say: both are served before it is called, and it is called once."""
    for name in ("_QUIET_SOON_S", "_QUIET_AT_LATEST_S"):  # it does not hurry for a busy machine
        monkeypatch.setattr(f"gatekeeper.net.poller.{name}", 60.0)
    order: list[str] = []
    called = asyncio.Event()
    pairs = [local_pair() for _ in range(2)]

    def quiet() -> None:
        order.append("quiet")
        called.set()

    class Speaks(Readings):
        def ready(self, mask: int) -> bool:
            self.sock.recv(1)
            order.append("served")
            if len(order) == 1:
                poller.when_quiet(quiet)
                pairs[1][1].send(b"x")
            return False

    for near, _ in pairs:
        Speaks(near, poller)
    pairs[0][1].send(b"x")
    async with asyncio.timeout(30):
        await called.wait()

    assert order == ["served", "served", "quiet"]
    for near, far in pairs:
        poller.unwatch(near.fileno())
        near.close()
        far.close()


async def test_who_waits_for_quiet_does_not_wait_for_ever(poller: CountingPoller) -> None:
    """A connection that never falls silent holds it up for a moment only."""
    near, far = local_pair()
    endless = _Endless(near, poller)
    far.send(b"x")
    await endless.changed.wait()
    called = asyncio.Event()
    poller.when_quiet(called.set)
    async with asyncio.timeout(30):
        await called.wait()

    assert poller.turns > 1
    poller.unwatch(near.fileno())
    near.close()
    far.close()


async def test_who_asks_for_quiet_again_is_called_once_for_all(
    poller: CountingPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A little later for each of them, up to a bound: by a clock that moves as far as the test says."""
    clock = [100.0]
    monkeypatch.setattr("gatekeeper.net.poller.monotonic", lambda: clock[0])
    near, far = local_pair()
    calls: list[float] = []

    def call() -> None:
        calls.append(clock[0])

    class Asks(Readings):
        def ready(self, mask: int) -> bool:
            clock[0] += 0.004
            if not calls:
                poller.when_quiet(call)
            else:
                self.sock.recv(1)
                self.changed.set()
            return False

    asks = Asks(near, poller)
    far.send(b"x")
    async with asyncio.timeout(30):
        await asks.changed.wait()

    assert calls == [pytest.approx(100.004 + 0.02)]
    poller.unwatch(near.fileno())
    near.close()
    far.close()


async def test_an_error_reaches_its_owner_only(poller: CountingPoller) -> None:
    """The others, and the loop, go on."""
    (bad_near, bad_far), (good_near, good_far) = local_pair(), local_pair()
    bad, good = Readings(bad_near, poller), Readings(good_near, poller)
    bad.raises = ZeroDivisionError()
    bad_far.send(b"x")
    good_far.send(b"y")
    async with asyncio.timeout(30):
        await bad.changed.wait()
        await good.changed.wait()

    assert bad.failures == [bad.raises]
    assert (good.failures, bytes(good.received)) == ([], b"y")
    poller.unwatch(good_near.fileno())
    for sock in (bad_far, good_near, good_far):
        sock.close()


async def test_an_idle_poller_does_not_turn(poller: CountingPoller) -> None:
    """Registered but quiet descriptors cost nothing: a turn for each timer, no more."""
    pairs = [local_pair() for _ in range(10)]
    owners = [Readings(near, poller) for near, _ in pairs]
    due = asyncio.Event()
    before = poller.turns
    asyncio.get_running_loop().call_later(0.2, due.set)
    await due.wait()

    assert poller.turns - before <= 5
    assert sum(owner.served for owner in owners) == 0
    for near, far in pairs:
        poller.unwatch(near.fileno())
        near.close()
        far.close()


async def test_unwatched_descriptors_stay_open_and_silent(poller: CountingPoller) -> None:
    """After `unwatch` the owner hears nothing; unknown descriptors are ignored."""
    near, far = local_pair()
    owner = Readings(near, poller)
    poller.unwatch(near.fileno())
    poller.unwatch(near.fileno())
    far.send(b"x")
    await asyncio.to_thread(lambda: None)

    assert owner.served == 0
    near.settimeout(5)
    assert near.recv(1) == b"x"
    near.close()
    far.close()


async def test_a_forgotten_descriptor_can_be_used_anew(poller: CountingPoller) -> None:
    """Closing takes it out of the epoll; the next socket with its number belongs to its new owner."""
    near, far = local_pair()
    old = Readings(near, poller)
    number = near.fileno()
    poller.forget(number)
    near.close()
    far.close()
    left, right = socket.socketpair()
    again = left if left.fileno() == number else None
    if again is None:
        again = socket.socket(fileno=os.dup2(left.fileno(), number))
        left.close()
    new = Readings(again, poller)
    right.send(b"z")
    await new.changed.wait()

    assert (old.served, bytes(new.received)) == (0, b"z")
    poller.unwatch(number)
    again.close()
    right.close()


async def test_a_replaced_owner_hears_no_more(poller: CountingPoller) -> None:
    """`replace` hands the descriptor over without a system call."""
    near, far = local_pair()
    first = Readings(near, poller)
    second = _Endless(near, poller, watch=False)
    second.rests = True
    poller.replace(near.fileno(), second)
    far.send(b"x")
    await second.changed.wait()

    assert first.served == 0
    poller.unwatch(near.fileno())
    near.close()
    far.close()


def test_events_of_a_closed_descriptor_never_reach_the_next_owner_of_its_number() -> None:
    """One turn: the first owner closes both, a new socket takes the second one's number; its event was the old one's."""
    poller = Poller()
    pairs = [local_pair() for _ in range(2)]
    spare = [socket.socketpair() for _ in range(2)]
    newcomers: list[Readings] = []

    class Closes:
        def ready(self, mask: int) -> bool:
            if not newcomers:
                for (near, _), (left, _) in zip(pairs, spare, strict=True):
                    number = near.fileno()
                    poller.forget(number)
                    near.close()
                    again = socket.socket(fileno=os.dup2(left.fileno(), number))
                    again.settimeout(0)
                    newcomers.append(Readings(again, poller))
            return False

        def failed(self, error: Exception) -> None:
            raise error

    for near, far in pairs:
        poller.watch(near.fileno(), READ, Closes())
        far.send(b"x")
    poller.wake()
    poller.select(5)

    assert [one.served for one in newcomers] == [0, 0]
    for sock in [*(one.sock for one in newcomers), *(far for _, far in pairs), *sum(spare, ())]:
        sock.close()
    poller.close()


async def test_everything_is_read_whatever_the_lane(poller: CountingPoller) -> None:
    """An object that changes lanes misses no octet."""
    near, far = local_pair()
    owner = Readings(near, poller, is_heavy=True)
    await asyncio.to_thread(far.sendall, b"x" * 200_000)
    far.close()
    async with asyncio.timeout(30):
        while len(owner.received) < 200_000:
            owner.changed.clear()
            await owner.changed.wait()

    assert bytes(owner.received) == b"x" * 200_000
    poller.unwatch(near.fileno())
    near.close()


class _Endless(Readings):
    """Never reads what is there, so that it is always ready; heavy unless it rests."""

    def __init__(self, sock: socket.socket, poller: Poller, *, watch: bool = True) -> None:
        self.sock = sock
        self.served = 0
        self.rests = False
        self.changed = asyncio.Event()
        self._poller = poller
        if watch:
            poller.watch(sock.fileno(), READ, self)

    def ready(self, mask: int) -> bool:
        self.served += 1
        if not self.changed.is_set():
            self.changed.set()
        return not self.rests
