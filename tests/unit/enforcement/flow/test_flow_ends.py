"""The client that goes, STARTTLS, deadlines and limits: how a connection ends that never became a session."""

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.net.dial import TlsMode
from testkit.flow_bed import Bed, Conversation, on_a_poller
from testkit.flow_talk import CLOSED, ENDED, LOGIN, OK, UNAVAILABLE, admitted, every_listener
from testkit.tls import Authority

# The client goes.


@on_a_poller
async def test_a_client_that_goes_while_the_record_is_written_is_not_a_session(authority: Authority) -> None:
    """The admission is void, the mail server's connection closed, and one terminal record written."""
    async with Bed(authority) as bed:
        bed.audit.holds = True
        client = await bed.greeted()
        client.send(LOGIN)
        await bed.audit.until(lambda: bed.audit.held)
        await client.close()
        await bed.all_ended()
        bed.audit.release()
        assert len(bed.gate.sessions) == 0
        await bed.server.until(lambda: bed.conversation.ended)
    assert bed.codes() == [EventCode.SESSION_ALLOWED, CLOSED]


@on_a_poller
async def test_a_client_that_vanishes_in_the_same_turn_as_the_verdict_leaves_nothing(authority: Authority) -> None:
    """Its reset is noticed, its end not yet told, when the audit log answers."""
    async with Bed(authority) as bed:
        bed.audit.holds = True
        client = await bed.greeted()
        client.send(LOGIN)
        await bed.audit.until(lambda: bed.audit.held)
        (flow,) = bed.front.waiting.owners()
        flow._transport.abort()  # type: ignore[attr-defined]  # what a reset does, with `connection_lost` still to come
        bed.audit.release()
        assert len(bed.gate.sessions) == 0
        await bed.server.until(lambda: bed.conversation.ended)
    assert bed.codes() == ENDED


@pytest.mark.parametrize("how", ["closes", "resets", "resets while paused"])
@on_a_poller
async def test_a_client_that_goes_during_the_log_in_takes_it_along(authority: Authority, how: str) -> None:
    """The mail server's connection ends, and nothing is decided."""

    async def silent(conversation: Conversation, line: bytes) -> bool:
        return False

    async with Bed(authority) as bed:
        bed.server.script = silent
        client = await bed.greeted()
        client.send(LOGIN)
        await bed.server.until(lambda: bed.server.conversations and bed.conversation.received)
        if how == "resets while paused":
            client.send(b"b NOOP\r\n")
            other = await bed.greeted()
            assert await other.ask(b"n NOOP\r\n") == b"n OK Done.\r\n"
            await other.close()
        if how == "closes":
            await client.close()
        else:
            client.reset()
        await bed.all_ended()
        await bed.server.until(lambda: bed.conversation.ended)
    assert set(bed.codes()) == {CLOSED}


@on_a_poller
async def test_a_client_that_never_says_anything_is_recorded(authority: Authority) -> None:
    """Connections without TLS, without a log-in, and with neither."""
    async with Bed(authority) as bed:
        await (await bed.connect(encrypted=False)).close()
        await (await bed.greeted()).close()
    assert bed.codes() == [CLOSED, CLOSED]


@on_a_poller
async def test_what_is_not_tls_is_closed(authority: Authority) -> None:
    """I35: a browser's request on a TLS port."""
    async with Bed(authority) as bed:
        client = await bed.connect(encrypted=False)
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        await client.rest()
    assert bed.codes() == [CLOSED]


# STARTTLS.


@on_a_poller
async def test_octets_behind_starttls_close_the_connection(authority: Authority) -> None:
    """T01: in the same segment as the command, or before the handshake."""
    injected = b"a STARTTLS\r\nb NOOP\r\n"
    async with Bed(authority, tls=TlsMode.STARTTLS) as bed:
        for at in (len(injected), 12, 13, 5):
            client = await bed.connect()
            assert b"STARTTLS" in await client.line()
            client.send(injected[:at])
            client.send(injected[at:])
            assert b"b OK" not in await client.rest()
    assert set(bed.codes()) == {CLOSED}
    assert bed.audit.events[0].detail["ended"] == "octets_behind_starttls"


@on_a_poller
async def test_starttls_is_offered_once(authority: Authority) -> None:
    """T08: what was asked in the clear is forgotten, and a second STARTTLS is no command."""
    async with Bed(authority, tls=TlsMode.STARTTLS) as bed:
        client = await bed.connect()
        greeting = await client.line()
        assert b"LOGINDISABLED" in greeting
        assert b"AUTH=" not in greeting
        assert (await client.ask(b"a CAPABILITY\r\n")).startswith(b"* CAPABILITY ")
        assert await client.ask(b"a STARTTLS\r\n") == b"a OK Begin TLS now.\r\n"
        await client.start_tls(authority.client_context())
        assert (await client.ask(b"a STARTTLS\r\n")).startswith(b"a BAD ")
        assert await client.ask(LOGIN) == OK


@on_a_poller
async def test_credentials_in_the_clear_are_recorded_and_not_used(authority: Authority) -> None:
    """T09: the password was exposed, and says so in the audit log; nobody asked the mail server."""
    async with Bed(authority, tls=TlsMode.STARTTLS) as bed:
        client = await bed.connect()
        await client.line()
        assert await client.ask(LOGIN) == b"a NO [PRIVACYREQUIRED] Start TLS before logging in.\r\n"
        await client.close()
        await bed.all_ended()
        assert bed.server.conversations == []
    assert bed.codes() == [EventCode.PASSWORD_EXPOSED, CLOSED]
    assert bed.audit.events[0].mechanism == "LOGIN"
    assert "wonderland" not in repr(bed.audit.events)


# Deadlines and limits.


@pytest.mark.parametrize("tls", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
@pytest.mark.parametrize("started", [b"", b"\x16\x03\x01"], ids=["silent", "begun"])
@on_a_poller
async def test_a_handshake_has_a_deadline(authority: Authority, tls: TlsMode, started: bytes) -> None:
    """T14: who does not finish it is cut off without a word, and its socket is closed."""
    async with Bed(authority, tls=tls) as bed:
        client = await bed.connect(encrypted=False)
        if tls is TlsMode.STARTTLS:
            await client.line()
            assert await client.ask(b"a STARTTLS\r\n") == b"a OK Begin TLS now.\r\n"
        client.send(started)
        other = await bed.connect(encrypted=False)  # accepted after it
        if tls is TlsMode.STARTTLS:
            await other.line()
        await other.close()
        await bed.audit.until(lambda: bed.audit.events)
        bed.clock.advance(9.9)
        bed.front.tick()
        assert len(bed.front.waiting) == 1
        bed.clock.advance(0.2)
        bed.front.tick()
        assert await client.rest() == b""
        assert bed.audit.events[-1].detail["ended"] == "timeout"


@on_a_poller
async def test_the_deadline_for_logging_in_ends_a_handshake_as_well(authority: Authority) -> None:
    """STARTTLS late in the minute does not buy more of it."""
    async with Bed(authority, tls=TlsMode.STARTTLS) as bed:
        client = await bed.connect()
        await client.line()
        bed.clock.advance(55)
        assert await client.ask(b"a STARTTLS\r\n") == b"a OK Begin TLS now.\r\n"
        bed.clock.advance(6)
        bed.front.tick()
        assert await client.rest() == b""


@every_listener
@on_a_poller
async def test_logging_in_has_a_deadline_that_octets_do_not_move(authority: Authority, tls: TlsMode) -> None:
    """I32: from the accepted connection on."""
    async with Bed(authority, tls=tls) as bed:
        client = await bed.greeted()
        assert await client.ask(b"a NOOP\r\n") == b"a OK Done.\r\n"  # the gate's side of the handshake is done, too
        for _ in range(5):
            bed.clock.advance(10)
            bed.front.tick()
            assert await client.ask(b"a NOOP\r\n") == b"a OK Done.\r\n"
        client.send(b"a LOGIN ali")
        bed.clock.advance(11)
        bed.front.tick()
        assert await client.rest() == b"* BYE Too slow.\r\n"
    assert bed.audit.events[-1].detail["ended"] == "timeout"


@pytest.mark.parametrize("greeting", [b"", b"* OK Wait"], ids=["silent", "half a line"])
@pytest.mark.parametrize("upstream", [TlsMode.OFF, TlsMode.STARTTLS])
@on_a_poller
async def test_the_mail_server_has_a_deadline(authority: Authority, upstream: TlsMode, greeting: bytes) -> None:
    """U12: the client is told of a temporary failure, and the connection upstream is closed."""
    async with Bed(authority, upstream=upstream) as bed:
        bed.server.greeting = greeting
        client = await bed.greeted()
        client.send(LOGIN)
        await bed.server.until(lambda: bed.server.conversations)
        bed.clock.advance(29.9)
        bed.front.tick()
        assert bed.codes() == []
        bed.clock.advance(0.2)
        bed.front.tick()
        assert await client.reply(b"a") == UNAVAILABLE
        await bed.server.until(lambda: bed.conversation.ended)


@on_a_poller
async def test_the_deadline_for_logging_in_ends_a_log_in_that_is_under_way(authority: Authority) -> None:
    """Both sides are closed, and a verdict that comes later changes nothing."""
    async with Bed(authority) as bed:
        bed.audit.holds = True
        client = await bed.greeted()
        client.send(LOGIN)
        await bed.audit.until(lambda: bed.audit.held)
        bed.clock.advance(61)
        bed.front.tick()
        assert await client.rest() == b"* BYE Too slow.\r\n"
        bed.audit.release()
        await bed.server.until(lambda: bed.conversation.ended)
    assert bed.codes() == [EventCode.SESSION_ALLOWED, CLOSED]


@every_listener
@on_a_poller
async def test_shutting_down_ends_what_is_not_admitted(authority: Authority, tls: TlsMode) -> None:
    """Whoever waits is told; a session goes on."""
    async with Bed(authority, tls=tls) as bed:
        session = await admitted(bed)
        waiting = await bed.greeted()
        encrypting = await bed.connect(encrypted=False)
        if tls is TlsMode.STARTTLS:
            await encrypting.line()
            await encrypting.ask(b"a STARTTLS\r\n")
        await bed.accepts(3)
        bed.front.say_goodbye()
        assert await waiting.rest() == b"* BYE The server is shutting down; please reconnect.\r\n"
        assert await encrypting.rest() == b""
        session.send(b"b NOOP\r\n")
        await bed.server.until(lambda: bed.server.conversations[0].after_login == b"b NOOP\r\n")
    assert [event.detail["ended"] for event in bed.audit.terminal()[:2]] == [Farewell.SHUTTING_DOWN] * 2
