"""A connection that was made before its log-in fails it: no phone can tell, and nobody is to blame who is not."""

import asyncio
import base64
from collections.abc import Callable

import pytest

from gatekeeper.enforcement.smtp.dialogue import smtp_dialogue
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.preconnect import PAUSE_S
from testkit.flow_ahead import admitted_and_then, ahead_bed, greets, logins, made_ahead, once, says_nothing
from testkit.flow_bed import GREETING, Bed, Conversation, MailServer, Phone, obliging, on_a_poller
from testkit.flow_talk import LOGIN, OK, PIPELINED, UNAVAILABLE, admitted
from testkit.ports import LOOPBACK
from testkit.tls import Authority


async def _hangs_up(conversation: Conversation, _line: bytes) -> bool:
    conversation.writer.close()
    return False


@pytest.mark.parametrize("upstream", TlsMode)
@on_a_poller
async def test_one_that_is_closed_as_it_is_used_is_no_failure(authority: Authority, upstream: TlsMode) -> None:
    """The mail server's end and the credentials meet on the way: the same address is dialled, as if nothing had been."""
    async with ahead_bed(authority, upstream) as bed:
        await made_ahead(bed)
        before, bed.server.script = bed.server.script, once(bed.server, _hangs_up)
        client = await bed.greeted()
        assert await client.ask(LOGIN + PIPELINED) == OK
        await bed.server.until(lambda: bed.server.conversations[3].after_login == PIPELINED)
        assert bed.server.script is before
        assert [health.fault for health in bed.front.upstream.health().values()] == [""]


@on_a_poller
async def test_nothing_is_said_twice_to_a_server_that_answered(authority: Authority) -> None:
    """It asked for the rest of the credentials, and had it: what it made of them nobody knows."""

    async def asks(conversation: Conversation, line: bytes) -> bool:
        if line.endswith(b" AUTHENTICATE PLAIN"):
            conversation.say(b"+ \r\n")
        else:
            conversation.logins.append(line)
            conversation.writer.close()
        return False

    async with ahead_bed(authority) as bed:
        await admitted(bed)
        await admitted_and_then(bed, greets(bed, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n"))
        await bed.comes_true(lambda: bed.front.preconnect.is_greeted)
        bed.server.script = asks
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        assert logins(bed) == [1, 1, 1]


@pytest.mark.parametrize("said", [b"* ID NIL\r\n%bi OK ID completed.\r\n", b"* OK still here\r\n", b"* BYE\r\n"])
@on_a_poller
async def test_what_else_is_said_is_no_answer(authority: Authority, said: bytes) -> None:
    """A Dovecot whose master is gone answers ID, which is asked with the log-in, and closes."""

    async def ends(conversation: Conversation, line: bytes) -> bool:
        if b" AUTHENTICATE " in line:
            tag = line.split(b" ")[0].removesuffix(b"l")
            conversation.say(said.replace(b"%b", tag))
            conversation.writer.close()
            bed.server.script = obliging
        return False

    async with ahead_bed(authority) as bed:
        await made_ahead(bed)
        bed.server.script = ends
        client = await bed.greeted()
        assert await client.ask(LOGIN + PIPELINED) == OK
        await bed.server.until(lambda: bed.server.conversations[3].after_login == PIPELINED)
        assert logins(bed) == [1, 1, 0, 1]
        assert [health.failures for health in bed.front.upstream.health().values()] == [0]


@on_a_poller
async def test_what_was_said_on_it_does_not_count_on_another(authority: Authority) -> None:
    """Somebody between cuts it after STARTTLS, and answers what was asked inside TLS on the next one, in the clear."""

    async def cuts(conversation: Conversation, line: bytes) -> bool:
        tag, command, *_ = line.split(b" ")
        if command == b"CAPABILITY":  # inside TLS
            bed.server.greeting += b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n" + tag + b" OK\r\n"
            bed.server.script = before
            conversation.writer.transport.abort()
            return False
        return await before(conversation, line)

    async with ahead_bed(authority, TlsMode.STARTTLS) as bed:
        await made_ahead(bed)
        before, bed.server.script = bed.server.script, cuts
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        assert logins(bed)[:4] == [1, 1, 0, 1]
        commands = [line.partition(b" ")[2] for line in bed.server.conversations[3].received.split(b"\r\n")]
        assert commands[:2] == [b"STARTTLS", b"CAPABILITY"]


@pytest.mark.parametrize(
    "goodbye", [b"* BYE shutting down\r\n", b"* OK still here\r\n", b""], ids=["bye", "ok", "none"]
)
@on_a_poller
async def test_an_end_before_the_credentials_is_no_failure(authority: Authority, goodbye: bytes) -> None:
    """Whatever the mail server says: the same address is dialled."""

    async def ends(conversation: Conversation, _line: bytes) -> bool:
        conversation.say(goodbye)
        conversation.writer.close()
        return False

    async with ahead_bed(authority) as bed:
        bed.server.greeting = b"* OK ready\r\n"  # it has to be asked first for what it offers
        await made_ahead(bed)
        bed.server.script = once(bed.server, ends)
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        assert logins(bed)[:4] == [1, 1, 0, 1]
        assert [health.failures for health in bed.front.upstream.health().values()] == [0]


@on_a_poller
async def test_what_is_offered_there_counts_only_once_it_took_a_log_in(authority: Authority) -> None:
    """A server that is ending may offer less, and phones are told what was offered last."""
    offered: list[frozenset[str]] = []

    async def ends(conversation: Conversation, line: bytes) -> bool:
        tag, command, *_ = line.split(b" ")
        if command == b"CAPABILITY":
            conversation.say(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n" + tag + b" OK\r\n")
        else:
            bed.server.script = looks
            conversation.writer.close()
        return False

    async def looks(conversation: Conversation, line: bytes) -> bool:
        offered.append(bed.front.upstream_offers)
        return await obliging(conversation, line)

    async with ahead_bed(authority) as bed:
        bed.server.greeting = b"* OK ready\r\n"
        await made_ahead(bed)
        before = bed.front.upstream_offers
        bed.server.script = ends
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
        assert offered[0] == before == bed.front.upstream_offers


@on_a_poller
async def test_a_greeting_of_several_lines_may_end_after_the_first(authority: Authority) -> None:
    """The rest of it, and the end, come when a log-in goes on with the connection: the address is not to blame."""
    bed = Bed(authority, new_dialogue=smtp_dialogue("gate.example", asyncio.get_running_loop()))
    bed.preconnect = True
    bed.server.greeting = b"220 ready\r\n"
    async with bed:
        await _smtp_admitted(bed)
        await _smtp_admitted(bed, lambda: setattr(bed.server, "greeting", b"220-mail\r\n"))
        await bed.comes_true(lambda: bed.front.preconnect.is_greeted)
        bed.server.greeting = b"220 ready\r\n"
        client = await _smtp_greeted(bed)
        client.send(b"AUTH PLAIN " + _RESPONSE + b"\r\n")
        await bed.comes_true(lambda: bed.front.preconnect.used == 1)
        made = bed.server.conversations[2]
        made.say(b"220-still\r\n")
        made.writer.close()
        assert (await client.line()).startswith(b"235 ")
        assert [health.failures for health in bed.front.upstream.health().values()] == [0]


_RESPONSE = base64.b64encode(b"\0alice@example.com\0wonderland")


async def _smtp(conversation: Conversation, line: bytes) -> bool:
    if line.startswith(b"EHLO"):
        conversation.say(b"250-mail\r\n250 AUTH PLAIN\r\n")
        return False
    conversation.logins.append(line)
    conversation.say(b"235 2.7.0 in\r\n")
    return True


async def _smtp_greeted(bed: Bed) -> Phone:
    client = await bed.connect()
    await client.line()
    client.send(b"EHLO phone\r\n")
    while (await client.line()).startswith(b"250-"):
        pass
    return client


async def _smtp_admitted(bed: Bed, change: Callable[[], None] = lambda: None) -> None:
    """With a change of the mail server at its log-in."""

    async def changes(conversation: Conversation, line: bytes) -> bool:
        if line.startswith(b"AUTH"):
            bed.server.script = _smtp
            change()
        return await _smtp(conversation, line)

    bed.server.script = changes
    client = await _smtp_greeted(bed)
    client.send(b"AUTH PLAIN " + _RESPONSE + b"\r\n")
    assert (await client.line()).startswith(b"235 ")


@on_a_poller
async def test_a_server_that_has_fallen_silent_is_passed_over(authority: Authority) -> None:
    """Its greeting was an old one: it and the next one have the time that they have without."""
    other = MailServer()
    bed = ahead_bed(authority)
    bed.before = [(LOOPBACK, await other.start())]
    bed.server.greeting = other.greeting = b"* OK ready\r\n"
    async with bed:
        await admitted(bed)
        await admitted(bed)
        await bed.comes_true(lambda: bed.front.preconnect.is_greeted)
        other.script, other.greeting = says_nothing, b""
        client = await bed.greeted()
        client.send(LOGIN)
        await other.until(lambda: other.conversations[2].received)
        for connections in (4, 4):
            bed.clock.advance(6)
            bed.front.tick()
            await other.until(lambda: len(other.conversations) == connections)  # noqa: B023  within this turn
        assert await client.reply(b"a") == OK
        faults = [health.fault for health in bed.front.upstream.health().values()]
        assert faults == ["the mail server does not greet", ""]
    await other.stop()


@on_a_poller
async def test_who_takes_long_over_a_password_is_not_given_it_twice(authority: Authority) -> None:
    """Wrong ones are answered late by many servers: the deadline is that of the whole log-in."""
    async with ahead_bed(authority) as bed:
        made = await made_ahead(bed)
        bed.server.script = once(bed.server, says_nothing)
        client = await bed.greeted()
        client.send(LOGIN)
        await bed.server.until(lambda: made.received)
        bed.clock.advance(20)
        bed.front.tick()
        made.say(made.received.split(b" ")[0] + b" OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n")
        assert await client.reply(b"a") == OK
        assert sum(logins(bed)) == 2  # who only listens counts none


@on_a_poller
async def test_a_server_that_wants_no_connection_that_waited_is_shown_no_more_of_them(authority: Authority) -> None:
    """Something between may close them as idle: one password is shown twice, and then there is none for a minute."""

    async def closes(conversation: Conversation, line: bytes) -> bool:
        conversation.writer.close()
        return await says_nothing(conversation, line)

    async with ahead_bed(authority) as bed:
        await made_ahead(bed)
        bed.server.script = once(bed.server, closes)
        for _ in range(4):
            await admitted(bed)
        assert logins(bed) == [1, 1, 0, 1, 1, 1, 1]
        assert bed.front.preconnect.used == 1
        bed.clock.advance(PAUSE_S)
        await admitted(bed)
        await admitted(bed)
        await bed.comes_true(lambda: bed.front.preconnect.is_greeted)


@on_a_poller
async def test_what_swallows_one_gets_no_other(authority: Authority) -> None:
    """The log-in waits as long as it may; those behind it dial."""
    async with ahead_bed(authority) as bed:
        made = await made_ahead(bed)
        bed.server.script = once(bed.server, says_nothing)
        client = await bed.greeted()
        client.send(LOGIN)
        await bed.server.until(lambda: made.received)
        bed.clock.advance(31)
        bed.front.tick()
        assert await client.reply(b"a") == UNAVAILABLE
        for _ in range(3):
            await admitted(bed)
        assert logins(bed) == [1, 1, 0, 1, 1, 1]
        assert bed.front.preconnect.used == 1


@pytest.mark.parametrize("answer", [b"235 2.7.0 in\r\n", b"535 5.7.8 wrong\r\n"], ids=["in", "wrong"])
@on_a_poller
async def test_an_answer_that_was_there_before_the_credentials_is_none(authority: Authority, answer: bytes) -> None:
    """Nobody is let in, or told that his password is wrong, by what lay there before he came."""
    bed = Bed(authority, new_dialogue=smtp_dialogue("gate.example", asyncio.get_running_loop()))
    bed.preconnect = True
    bed.server.greeting = b"220 ready\r\n"
    async with bed:
        await _smtp_admitted(bed)
        eager = b"220 ready\r\n250-mail\r\n250 AUTH PLAIN\r\n" + answer
        await _smtp_admitted(bed, greets(bed, eager))
        await bed.comes_true(lambda: bed.front.preconnect.is_greeted)
        bed.server.greeting = b"220 ready\r\n"
        client = await _smtp_greeted(bed)
        client.send(b"AUTH PLAIN " + _RESPONSE + b"\r\n")
        assert (await client.line()).startswith(b"235 ")
        assert len(bed.server.conversations[3].logins) == 1


@on_a_poller
async def test_an_answer_to_credentials_brings_an_address_back(authority: Authority) -> None:
    """As the greeting of one that was dialled does."""
    async with ahead_bed(authority) as bed:
        made = await made_ahead(bed)
        bed.front.upstream.failed(bed.front.upstream.order[0], "does not answer")
        await admitted(bed)
        assert made.logins
        assert bed.front.upstream.all_up


@on_a_poller
async def test_an_old_greeting_brings_no_address_back(authority: Authority) -> None:
    """It says nothing of a server that was found dead since."""
    async with ahead_bed(authority) as bed:
        made = await made_ahead(bed)
        bed.front.upstream.failed(bed.front.upstream.order[0], "does not answer")
        bed.server.script = says_nothing
        client = await bed.greeted()
        client.send(LOGIN)
        await bed.server.until(lambda: made.received)
        assert not bed.front.upstream.all_up


@on_a_poller
async def test_credentials_that_went_out_on_it_are_shown_to_no_other_address(authority: Authority) -> None:
    """Not when its address cannot be reached any more either."""
    other = MailServer()
    bed = ahead_bed(authority)
    bed.before = [(LOOPBACK, await other.start())]
    async with bed:
        await admitted(bed)
        await admitted(bed)
        await bed.comes_true(lambda: bed.front.preconnect.is_greeted)

        async def vanishes(conversation: Conversation, _line: bytes) -> bool:
            assert other._server is not None
            other._server.close()
            conversation.writer.close()
            return False

        other.script = vanishes
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        assert bed.server.conversations == []
        assert [len(conversation.logins) for conversation in other.conversations] == [1, 1, 0]
    await other.stop()


@pytest.mark.parametrize("greeting", [b"* BYE too many\r\n", b"hello\r\n"])
@on_a_poller
async def test_a_greeting_that_is_none_is_no_failure(authority: Authority, greeting: bytes) -> None:
    """A log-in that dials may be told something else."""
    async with ahead_bed(authority) as bed:
        await admitted(bed)
        await admitted_and_then(bed, greets(bed, greeting))
        await bed.comes_true(lambda: bed.front.preconnect.is_greeted)
        bed.server.greeting = GREETING
        await admitted(bed)
        assert bed.server.conversations[2].received == b""
        assert [health.failures for health in bed.front.upstream.health().values()] == [0]


@on_a_poller
async def test_a_mail_server_that_is_gone_meanwhile_is_noticed_by_the_next_log_in(authority: Authority) -> None:
    """Which says so, as if nothing had been tried before."""
    async with ahead_bed(authority) as bed:
        assert bed.server._server is not None
        await admitted(bed)
        await admitted_and_then(bed, bed.server._server.close)
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        assert [health.failures for health in bed.front.upstream.health().values()] == [1]
