"""Connections that are made before a log-in needs them: who finds one, who brings one about, and when it goes."""

import dataclasses

import pytest

from gatekeeper.net.dial import TlsMode
from gatekeeper.net.preconnect import KEPT_S, MAX_GREETING_OCTETS
from testkit.flow_ahead import admitted_and_then, ahead_bed, greets, logins, made_ahead
from testkit.flow_bed import GREETING, Bed, MailServer, on_a_poller
from testkit.flow_talk import LOGIN, LOGIN_BOB, OK, PIPELINED, WRONG, WRONG_LOGIN, admitted
from testkit.ports import LOOPBACK
from testkit.tls import Authority


@pytest.mark.parametrize("upstream", TlsMode)
@on_a_poller
async def test_a_log_in_goes_on_with_the_connection_that_is_there(authority: Authority, upstream: TlsMode) -> None:
    """However the mail server is reached; what is pipelined behind the log-in arrives there, and another is made."""
    async with ahead_bed(authority, upstream) as bed:
        made = await made_ahead(bed)
        assert logins(bed) == [1, 1, 0]
        client = await bed.greeted()
        assert await client.ask(LOGIN + PIPELINED) == OK
        await bed.server.until(lambda: made.after_login == PIPELINED)
        await bed.comes_true(lambda: bed.front.preconnect.is_greeted)
        assert logins(bed) == [1, 1, 1, 0]
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (1, 0)


@on_a_poller
async def test_who_comes_alone_costs_no_other_connection(authority: Authority) -> None:
    """Nor does the first of several."""
    async with ahead_bed(authority) as bed:
        for _ in range(4):
            await admitted(bed)
            bed.clock.advance(KEPT_S + 1)
            bed.front.tick()
        assert logins(bed) == [1, 1, 1, 1]
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (0, 0)


@on_a_poller
async def test_one_that_nobody_wants_is_closed(authority: Authority) -> None:
    """Long before the mail server would, with nothing said on it."""
    async with ahead_bed(authority) as bed:
        made = await made_ahead(bed)
        bed.clock.advance(KEPT_S - 1)
        bed.front.tick()
        assert bed.front.preconnect.is_greeted
        bed.clock.advance(1)
        bed.front.tick()
        await bed.server.until(lambda: made.ended)
        assert made.received == b""
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (0, 1)


@pytest.mark.parametrize(("login", "answer"), [(WRONG_LOGIN, WRONG), (LOGIN_BOB, b"a NO [UNAVAILABLE] ")])
@on_a_poller
async def test_a_phone_that_was_not_admitted_brings_none_about(
    authority: Authority, login: bytes, answer: bytes
) -> None:
    """It uses up what is there, and that is all: neither a guess nor a refused phone that retries costs more."""
    async with ahead_bed(authority) as bed:
        await made_ahead(bed)
        client = await bed.greeted()
        for count in (3, 4, 5):
            assert (await client.ask(login)).startswith(answer)
            assert len(bed.server.conversations) == count
        assert not bed.front.preconnect.is_greeted


@on_a_poller
async def test_one_that_was_closed_meanwhile_is_not_used(authority: Authority) -> None:
    """And the mail server, which may not like to be connected to, is left in peace."""
    async with ahead_bed(authority) as bed:
        made = await made_ahead(bed)
        made.writer.close()
        await bed.server.until(lambda: made.ended)
        for _ in range(3):
            await admitted(bed)
        assert logins(bed) == [1, 1, 0, 1, 1, 1]
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (0, 1)


@on_a_poller
async def test_one_that_is_just_being_closed_is_not_used(authority: Authority) -> None:
    """Its end is known, and not told yet: who went on with it would wait in vain."""
    async with ahead_bed(authority) as bed:
        made = await made_ahead(bed)
        made.writer.close()
        ahead = bed.front.preconnect._next
        assert ahead is not None
        assert ahead.transport is not None
        await bed.comes_true(ahead.transport.is_closing)
        assert bed.front.preconnect.take(bed.front.upstream.order[0], bed.clock.monotonic()) is None


@on_a_poller
async def test_one_to_another_address_is_not_used(authority: Authority) -> None:
    """The one it leads to was taken out meanwhile."""
    other = MailServer()
    bed = ahead_bed(authority)
    bed.before = [(LOOPBACK, await other.start())]
    async with bed:
        await admitted(bed)
        await admitted(bed)
        await bed.comes_true(lambda: bed.front.preconnect.is_greeted)
        bed.front.upstream.failed(bed.front.upstream.order[0], "does not answer")
        await admitted(bed)
        assert logins(bed) == [1]
        assert [len(conversation.logins) for conversation in other.conversations] == [1, 1, 0]
    await other.stop()


@on_a_poller
async def test_a_log_in_that_a_reload_overtook_makes_none_to_where_nobody_goes(authority: Authority) -> None:
    """What it makes is made under the new settings."""
    async with ahead_bed(authority) as bed:
        await admitted(bed)
        (there,) = bed.front.upstream.order
        pool = type(bed.front.upstream)([dataclasses.replace(there, preconnect=False)])
        await admitted_and_then(bed, lambda: bed.front.take_over(dataclasses.replace(bed.front, upstream=pool)))
        await admitted(bed)
        await admitted(bed)
        assert logins(bed) == [1, 1, 1, 1]


@on_a_poller
async def test_a_greeting_without_an_end_is_not_kept(authority: Authority) -> None:
    """Nobody greets with so much."""
    async with ahead_bed(authority) as bed:
        await admitted(bed)
        await admitted_and_then(bed, greets(bed, b"* OK " + b"x" * MAX_GREETING_OCTETS))
        await bed.server.until(lambda: len(bed.server.conversations) == 3 and bed.server.conversations[2].ended)
        bed.server.greeting = GREETING
        await admitted(bed)
        assert bed.front.preconnect.used == 0


@pytest.mark.parametrize("how", ["proxy", "proxy-v2"])
@on_a_poller
async def test_a_header_has_to_name_the_phone_first(authority: Authority, how: str) -> None:
    """No connection is made for a phone that is not known yet."""
    bed = ahead_bed(authority)
    bed.client_address = bed.server.reads_first = how
    async with bed:
        for _ in range(4):
            await admitted(bed)
        assert logins(bed) == [1, 1, 1, 1]


@on_a_poller
async def test_it_can_be_switched_off(authority: Authority) -> None:
    """For mail servers that count connections."""
    async with Bed(authority) as bed:
        for _ in range(4):
            await admitted(bed)
        assert logins(bed) == [1, 1, 1, 1]
        assert bed.front.preconnect.used == 0


@on_a_poller
async def test_a_reload_lets_go_of_it(authority: Authority) -> None:
    """It was made under the old settings."""
    async with ahead_bed(authority) as bed:
        made = await made_ahead(bed)
        pool = type(bed.front.upstream)(dataclasses.replace(one) for one in bed.front.upstream.order)
        bed.front.take_over(dataclasses.replace(bed.front, upstream=pool))
        await bed.server.until(lambda: made.ended)
        await admitted(bed)
        assert made.received == b""


@on_a_poller
async def test_a_gate_that_shuts_down_makes_none(authority: Authority) -> None:
    """And closes what is there."""
    async with ahead_bed(authority) as bed:
        made = await made_ahead(bed)
        bed.front.say_goodbye()
        await bed.server.until(lambda: made.ended)
        for _ in range(3):
            await admitted(bed)
        assert logins(bed) == [1, 1, 0, 1, 1, 1]
        assert bed.front.preconnect.used == 0
