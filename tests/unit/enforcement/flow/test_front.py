"""What the connections of one listener share: deadlines that a reload changes, and an end for who does not read."""

import dataclasses

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.enforcement.flow.dialogue import Dialogue, Farewell, Peer
from gatekeeper.enforcement.flow.flow import Flow
from gatekeeper.enforcement.flow.front import Limits
from gatekeeper.enforcement.imap.dialogue import ImapDialogue, imap_dialogue
from gatekeeper.enforcement.imap.replies import RefusalCode
from gatekeeper.net.dial import TlsMode
from testkit.flow_bed import Bed, on_a_poller
from testkit.flow_talk import GONE
from testkit.gate_fakes import ScriptedPeer
from testkit.tls import Authority


class Flood(ImapDialogue):
    """Greets with more than any socket takes."""

    def greet(self) -> None:
        flow = self._peer
        assert isinstance(flow, Flow)
        while not flow._transport.get_write_buffer_size():
            flow.send(b"* " + b"x" * 65536 + b"\r\n")


class Broken(ImapDialogue):
    """Has a bug."""

    def receive(self, data: bytes) -> None:
        raise ZeroDivisionError("nobody's business")


class BrokenUpstream(ImapDialogue):
    """Has a bug where the mail server answers."""

    def rejected(self, rejected: object) -> None:
        raise ZeroDivisionError("nobody's business")

    def unavailable(self) -> None:
        raise ZeroDivisionError("nobody's business")


class BrokenAdmission(ImapDialogue):
    """Has a bug in its last reply."""

    def admitted(self, logged_in: object) -> bytes:
        raise ZeroDivisionError("nobody's business")


def flood(peer: Peer) -> Dialogue:
    return Flood(peer, RefusalCode.UNAVAILABLE)


@pytest.mark.parametrize("why", [Farewell.TIMEOUT, Farewell.SHUTTING_DOWN])
@on_a_poller
async def test_who_does_not_read_cannot_stay(authority: Authority, why: Farewell) -> None:
    """Last words that cannot be delivered do not keep a connection."""
    async with Bed(authority, tls=TlsMode.OFF, new_dialogue=flood) as bed:
        client = await bed.connect()
        client.stop_reading()
        await bed.accepts(1)
        (flow,) = bed.front.waiting.owners()
        assert isinstance(flow, Flow)
        assert flow._transport.get_write_buffer_size() > 0
        if why is Farewell.TIMEOUT:
            bed.clock.advance(61)
            bed.front.tick()
        else:
            bed.front.say_goodbye()
        assert flow._transport.get_write_buffer_size() == 0
        assert bed.audit.events[-1].detail["ended"] == why
        assert len(bed._poller._watched) == 1


@on_a_poller
async def test_a_bug_ends_the_connection_that_met_it(authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    """It is logged with the connection's id, and others go on."""
    peers: list[Peer] = []

    def broken_first(peer: Peer) -> Dialogue:
        peers.append(peer)
        return (Broken if len(peers) == 1 else ImapDialogue)(peer, RefusalCode.UNAVAILABLE)

    async with Bed(authority, new_dialogue=broken_first) as bed:
        first, second = await bed.greeted(), await bed.greeted()
        first.send(b"a NOOP\r\n")
        assert b"business" not in await first.rest()
        assert await second.ask(b"a NOOP\r\n") == b"a OK Done.\r\n"
        conn = bed.audit.events[0].connection
        assert conn is not None
    logged = capsys.readouterr().out
    assert "connection.fault" in logged
    assert conn.conn in logged


@on_a_poller
async def test_a_bug_met_on_admission_lets_nobody_in(authority: Authority) -> None:
    """The admission is void, and the connection has its one terminal record."""
    async with Bed(authority, new_dialogue=lambda peer: BrokenAdmission(peer, RefusalCode.UNAVAILABLE)) as bed:
        client = await bed.greeted()
        client.send(b"a LOGIN alice@example.com wonderland\r\nb NOOP\r\n")
        assert await client.rest() == GONE
        await bed.server.until(lambda: bed.conversation.ended)
        assert bed.conversation.after_login == b""
    assert bed.codes() == [EventCode.SESSION_ALLOWED, EventCode.CONNECTION_CLOSED]


@on_a_poller
async def test_a_bug_met_at_a_deadline_leaves_the_others_deadlines_alone(authority: Authority) -> None:
    """The sweep goes on."""
    async with Bed(authority, new_dialogue=lambda peer: BrokenUpstream(peer, RefusalCode.UNAVAILABLE)) as bed:
        bed.server.greeting = b""
        clients = [await bed.greeted(), await bed.greeted()]
        for client in clients:
            client.send(b"a LOGIN alice@example.com wonderland\r\n")
        await bed.server.until(lambda: len(bed.server.conversations) == len(clients))
        bed.clock.advance(31)
        bed.front.tick()
        assert [await client.rest() for client in clients] == [GONE] * 2


@on_a_poller
async def test_a_bug_met_on_the_mail_servers_side_ends_both(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client is told fixed words."""
    async with Bed(authority, new_dialogue=lambda peer: BrokenUpstream(peer, RefusalCode.UNAVAILABLE)) as bed:
        client = await bed.greeted()
        client.send(b"a LOGIN alice guess\r\n")
        assert await client.rest() == GONE
        await bed.server.until(lambda: bed.conversation.ended)
    assert "connection.fault" in capsys.readouterr().out
    assert bed.audit.events[-1].detail["ended"] == Farewell.FAULT


@on_a_poller
async def test_a_reload_takes_over_settings_and_keeps_connections(authority: Authority) -> None:
    """New deadlines, texts and upstream hold for what comes; whoever waits goes on."""
    async with Bed(authority) as bed:
        client = await bed.greeted()
        other = dataclasses.replace(
            bed.front,
            new_dialogue=imap_dialogue(RefusalCode.ALERT),
            limits=Limits(handshake_timeout_s=1, login_timeout_s=2, upstream_timeout_s=3, max_attempts=1),
        )
        bed.front.take_over(other)
        assert (bed.front.handshakes.after_s, bed.front.waiting.after_s, bed.front.logins.after_s) == (1, 2, 3)
        assert isinstance(bed.front.new_dialogue(ScriptedPeer()), ImapDialogue)
        refused = await bed.greeted()
        assert (await refused.ask(b"a LOGIN bob@example.com wonderland\r\n")).startswith(b"a NO [ALERT] ")
        assert await client.ask(b"a NOOP\r\n") == b"a OK Done.\r\n"
        bed.clock.advance(61)
        bed.front.tick()
        assert await client.rest() == b"* BYE Too slow.\r\n"


@on_a_poller
async def test_what_the_mail_server_offers_is_remembered(authority: Authority) -> None:
    """The next client is offered the bearer mechanism that the mail server has."""
    async with Bed(authority) as bed:
        bed.server.greeting = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2] ready\r\n"
        client = await bed.greeted()
        await client.ask(b"a LOGIN alice@example.com guess\r\n")
        assert bed.front.upstream_offers == {"IMAP4REV1", "SASL-IR", "AUTH=PLAIN", "AUTH=XOAUTH2"}
        assert b" AUTH=XOAUTH2" in await client.ask(b"b CAPABILITY\r\n")
