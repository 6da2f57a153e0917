"""Connections that are made while phones are on their way to log in: who has one, and when it goes."""

import dataclasses
from ipaddress import ip_network

import pytest

from gatekeeper.net.dial import TlsMode
from gatekeeper.net.preconnect import EARNED_FOR_S, KEPT_S, MAX_GREETING_OCTETS, PAUSE_S
from gatekeeper.protocols.proxy_protocol.sending import LOCAL, version_1
from testkit.flow_ahead import expected, logins
from testkit.flow_bed import GREETING, Bed, Phone, on_a_poller
from testkit.flow_other import Other
from testkit.flow_talk import LOGIN, LOGIN_BOB, OK, PIPELINED, WRONG, WRONG_LOGIN, admitted, every_listener
from testkit.tls import Authority


@every_listener
@pytest.mark.parametrize("upstream", TlsMode)
@on_a_poller
async def test_a_log_in_goes_on_with_the_connection_that_is_there(
    authority: Authority, upstream: TlsMode, tls: TlsMode
) -> None:
    """However both sides are reached; what is pipelined behind the log-in arrives there."""
    async with Bed(authority, upstream=upstream, tls=tls) as bed:
        client, made = await expected(bed)
        assert logins(bed) == [1, 0]
        assert await client.ask(LOGIN + PIPELINED) == OK
        await bed.server.until(lambda: made.after_login == PIPELINED)
        assert logins(bed) == [1, 1]
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (1, 0)


@on_a_poller
async def test_a_listener_without_tls_has_them_too(authority: Authority) -> None:
    """Behind a proxy that ends TLS."""
    async with Bed(authority, tls=TlsMode.OFF) as bed:
        client, _ = await expected(bed)
        assert await client.ask(LOGIN) == OK
        assert logins(bed) == [1, 1]


@on_a_poller
async def test_it_is_its_phones_and_no_older(authority: Authority) -> None:
    """Who came before it was made dials, and so does who comes after: it stays with the one that it was made for."""
    async with Bed(authority) as bed:
        early = await bed.greeted()
        client, made = await expected(bed)
        late = await bed.greeted()
        assert await early.ask(LOGIN) == OK
        assert await late.ask(LOGIN) == OK
        assert logins(bed) == [1, 0, 1, 1]
        assert await client.ask(LOGIN) == OK
        assert len(made.logins) == 1


@on_a_poller
async def test_who_comes_alone_has_none(authority: Authority) -> None:
    """And costs the mail server one connection, his own."""
    async with Bed(authority) as bed:
        for _ in range(4):
            await admitted(bed)
            bed.clock.advance(EARNED_FOR_S + 1)
            bed.front.tick()
        assert logins(bed) == [1, 1, 1, 1]
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (0, 0)


@on_a_poller
async def test_a_phone_that_leaves_takes_it_along(authority: Authority) -> None:
    """Nothing was said on it."""
    async with Bed(authority) as bed:
        client, made = await expected(bed)
        await client.close()
        await bed.server.until(lambda: made.ended)
        assert made.received == b""
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (0, 1)


@on_a_poller
async def test_a_phone_that_takes_its_time_does_without(authority: Authority) -> None:
    """It is closed long before the mail server would, with nothing said on it; the log-in dials."""
    async with Bed(authority) as bed:
        client, made = await expected(bed)
        bed.clock.advance(KEPT_S - 1)
        bed.front.tick()
        assert len(bed.front.preconnect) == 1
        bed.clock.advance(1)
        bed.front.tick()
        await bed.server.until(lambda: made.ended)
        assert made.received == b""
        assert await client.ask(LOGIN) == OK
        assert logins(bed) == [1, 0, 1]
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (0, 1)


@on_a_poller
async def test_a_flood_has_no_more_than_were_admitted(authority: Authority) -> None:
    """Whoever connects takes a turn, and only who is admitted earns one for somebody else."""
    async with Bed(authority) as bed:
        early = [await bed.greeted() for _ in range(3)]
        for client in early:
            assert await client.ask(LOGIN) == OK
        flood = [await bed.greeted() for _ in range(10)]
        await bed.server.until(lambda: len(bed.server.conversations) == 6)
        assert len(bed.front.preconnect) == 3
        for client in flood:
            await client.close()
        await bed.nobody_waits()
        assert len(bed.server.conversations) == 6
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (0, 3)


@pytest.mark.parametrize(("login", "answer"), [(WRONG_LOGIN, WRONG), (LOGIN_BOB, b"a NO [UNAVAILABLE] ")])
@on_a_poller
async def test_a_phone_that_was_not_admitted_earns_none(authority: Authority, login: bytes, answer: bytes) -> None:
    """It uses up what is there, and that is all: neither a guess nor a refused phone that retries costs more."""
    async with Bed(authority) as bed:
        client, _ = await expected(bed)
        for count in (2, 3, 4):
            assert (await client.ask(login)).startswith(answer)
            assert len(bed.server.conversations) == count
        other = await bed.greeted()
        assert (await other.ask(login)).startswith(answer)
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (1, 0)


@on_a_poller
async def test_one_that_was_closed_meanwhile_is_not_used(authority: Authority) -> None:
    """And the mail server, which may not like to be connected to, is left in peace for a minute."""
    async with Bed(authority) as bed:
        client, made = await expected(bed)
        made.writer.close()
        await bed.comes_true(lambda: bed.front.preconnect.unused == 1)
        assert await client.ask(LOGIN) == OK
        for _ in range(3):
            await admitted(bed)
        assert logins(bed) == [1, 0, 1, 1, 1, 1]
        assert [health.failures for health in bed.front.upstream.health().values()] == [0]
        bed.clock.advance(PAUSE_S)
        client, made = await expected(bed)
        assert await client.ask(LOGIN) == OK
        assert len(made.logins) == 1
        assert (bed.front.preconnect.used, bed.front.preconnect.unused) == (1, 1)


@on_a_poller
async def test_one_to_another_address_is_not_used(authority: Authority) -> None:
    """The one it leads to was taken out meanwhile."""
    bed = Bed(authority)
    async with Other(bed) as other, bed:
        client, made = await expected(bed, server=other)
        bed.front.upstream.failed(bed.front.upstream.order[0], "does not answer")
        assert await client.ask(LOGIN) == OK
        await other.until(lambda: made.ended)
        assert made.received == b""
        assert logins(bed) == [1]


@on_a_poller
async def test_a_reload_lets_go_of_it(authority: Authority) -> None:
    """It was made under the old settings; under the new ones there are others."""
    async with Bed(authority) as bed:
        client, made = await expected(bed)
        (there,) = bed.front.upstream.order
        pool = type(bed.front.upstream)([dataclasses.replace(there)])
        bed.front.take_over(dataclasses.replace(bed.front, upstream=pool))
        assert await client.ask(LOGIN) == OK
        await bed.server.until(lambda: made.ended)
        assert made.received == b""
        client, made = await expected(bed)
        assert await client.ask(LOGIN) == OK
        assert len(made.logins) == 1


@on_a_poller
async def test_a_greeting_without_an_end_is_not_kept(authority: Authority) -> None:
    """Nobody greets with so much."""
    async with Bed(authority) as bed:
        await admitted(bed)
        bed.server.greeting = b"* OK " + b"x" * MAX_GREETING_OCTETS
        client = await bed.greeted()
        await bed.comes_true(lambda: bed.front.preconnect.unused == 1)
        bed.server.greeting = GREETING
        assert await client.ask(LOGIN) == OK
        assert logins(bed) == [1, 0, 1]


@pytest.mark.parametrize("how", ["proxy", "proxy-v2"])
@on_a_poller
async def test_a_header_has_to_name_the_phone_first(authority: Authority, how: str) -> None:
    """Before the mail server greets."""
    bed = Bed(authority)
    bed.client_address = bed.server.reads_first = how
    async with bed:
        for _ in range(4):
            await admitted(bed)
        assert logins(bed) == [1, 1, 1, 1]
        assert bed.front.preconnect.used == 0


@on_a_poller
async def test_it_can_be_switched_off(authority: Authority) -> None:
    """For mail servers that count connections."""
    bed = Bed(authority)
    bed.preconnect = False
    async with bed:
        for _ in range(4):
            await admitted(bed)
        assert logins(bed) == [1, 1, 1, 1]
        assert bed.front.preconnect.used == 0


@on_a_poller
async def test_a_load_balancers_phones_have_one_and_its_health_checks_none(authority: Authority) -> None:
    """Who it speaks for is known by then."""
    bed = Bed(authority, tls=TlsMode.OFF)
    bed.load_balancers = (ip_network("127.0.0.0/8"),)
    async with bed:

        async def introduced(header: bytes) -> Phone:
            client = await bed.connect()
            client.send(header)
            assert (await client.line()).startswith(b"* OK ")
            return client

        phone = version_1(("192.0.2.7", 4711), ("192.0.2.1", 143))
        assert await (await introduced(phone)).ask(LOGIN) == OK
        check = await introduced(LOCAL)
        assert len(bed.front.preconnect) == 0
        await check.close()
        client = await introduced(phone)
        assert len(bed.front.preconnect) == 1
        assert await client.ask(LOGIN) == OK
        assert logins(bed) == [1, 1]
        await bed.nobody_waits()
        bed.front.health_checks.record()


@on_a_poller
async def test_a_gate_that_shuts_down_closes_it(authority: Authority) -> None:
    """With the phone that it was made for."""
    async with Bed(authority) as bed:
        _, made = await expected(bed)
        bed.front.say_goodbye()
        await bed.server.until(lambda: made.ended)
        assert made.received == b""
