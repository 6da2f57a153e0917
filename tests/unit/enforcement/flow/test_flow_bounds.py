"""Who may connect and wait: limits by source, in all, and whom a newcomer replaces."""

import dataclasses
from ipaddress import ip_network

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.enforcement.flow.front import Limits
from gatekeeper.net.crowd import CrowdLimits
from gatekeeper.net.dial import TlsMode
from gatekeeper.protocols.proxy_protocol.sending import version_1
from testkit.flow_bed import Bed, Conversation, on_a_poller
from testkit.flow_talk import CLOSED, LOGIN, admitted
from testkit.tls import Authority


@on_a_poller
async def test_the_oldest_that_only_waits_gives_way(authority: Authority) -> None:
    """A connection over the limit is let in, in place of the one that has waited longest; an admitted one does not count."""
    async with Bed(authority, limits=Limits(max_waiting=2)) as bed:
        await admitted(bed)
        first, second = await bed.greeted(), await bed.greeted()
        third = await bed.greeted()
        assert await first.rest() == b""
        assert bed.audit.events[-1].detail == {"ended": "max_waiting", "attempts": 0}
        assert await second.ask(b"n NOOP\r\n") == await third.ask(b"n NOOP\r\n") == b"n OK Done.\r\n"
        assert bed.front.turned_away == {"max_waiting": 1}


@on_a_poller
async def test_a_log_in_under_way_does_not_give_way(authority: Authority) -> None:
    """When everybody who waits is logging in, it is the newcomer that is turned away, and recorded."""

    async def silent(_conversation: Conversation, _line: bytes) -> bool:
        return False

    async with Bed(authority, limits=Limits(max_waiting=2)) as bed:
        bed.server.script = silent
        for number in (1, 2):
            (await bed.greeted()).send(LOGIN)
            await bed.server.until(lambda number=number: len(bed.server.conversations) == number)  # type: ignore[misc]
        assert await (await bed.connect(encrypted=False)).rest() == b""
        assert bed.codes() == [CLOSED]
        assert bed.audit.events[-1].detail == {"ended": "max_waiting", "attempts": 0}
        assert len(bed.front.waiting) == 2


@pytest.mark.parametrize("tls", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
@on_a_poller
async def test_the_oldest_handshake_gives_way(authority: Authority, tls: TlsMode) -> None:
    """Half-open ones do not keep others from theirs."""
    async with Bed(authority, tls=tls, limits=Limits(max_handshakes=2)) as bed:
        half_open = []
        for number in (1, 2, 3):
            client = await bed.connect(encrypted=False)
            if tls is TlsMode.STARTTLS:
                await client.line()
                await client.ask(b"a STARTTLS\r\n")
            half_open.append(client)
            await bed.accepts(number)
        assert await half_open[0].rest() == b""
        assert bed.front.turned_away == {"max_handshakes": 1}
        await admitted(bed)
        assert len(bed.front.handshakes) <= 2


CROWDS = {
    "max_waiting_per_address": CrowdLimits(max_waiting_per_address=2),
    "max_per_address": CrowdLimits(max_per_address=2),
    "max_connections": CrowdLimits(max_connections=2),
}


@pytest.mark.parametrize("limit", CROWDS)
@on_a_poller
async def test_a_connection_over_a_limit_is_turned_away(authority: Authority, limit: str) -> None:
    """It hears nothing, is recorded once, and there is room again when another has ended."""
    async with Bed(authority, limits=Limits(crowd=CROWDS[limit])) as bed:
        first, second = await bed.greeted(), await bed.greeted()
        assert await (await bed.connect(encrypted=False)).rest() == b""
        assert bed.audit.events[-1].detail == {"ended": limit, "attempts": 0}
        assert bed.front.turned_away == {limit: 1}
        assert await second.ask(b"n NOOP\r\n") == b"n OK Done.\r\n"
        await first.close()
        await bed.audit.until(lambda: len(bed.audit.terminal()) == 2)
        await bed.greeted()


@on_a_poller
async def test_sessions_count_for_their_source_until_they_end(authority: Authority) -> None:
    """Not as waiting ones."""
    async with Bed(authority, limits=Limits(crowd=CrowdLimits(max_per_address=2, max_waiting_per_address=1))) as bed:
        session = await admitted(bed)
        await admitted(bed)
        assert await (await bed.connect(encrypted=False)).rest() == b""
        await session.close()
        await bed.audit.until(lambda: EventCode.SESSION_ENDED in bed.codes())
        await bed.greeted()


@on_a_poller
async def test_unread_replies_are_bounded_as_configured(authority: Authority) -> None:
    """The transport of each connection has the limit."""
    async with Bed(authority, tls=TlsMode.OFF, limits=Limits(max_unsent_octets=20_000)) as bed:
        client = await bed.greeted()
        (flow,) = bed.front.waiting.owners()
        assert flow._transport.max_unsent == 20_000  # type: ignore[attr-defined]
        client.stop_reading()
        transport = flow._transport  # type: ignore[attr-defined]
        while not transport.is_closing():
            transport.write(b"x" * 10_000)
        assert transport.get_write_buffer_size() == 0
        await bed.all_ended()


@on_a_poller
async def test_a_reload_changes_the_limits_of_a_listener(authority: Authority) -> None:
    """For whoever comes next."""
    async with Bed(authority) as bed:
        first = await bed.greeted()
        bed.front.take_over(dataclasses.replace(bed.front, limits=Limits(max_waiting=1)))
        await bed.greeted()
        assert await first.rest() == b""


@on_a_poller
async def test_phones_behind_a_load_balancer_are_counted_by_their_own_addresses(authority: Authority) -> None:
    """Not by the load balancer's: the one over the limit is the second from the same phone."""
    crowd = CrowdLimits(max_waiting_per_address=1)
    bed = Bed(authority, tls=TlsMode.STARTTLS, limits=Limits(crowd=crowd))
    bed.load_balancers = (ip_network("127.0.0.0/8"),)
    async with bed:
        clients = []
        for phone in ("192.0.2.7", "192.0.2.8", "192.0.2.7"):
            client = await bed.connect()
            client.send(version_1((phone, 4711), ("198.51.100.1", 993)))
            clients.append(client)
            if len(clients) < 3:
                assert (await client.line()).startswith(b"* OK ")
        assert await clients[2].rest() == b""
        assert bed.audit.events[-1].detail["ended"] == "max_waiting_per_address"
        assert await clients[0].ask(b"n NOOP\r\n") == b"n OK Done.\r\n"
