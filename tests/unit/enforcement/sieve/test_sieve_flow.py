"""ManageSieve through the one flow, on real sockets: a phone, a listener of ours, and a scripted mail server."""

import base64
import ssl

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.enforcement.sieve.dialogue import SieveDialogue
from gatekeeper.net.dial import TlsMode
from testkit.flow_bed import PASSWORD, Bed, Conversation, Phone, Script, on_a_poller
from testkit.flow_talk import ADMITTED, CLOSED, ENDED, every_listener
from testkit.tls import Authority, server_context

GREETING = b'"IMPLEMENTATION" "Scripted"\r\n"SIEVE" "fileinto"\r\n"SASL" "PLAIN"\r\n"VERSION" "1.0"\r\nOK "ready"\r\n'
WITH_STARTTLS = b'"SASL" ""\r\n"STARTTLS"\r\nOK "ready"\r\n'
LOGGED_IN = b'OK "Welcome."\r\n'
PIPELINED = b'HAVESPACE "a" 3\r\nPUTSCRIPT "a" {14+}\r\nLOGOUT\r\nstop;\r\nLISTSCRIPTS\r\n'
TOO_MANY = b'BYE "Too many errors."\r\n'


def login(name: str = "alice", password: bytes = PASSWORD) -> bytes:
    """AUTHENTICATE with its response as a literal."""
    response = base64.b64encode(b"\0" + name.encode() + b"@example.com\0" + password)
    return b'AUTHENTICATE "PLAIN" {%d+}\r\n' % len(response) + response + b"\r\n"


async def obliging(conversation: Conversation, line: bytes) -> bool:
    """A ManageSieve server that takes PLAIN with the right password."""
    command, *arguments = line.split(b" ")
    if command == b"AUTHENTICATE":
        response = base64.b64decode(arguments[1].strip(b'"'))
        conversation.logins.append(response)
        conversation.say(LOGGED_IN if response.endswith(b"\0" + PASSWORD) else b'NO "not you"\r\n')
        return False
    conversation.say(b'NO "Unknown command."\r\n')
    return command == b"UNAUTHENTICATE"


def with_starttls(context: ssl.SSLContext) -> Script:
    """The same, after TLS; it then says unasked what it offers."""

    async def script(conversation: Conversation, line: bytes) -> bool:
        if line != b"STARTTLS":
            return await obliging(conversation, line)
        conversation.say(b"OK\r\n")
        await conversation.writer.start_tls(context)
        conversation.say(GREETING)
        return False

    return script


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def sieve_bed(authority: Authority, *, tls: TlsMode = TlsMode.IMPLICIT, upstream: TlsMode = TlsMode.OFF) -> Bed:
    return Bed(authority, tls=tls, upstream=upstream, new_dialogue=SieveDialogue)


def speak_sieve(bed: Bed, authority: Authority, upstream: TlsMode = TlsMode.OFF) -> None:
    starttls = upstream is TlsMode.STARTTLS
    bed.server.greeting = WITH_STARTTLS if starttls else GREETING
    bed.server.script = with_starttls(server_context(authority.server_certificate("mail"))) if starttls else obliging


async def answer(client: Phone) -> bytes:
    """All up to OK, NO or BYE, or to the end."""
    heard = b""
    while line := await client.line():
        heard += line
        if line.startswith((b"OK", b"NO", b"BYE")):
            break
    return heard


async def greeted(bed: Bed, authority: Authority, tls: TlsMode = TlsMode.IMPLICIT) -> Phone:
    """A phone that may log in."""
    client = await bed.connect()
    assert (await answer(client)).endswith(b'OK "Ready."\r\n')
    if tls is TlsMode.STARTTLS:
        client.send(b"STARTTLS\r\n")
        assert await answer(client) == b'OK "Begin TLS now."\r\n'
        await client.start_tls(authority.client_context())
        assert b'"SASL" "PLAIN LOGIN"\r\n' in await answer(client)
    return client


@every_listener
@pytest.mark.parametrize("upstream", list(TlsMode), ids=str)
@on_a_poller
async def test_a_clean_phone_is_let_in(authority: Authority, tls: TlsMode, upstream: TlsMode) -> None:
    """Over every kind of TLS on both sides: log-in, relay both ways, end, and the records of both."""
    async with sieve_bed(authority, tls=tls, upstream=upstream) as bed:
        speak_sieve(bed, authority, upstream)
        client = await greeted(bed, authority, tls)
        client.send(login())
        assert await answer(client) == LOGGED_IN
        assert bed.conversation.logins == [b"\0alice@example.com\0" + PASSWORD]
        client.send(b"LISTSCRIPTS\r\n")
        await bed.server.until(lambda: bed.conversation.after_login == b"LISTSCRIPTS\r\n")
        bed.conversation.say(b'"main" ACTIVE\r\nOK\r\n')
        assert await answer(client) == b'"main" ACTIVE\r\nOK\r\n'
    assert bed.codes() == ENDED


@on_a_poller
async def test_pipelined_commands_go_upstream_once_and_in_order(authority: Authority) -> None:
    """Whatever the split: each place of log-in and pipeline is tried, in one TLS record or two."""
    sent = login() + PIPELINED
    async with sieve_bed(authority) as bed:
        speak_sieve(bed, authority)
        for at in [*range(1, len(sent), 7), len(login()) - 1, len(login()), len(sent)]:
            client = await greeted(bed, authority)
            client.send(sent[:at])
            client.send(sent[at:])
            assert await answer(client) == LOGGED_IN
            await bed.server.until(lambda: bed.conversation.after_login == PIPELINED)
            await client.close()
            await bed.all_ended()
            assert bed.conversation.received.count(b"PUTSCRIPT") == 1


@on_a_poller
async def test_a_denied_phone_is_refused_and_nothing_goes_upstream(authority: Authority) -> None:
    """The reason is told; what was pipelined is answered here, and three errors end it."""
    async with sieve_bed(authority) as bed:
        speak_sieve(bed, authority)
        client = await greeted(bed, authority)
        client.send(login("bob") + PIPELINED)
        heard = await client.rest()
        assert heard.startswith(b'NO "Mail is paused: ')
        assert b"TikTok" in heard.splitlines()[0]
        assert heard.endswith(TOO_MANY)
        assert bed.conversation.after_login == b""
        assert b"SCRIPT" not in bed.conversation.received
    assert bed.codes() == [EventCode.BLOCKED_APP, CLOSED]


@on_a_poller
async def test_a_wrong_password_tells_nothing_about_the_device(authority: Authority) -> None:
    """Whoever it is: the same words, and the right password may follow."""
    async with sieve_bed(authority) as bed:
        speak_sieve(bed, authority)
        client = await greeted(bed, authority)
        for name in ("alice", "bob", "nobody"):
            client.send(login(name, b"guess"))
            assert await answer(client) == b'NO "Authentication failed."\r\n'
        client.send(login())
        assert await answer(client) == LOGGED_IN
    assert bed.codes() == [EventCode.CREDENTIALS_REFUSED] * 3 + ENDED


@on_a_poller
async def test_a_server_that_can_be_logged_out_of_is_not_used(authority: Authority) -> None:
    """M03: UNAUTHENTICATE, offered or not, would let a second log-in pass unseen."""

    async def carries_it_out(conversation: Conversation, line: bytes) -> bool:
        await obliging(conversation, b"AUTHENTICATE" + line[12:]) if line.startswith(b"AUTH") else conversation.say(
            b"OK\r\n"
        )
        return False

    async with sieve_bed(authority) as bed:
        bed.server.greeting, bed.server.script = GREETING, carries_it_out
        client = await greeted(bed, authority)
        client.send(login())
        assert (await answer(client)).startswith(b"NO (TRYLATER) ")
        bed.server.greeting = b'"UNAUTHENTICATE"\r\n' + GREETING
        client.send(login())
        assert (await answer(client)).startswith(b"NO (TRYLATER) ")
        assert bed.conversation.logins == []
    assert bed.codes() == [EventCode.GATE_FAULT] * 2 + [CLOSED]


@on_a_poller
async def test_t04_octets_behind_starttls_end_the_connection(authority: Authority) -> None:
    """Without an answer."""
    async with sieve_bed(authority, tls=TlsMode.STARTTLS) as bed:
        client = await bed.connect()
        assert b'"SASL" ""\r\n' in await answer(client)
        client.send(b'STARTTLS\r\nNOOP "x"\r\n')
        assert await client.rest() == b""
    assert bed.audit.events[-1].detail["ended"] == "octets_behind_starttls"


@on_a_poller
async def test_shutting_down_says_bye(authority: Authority) -> None:
    """To whoever has not logged in yet; whoever has hears nothing in between."""
    async with sieve_bed(authority) as bed:
        speak_sieve(bed, authority)
        client = await greeted(bed, authority)
        admitted = await greeted(bed, authority)
        admitted.send(login())
        assert await answer(admitted) == LOGGED_IN
        bed.front.say_goodbye()
        assert (await client.rest()).startswith(b"BYE (TRYLATER) ")
    assert bed.codes()[: len(ADMITTED)] == ADMITTED


@on_a_poller
async def test_what_the_mail_server_offers_is_offered_next(authority: Authority) -> None:
    """A log-in learns it, also one that is refused."""
    async with sieve_bed(authority) as bed:
        speak_sieve(bed, authority)
        client = await greeted(bed, authority)
        client.send(login(password=b"guess") + b"CAPABILITY\r\n")
        await answer(client)
        assert await answer(client) == (
            b'"IMPLEMENTATION" "Scripted"\r\n"SASL" "PLAIN LOGIN"\r\n"SIEVE" "fileinto"\r\n"VERSION" "1.0"\r\nOK "Done."\r\n'
        )
