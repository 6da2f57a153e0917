"""What stands before everything else on a connection is taken off its socket to the octet, and nothing more."""

import asyncio

import pytest

from gatekeeper.net.preface import Preface
from testkit.loops import CountingPoller, Kept, reset, tcp_pair, transport_on


class Doorman:
    """Takes a preface of a known length."""

    def __init__(self, octets: int) -> None:
        self.octets = octets
        self.seen: list[bytes] = []
        self.told = asyncio.Event()
        self.done = False

    def take(self, octets: bytes) -> int | None:
        self.seen.append(octets)
        self.told.set()
        return self.octets if len(octets) >= self.octets else None

    def then(self) -> None:
        self.done = True


@pytest.mark.parametrize("split", range(1, 9))
async def test_what_follows_is_the_transports(poller: CountingPoller, split: int) -> None:
    """Wherever the octets are split."""
    near, far = tcp_pair()
    kept, doorman = Kept(), Doorman(4)
    transport = transport_on(near, kept, poller)
    Preface(near, transport, poller, doorman.take, doorman.then)
    far.sendall(b"headTAIL"[:split])
    await doorman.told.wait()
    assert doorman.done is (split >= 4)
    far.sendall(b"headTAIL"[split:])
    await kept.until(lambda: kept.received == b"TAIL")
    assert b"headTAIL".startswith(doorman.seen[-1])
    far.close()
    await kept.until_lost()


async def test_a_part_does_not_make_the_loop_spin(poller: CountingPoller) -> None:
    """What is there and not whole is taken, or it would be reported again and again."""
    near, far = tcp_pair()
    kept, doorman = Kept(), Doorman(4)
    transport = transport_on(near, kept, poller)
    Preface(near, transport, poller, doorman.take, doorman.then)
    far.sendall(b"he")
    await doorman.told.wait()
    turns = poller.turns
    for _ in range(20):
        await asyncio.to_thread(lambda: None)
    assert doorman.seen == [b"he"]
    assert poller.turns - turns < 100
    far.sendall(b"ad")
    await asyncio.to_thread(far.close)
    assert await kept.until_lost() is None
    assert doorman.seen[-1] == b"head"
    assert kept.received == b""


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_an_early_end_is_told(poller: CountingPoller, how: str) -> None:
    """As b"", once whoever is told ends the connection."""
    near, far = tcp_pair()
    kept, doorman = Kept(), Doorman(4)
    transport = transport_on(near, kept, poller)

    def take(octets: bytes) -> int | None:
        if not octets:
            transport.close()
        return doorman.take(octets)

    Preface(near, transport, poller, take, doorman.then)
    if how == "reset":
        reset(far)
    else:
        far.close()
    await kept.until_lost()
    assert doorman.seen == [b""]
    assert not doorman.done


async def test_what_is_not_liked_is_ended_without_a_further_look(poller: CountingPoller) -> None:
    """Whoever takes may close; nothing is received then."""
    near, far = tcp_pair()
    kept, doorman = Kept(), Doorman(4)
    transport = transport_on(near, kept, poller)

    def take(octets: bytes) -> int | None:
        transport.close()
        return doorman.take(octets)

    Preface(near, transport, poller, take, doorman.then)
    far.sendall(b"headTAIL")
    await kept.until_lost()
    assert doorman.seen == [b"headTAIL"]
    assert not doorman.done
    far.close()


async def test_a_fault_in_taking_closes_the_connection(poller: CountingPoller) -> None:
    """The protocol hears of the error."""
    near, far = tcp_pair()
    kept = Kept()

    def take(octets: bytes) -> int | None:
        raise ZeroDivisionError

    Preface(near, transport_on(near, kept, poller), poller, take, lambda: None)
    far.sendall(b"head")
    assert isinstance(await kept.until_lost(), ZeroDivisionError)
    far.close()
