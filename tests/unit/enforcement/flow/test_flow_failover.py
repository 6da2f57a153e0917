"""Several addresses of a mail server: the next is tried until one was sent a credential, and none is tried twice."""

import dataclasses
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gatekeeper.net.dial import TlsMode
from testkit.flow_bed import Bed, Conversation, Phone, obliging, on_a_poller, with_starttls
from testkit.flow_other import Other
from testkit.flow_talk import LOGIN, OK, UNAVAILABLE, WRONG, WRONG_LOGIN
from testkit.ports import LOOPBACK, free_port
from testkit.tls import Authority, server_context

NOWHERE = ("255.255.255.255", 143)
"""No TCP to a broadcast: fails at once."""


@pytest.fixture
def closed() -> tuple[str, int]:
    """An address that refuses."""
    return LOOPBACK, free_port()


@pytest.fixture
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that answers nothing: its queue is full, so that the kernel drops what comes."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        for _ in range(2):
            filling = stack.enter_context(socket.socket())
            filling.settimeout(0)
            filling.connect_ex(server.getsockname())
        yield LOOPBACK, server.getsockname()[1]


async def _dialled(bed: Bed, client: Phone) -> None:
    """Return once a log-in waits for a greeting."""
    while not len(bed.front.dials):
        assert await client.ask(b"n NOOP\r\n") == b"n OK Done.\r\n"


def _faults(bed: Bed) -> list[str]:
    return [health.fault for health in bed.front.upstream.health().values()]


@on_a_poller
async def test_an_address_that_refuses_is_passed_over_and_taken_out(
    authority: Authority, closed: tuple[str, int]
) -> None:
    """Within the same log-in; the next one does not try it at all."""
    bed = Bed(authority)
    bed.before = [closed]
    async with bed:
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        assert _faults(bed) == ["nothing listens at the mail server's address", ""]
        assert bed.front.upstream.order[-1].port == closed[1]
        assert await (await bed.greeted()).ask(LOGIN) == OK
        assert bed.front.upstream.health()[bed.front.upstream.order[-1]].failures == 1


@on_a_poller
async def test_addresses_that_fail_at_once_are_passed_over(authority: Authority) -> None:
    """However many there are, and all in one call."""
    bed = Bed(authority)
    bed.before = [NOWHERE, ("255.255.255.255", 144)]
    async with bed:
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        assert [bool(fault) for fault in _faults(bed)] == [True, True, False]


@on_a_poller
async def test_when_nobody_is_up_everybody_is_tried_again(authority: Authority, closed: tuple[str, int]) -> None:
    """A temporary failure each time; the first that greets is in again."""
    bed = Bed(authority)
    bed.before = [closed, NOWHERE]
    async with bed:
        bed.server.greeting = b"* BYE full\r\n"
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        assert all(_faults(bed))
        bed.server.greeting = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n"
        assert await client.ask(LOGIN) == OK
        assert [bool(fault) for fault in _faults(bed)] == [True, True, False]
        assert [health.failures for health in bed.front.upstream.health().values()] == [2, 2, 1]


@on_a_poller
async def test_a_black_hole_costs_the_connect_timeout_once(authority: Authority, black_hole: tuple[str, int]) -> None:
    """Not the whole deadline of the log-in; who comes later does not wait at all."""
    bed = Bed(authority)
    bed.before = [black_hole]
    async with bed:
        client, other = await bed.greeted(), await bed.greeted()
        client.send(LOGIN)
        await _dialled(bed, other)
        bed.clock.advance(4)
        bed.front.tick()
        assert _faults(bed) == ["", ""]
        bed.clock.advance(2)
        bed.front.tick()
        assert await client.reply(b"a") == OK
        assert _faults(bed) == ["nothing answers at the mail server's address", ""]
        assert await other.ask(LOGIN) == OK


@on_a_poller
async def test_a_black_hole_that_is_the_only_address_fails_at_the_connect_timeout(
    authority: Authority, black_hole: tuple[str, int]
) -> None:
    """Nobody waits longer for what is not there."""
    bed = Bed(authority)
    async with bed:
        (there,) = bed.front.upstream.order
        bed.front.upstream = type(bed.front.upstream)([_at(there, black_hole)])
        client, other = await bed.greeted(), await bed.greeted()
        client.send(LOGIN)
        await _dialled(bed, other)
        bed.clock.advance(6)
        bed.front.tick()
        assert await client.reply(b"a") == UNAVAILABLE


def _at(upstream: object, place: tuple[str, int]) -> object:
    return dataclasses.replace(upstream, address=place[0], port=place[1])  # type: ignore[type-var]


@on_a_poller
async def test_a_server_that_does_not_greet_is_passed_over(authority: Authority) -> None:
    """It takes the connection and hangs, as one does whose process is stopped."""
    bed = Bed(authority)
    async with Other(bed) as silent, bed:
        silent.greeting = b""
        client = await bed.greeted()
        client.send(LOGIN)
        await silent.until(lambda: silent.conversations)
        bed.clock.advance(6)
        bed.front.tick()
        assert await client.reply(b"a") == OK
        assert _faults(bed) == ["the mail server does not greet", ""]
        assert silent.conversations[0].received == b""


@on_a_poller
async def test_a_server_that_has_greeted_has_the_time_of_the_log_in(authority: Authority) -> None:
    """It is there: what it takes long over then is no reason to ask another."""

    async def thinks(conversation: Conversation, line: bytes) -> bool:
        other.script = obliging
        bed.clock.advance(6)
        bed.front.tick()
        return await obliging(conversation, line)

    bed = Bed(authority)
    async with Other(bed) as other, bed:
        other.greeting, other.script = b"* OK ready\r\n", thinks  # it is asked for what it offers
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        assert len(other.conversations[0].logins) == 1
        assert bed.server.conversations == []


@on_a_poller
async def test_the_last_address_may_greet_late(authority: Authority) -> None:
    """There is nobody else to ask: it has the time of the whole log-in."""
    async with Bed(authority) as bed:
        greeting, bed.server.greeting = bed.server.greeting, b""
        client = await bed.greeted()
        client.send(LOGIN)
        await bed.server.until(lambda: bed.server.conversations)
        bed.clock.advance(20)
        bed.front.tick()
        bed.conversation.say(greeting)
        assert await client.reply(b"a") == OK


@on_a_poller
async def test_the_deadline_of_the_log_in_is_one_for_all_addresses(authority: Authority) -> None:
    """Another address does not start it anew."""
    bed = Bed(authority)
    async with Other(bed) as silent, bed:
        silent.greeting = bed.server.greeting = b""
        client = await bed.greeted()
        client.send(LOGIN)
        await silent.until(lambda: silent.conversations)
        bed.clock.advance(29)
        bed.front.tick()
        await bed.server.until(lambda: bed.server.conversations)
        bed.clock.advance(2)
        bed.front.tick()
        assert await client.reply(b"a") == UNAVAILABLE


@pytest.mark.parametrize(
    "greeting",
    [b"* BYE busy\r\n", b"* PREAUTH hi\r\n", b"SSH-2.0-x\r\n"],
    ids=["bye", "preauth", "ssh"],
)
@on_a_poller
async def test_a_greeting_that_is_none_is_passed_over(authority: Authority, greeting: bytes) -> None:
    """And takes the address out: no phone can bring it about."""
    bed = Bed(authority)
    async with Other(bed) as broken, bed:
        broken.greeting = greeting
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        await broken.until(lambda: all(one.ended for one in broken.conversations))
        assert [one.received for one in broken.conversations] == [b""]
        assert [bool(fault) for fault in _faults(bed)] == [True, False]


@on_a_poller
async def test_a_greeting_that_the_phone_may_have_brought_about_takes_nobody_out(authority: Authority) -> None:
    """A PROXY header names the phone, and the server may not like it: a phone must not take servers from others."""
    bed = Bed(authority)
    bed.client_address = "proxy"
    bed.server.wants_proxy_header = True
    async with Other(bed) as picky, bed:
        picky.wants_proxy_header = True
        picky.greeting = b"* BYE too many connections from your address\r\n"
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        await picky.until(lambda: all(one.ended for one in picky.conversations))
        assert picky.conversations[0].received.startswith(b"PROXY TCP4 ")
        assert _faults(bed) == ["", ""]


@pytest.mark.parametrize("upstream", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
@on_a_poller
async def test_a_server_that_cannot_prove_its_name_is_passed_over(authority: Authority, upstream: TlsMode) -> None:
    """It gets no credential; the next one, which can, does."""
    bed = Bed(authority, upstream=upstream)
    elsewhere = server_context(authority.server_certificate("elsewhere", "elsewhere.example"))
    async with Other(bed, elsewhere if upstream is TlsMode.IMPLICIT else None) as wrong, bed:
        if upstream is TlsMode.STARTTLS:
            wrong.script, wrong.greeting = with_starttls(elsewhere), bed.server.greeting
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        await wrong.until(lambda: all(one.ended for one in wrong.conversations))
        assert all(one.logins == [] for one in wrong.conversations)


@on_a_poller
async def test_a_refused_password_is_shown_to_nobody_else(authority: Authority) -> None:
    """The first server's answer is the answer."""
    bed = Bed(authority)
    async with Other(bed) as first, bed:
        client = await bed.greeted()
        assert await client.ask(WRONG_LOGIN) == WRONG
        assert len(first.conversations[0].logins) == 1
        assert bed.server.conversations == []
        assert _faults(bed) == ["", ""]


@pytest.mark.parametrize("how", ["hangs up", "talks nonsense", "never answers"])
@on_a_poller
async def test_credentials_that_one_server_has_seen_are_shown_to_nobody_else(authority: Authority, how: str) -> None:
    """Nobody knows what it made of them; and an account of its own must not take a server out for others."""

    async def answers_badly(conversation: Conversation, line: bytes) -> bool:
        if b"AUTHENTICATE" not in line:
            return await obliging(conversation, line)
        if how == "hangs up":
            raise ConnectionAbortedError
        if how == "talks nonsense":
            conversation.say(line.split(b" ")[0] + b" HELLO?\r\n")
        return False

    bed = Bed(authority)
    async with Other(bed) as first, bed:
        first.script = answers_badly
        client = await bed.greeted()
        client.send(LOGIN)
        await first.until(lambda: first.conversations and b"AUTHENTICATE" in first.conversations[0].received)
        if how == "never answers":
            bed.clock.advance(31)
            bed.front.tick()
        assert await client.reply(b"a") == UNAVAILABLE
        assert bed.server.conversations == []
        assert _faults(bed) == ["", ""]


@on_a_poller
async def test_a_server_that_goes_away_before_it_was_sent_a_credential_is_passed_over(authority: Authority) -> None:
    """It had greeted well: others may still use it."""

    async def hangs_up(conversation: Conversation, line: bytes) -> bool:
        raise ConnectionAbortedError

    bed = Bed(authority)
    async with Other(bed) as first, bed:
        first.greeting = b"* OK hi\r\n"
        first.script = hangs_up
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        assert b"AUTHENTICATE" not in first.conversations[0].received
        assert _faults(bed) == ["", ""]


@on_a_poller
async def test_a_phone_that_goes_during_a_failover_leaves_nothing(
    authority: Authority, black_hole: tuple[str, int]
) -> None:
    """No connection, and no deadline (the bed looks)."""
    bed = Bed(authority)
    bed.before = [black_hole]
    async with bed:
        client, other = await bed.greeted(), await bed.greeted()
        client.send(LOGIN)
        await _dialled(bed, other)
        await client.close()
        while len(bed.front.dials):
            await other.ask(b"n NOOP\r\n")
