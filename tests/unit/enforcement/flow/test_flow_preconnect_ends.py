"""A connection that was made before its log-in fails it, or is not there yet: as if the log-in had dialled it."""

import asyncio
import base64

import pytest

from gatekeeper.enforcement.smtp.dialogue import smtp_dialogue
from gatekeeper.net.dial import TlsMode
from testkit.flow_ahead import expected, hangs_up, heard, logins, once, says_nothing
from testkit.flow_bed import GREETING, Bed, Conversation, on_a_poller
from testkit.flow_other import Other
from testkit.flow_talk import LOGIN, OK, PIPELINED, UNAVAILABLE, admitted
from testkit.tls import Authority


@on_a_poller
async def test_a_greeting_that_comes_late_is_waited_for(authority: Authority) -> None:
    """By the log-in, on the connection that is there: a mail server that delays its greeting is connected to once."""
    async with Bed(authority) as bed:
        await admitted(bed)
        bed.server.greeting = b"* OK"
        client = await bed.greeted()
        await bed.server.until(lambda: len(bed.server.conversations) == 2)
        client.send(LOGIN + PIPELINED)
        await bed.comes_true(lambda: bed.front.preconnect.used == 1)
        made = bed.server.conversations[1]
        assert made.received == b""
        made.say(GREETING.removeprefix(b"* OK"))
        assert await client.reply(b"a") == OK
        await bed.server.until(lambda: made.after_login == PIPELINED)
        assert logins(bed) == [1, 1]


@pytest.mark.parametrize("greeting", [b"", b"* OK re"], ids=["silent", "half"])
@on_a_poller
async def test_one_that_greets_too_late_leads_to_the_next_address(authority: Authority, greeting: bytes) -> None:
    """`connect_timeout` holds from the log-in on, to the end of the greeting."""
    bed = Bed(authority)
    async with Other(bed) as other, bed:
        await admitted(bed)
        other.greeting = greeting
        client = await bed.greeted()
        await other.until(lambda: len(other.conversations) == 2)
        await heard(bed, greeting)
        bed.front.upstream.failed(bed.front.upstream.order[1], "does not answer")
        client.send(LOGIN)
        await bed.comes_true(lambda: bed.front.preconnect.used == 1)
        bed.clock.advance(6)
        bed.front.tick()
        assert await client.reply(b"a") == OK
        assert logins(bed) == [1]
        faults = [health.fault for health in bed.front.upstream.health().values()]
        assert faults == ["the mail server does not greet", ""]


@on_a_poller
async def test_credentials_that_went_out_on_it_are_said_to_nobody_else(authority: Authority) -> None:
    """What came of them nobody knows; neither the same address nor another one hears them."""
    bed = Bed(authority)
    async with Other(bed) as other, bed:
        client, _ = await expected(bed, server=other)
        other.script = once(other, hangs_up)
        assert await client.ask(LOGIN) == UNAVAILABLE
        assert len(other.conversations) == 2
        assert bed.server.conversations == []
        assert [health.failures for health in bed.front.upstream.health().values()] == [0, 0]


@pytest.mark.parametrize(
    "goodbye", [b"* BYE shutting down\r\n", b"* OK still here\r\n", b""], ids=["bye", "ok", "none"]
)
@on_a_poller
async def test_an_end_before_the_credentials_leads_to_the_next_address(authority: Authority, goodbye: bytes) -> None:
    """Whatever the mail server says."""

    async def ends(conversation: Conversation, _line: bytes) -> bool:
        conversation.say(goodbye)
        conversation.writer.close()
        return False

    bed = Bed(authority)
    async with Other(bed) as other, bed:
        other.greeting = b"* OK ready\r\n"  # it has to be asked first for what it offers
        client, _ = await expected(bed, server=other)
        other.script = once(other, ends)
        assert await client.ask(LOGIN) == OK
        assert logins(bed) == [1]
        assert [health.failures for health in bed.front.upstream.health().values()] == [0, 0]


@on_a_poller
async def test_what_was_said_on_it_does_not_count_on_another(authority: Authority) -> None:
    """Somebody between cuts it after STARTTLS, and answers what was asked inside TLS on the next one, in the clear."""
    bed = Bed(authority, upstream=TlsMode.STARTTLS)
    async with Other(bed) as other, bed:
        other.script, other.greeting = bed.server.script, bed.server.greeting
        client, _ = await expected(bed, server=other)

        async def cuts(conversation: Conversation, line: bytes) -> bool:
            tag, command, *_ = line.split(b" ")
            if command == b"CAPABILITY":  # inside TLS
                bed.server.greeting += b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n" + tag + b" OK\r\n"
                conversation.writer.transport.abort()
                return False
            return await bed.server.script(conversation, line)

        other.script = cuts
        assert await client.ask(LOGIN) == OK
        assert logins(bed) == [1]
        commands = [line.partition(b" ")[2] for line in bed.server.conversations[0].received.split(b"\r\n")]
        assert commands[:2] == [b"STARTTLS", b"CAPABILITY"]


@on_a_poller
async def test_who_swallows_it_fails_the_log_in(authority: Authority) -> None:
    """After as long as one that was dialled."""
    async with Bed(authority) as bed:
        client, made = await expected(bed)
        bed.server.script = once(bed.server, says_nothing)
        client.send(LOGIN)
        await bed.server.until(lambda: made.received)
        bed.clock.advance(29)
        bed.front.tick()
        assert len(bed.front.logins) == 1
        bed.clock.advance(2)
        bed.front.tick()
        assert await client.reply(b"a") == UNAVAILABLE
        await admitted(bed)
        assert logins(bed) == [1, 0, 1]


@on_a_poller
async def test_an_old_greeting_brings_no_address_back(authority: Authority) -> None:
    """It says nothing of a server that was found dead since; one that comes during the log-in does."""
    async with Bed(authority) as bed:
        (address,) = bed.front.upstream.order
        client, made = await expected(bed)
        await heard(bed, GREETING)
        bed.front.upstream.failed(address, "does not answer")
        bed.server.script = once(bed.server, says_nothing)
        client.send(LOGIN)
        await bed.server.until(lambda: made.received)
        assert not bed.front.upstream.all_up
        await admitted(bed)
        assert bed.front.upstream.all_up


@on_a_poller
async def test_a_mail_server_that_is_gone_meanwhile_is_noticed_by_the_log_in(authority: Authority) -> None:
    """Which says so, as if nothing had been tried before."""
    async with Bed(authority) as bed:
        assert bed.server._server is not None
        await admitted(bed)
        bed.server._server.close()
        client = await bed.greeted()
        await bed.comes_true(lambda: bed.front.preconnect.unused == 1)
        assert [health.failures for health in bed.front.upstream.health().values()] == [0]
        assert await client.ask(LOGIN) == UNAVAILABLE
        assert [health.failures for health in bed.front.upstream.health().values()] == [1]


@pytest.mark.parametrize("greeting", [b"* BYE too many\r\n", b"hello\r\n"])
@on_a_poller
async def test_a_greeting_that_is_none_is_a_failure(authority: Authority, greeting: bytes) -> None:
    """Of its address: nothing of the phone's was said."""
    async with Bed(authority) as bed:
        await admitted(bed)
        bed.server.greeting = greeting
        client = await bed.greeted()
        await bed.server.until(lambda: len(bed.server.conversations) == 2)
        assert await client.ask(LOGIN) == UNAVAILABLE
        assert bed.server.conversations[1].received == b""
        assert [health.failures for health in bed.front.upstream.health().values()] == [1]


_RESPONSE = base64.b64encode(b"\0alice@example.com\0wonderland")


@pytest.mark.parametrize("pieces", [[b"220 ready\r\n"], [b"220-mail\r\n", b"220 ready\r\n"], [b"2", b"20 ready\r\n"]])
@on_a_poller
async def test_an_smtp_greeting_comes_in_any_pieces(authority: Authority, pieces: list[bytes]) -> None:
    """Before and after the log-in takes the connection over."""

    async def submission(conversation: Conversation, line: bytes) -> bool:
        command, *rest = line.split(b" ")
        if command == b"EHLO":
            conversation.say(b"250-mail\r\n250 AUTH PLAIN\r\n")
            return False
        conversation.logins.append(base64.b64decode(rest[1]))
        conversation.say(b"235 2.7.0 in\r\n")
        return True

    bed = Bed(authority, new_dialogue=smtp_dialogue("gate.example", asyncio.get_running_loop()))
    bed.server.script, bed.server.greeting = submission, pieces[0]
    async with bed:
        bed.front.preconnect.logged_in()
        client = await bed.connect()
        assert (await client.line()).startswith(b"220 ")
        client.send(b"EHLO phone\r\n")
        while not (await client.line()).startswith(b"250 "):
            pass
        await bed.server.until(lambda: bed.server.conversations)
        client.send(b"AUTH PLAIN " + _RESPONSE + b"\r\n")
        await bed.comes_true(lambda: bed.front.preconnect.used == 1)
        for piece in pieces[1:]:
            bed.conversation.say(piece)
        assert (await client.line()).startswith(b"235 ")
        assert logins(bed) == [1]
