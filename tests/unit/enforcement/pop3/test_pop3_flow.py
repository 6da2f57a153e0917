"""POP3 on the one flow: real front, gate and relay on loopback sockets, in front of a scripted mail server."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.enforcement.flow.front import Limits
from gatekeeper.enforcement.pop3.dialogue import Pop3Dialogue
from gatekeeper.net.dial import TlsMode
from testkit.flow_bed import PASSWORD, Bed, Conversation, Phone, on_a_poller
from testkit.flow_talk import ADMITTED, CLOSED, ENDED, every_listener
from testkit.tls import Authority

LOGIN = b"USER alice@example.com\r\nPASS wonderland\r\n"
LOGIN_BOB = b"USER bob@example.com\r\nPASS wonderland\r\n"
WRONG_LOGIN = b"USER alice@example.com\r\nPASS guess\r\n"
OK = b"+OK\r\n"
WELCOME = b"+OK Logged in\r\n"
WRONG = b"-ERR [AUTH] Authentication failed.\r\n"
FAULT = b"-ERR [SYS/TEMP] Mail is temporarily unavailable; please try again later.\r\n"
PIPELINED = b"STAT\r\nRETR 1\r\n"


async def obliging(conversation: Conversation, line: bytes) -> bool:
    """A mail server that takes PLAIN with the right password."""
    command, *rest = line.split(b" ")
    if command == b"CAPA":
        conversation.say(b"+OK\r\nTOP\r\nSASL PLAIN\r\n.\r\n")
    elif command == b"XCLIENT":
        conversation.say(b"+OK Updated\r\n")
    elif command == b"AUTH":
        response = base64.b64decode(rest[1])
        conversation.logins.append(response)
        if response.endswith(b"\0" + PASSWORD):
            conversation.say(b"+OK Logged in\r\n")
            return True
        conversation.say(b"-ERR [AUTH] Not you.\r\n")
    else:
        conversation.say(b"-ERR what\r\n")
    return False


def bed_for(authority: Authority, *, tls: TlsMode = TlsMode.IMPLICIT, limits: Limits | None = None) -> Bed:
    """A listener of POP3 in front of a POP3 server."""
    bed = Bed(authority, tls=tls, limits=limits, new_dialogue=Pop3Dialogue)
    bed.server.greeting = b"+OK [XCLIENT] ready\r\n"
    bed.server.script = obliging
    return bed


async def greeted(bed: Bed, *, tls: TlsMode = TlsMode.IMPLICIT) -> Phone:
    """A phone that may log in."""
    phone = await bed.connect()
    assert await phone.line() == b"+OK Ready.\r\n"
    if tls is TlsMode.STARTTLS:
        phone.send(b"STLS\r\n")
        assert await phone.line() == b"+OK Begin TLS now.\r\n"
        await phone.start_tls(bed.authority.client_context())
    return phone


async def told(phone: Phone, said: bytes, lines: int) -> list[bytes]:
    """Say something, and return so many lines."""
    phone.send(said)
    return [await phone.line() for _ in range(lines)]


@every_listener
@on_a_poller
async def test_a_clean_phone_is_relayed(authority: Authority, tls: TlsMode) -> None:
    """What it pipelined arrives once and in order, and the answers come back as they are."""
    async with bed_for(authority, tls=tls) as bed:
        phone = await greeted(bed, tls=tls)
        assert await told(phone, LOGIN + PIPELINED, 2) == [OK, WELCOME]
        await bed.server.until(lambda: bed.conversation.after_login == PIPELINED)
        bed.conversation.say(b"+OK 1 320\r\n+OK 320 octets\r\nx\r\n.\r\n")
        assert [await phone.line() for _ in range(4)] == [b"+OK 1 320\r\n", b"+OK 320 octets\r\n", b"x\r\n", b".\r\n"]
        assert bed.codes() == ADMITTED
        await phone.close()
        await bed.all_ended()
        assert bed.codes() == ENDED


@on_a_poller
async def test_a_refused_phone_reaches_nothing(authority: Authority) -> None:
    """Its connection at the mail server ends with the refusal, and what it pipelined is answered here."""
    async with bed_for(authority) as bed:
        phone = await greeted(bed)
        _, refused, unknown = await told(phone, LOGIN_BOB + b"STAT\r\n", 3)
        assert refused.startswith(b"-ERR [SYS/PERM] ")
        assert unknown.startswith(b"-ERR Not understood")
        await bed.server.until(lambda: bed.conversation.ended)
        assert bed.conversation.after_login == b""
        phone.send(b"QUIT\r\n")
        assert await phone.rest() == b"+OK Goodbye.\r\n"
        await bed.all_ended()
        assert bed.codes() == [EventCode.BLOCKED_APP, CLOSED]


@on_a_poller
async def test_a_wrong_password_can_be_put_right(authority: Authority) -> None:
    """On the same connection, each attempt on one of its own at the mail server."""
    async with bed_for(authority) as bed:
        phone = await greeted(bed)
        assert await told(phone, WRONG_LOGIN, 2) == [OK, WRONG]
        assert await told(phone, LOGIN, 2) == [OK, WELCOME]
        assert [one.logins for one in bed.server.conversations] == [
            [b"\0alice@example.com\0guess"],
            [b"\0alice@example.com\0wonderland"],
        ]
        assert bed.codes() == [EventCode.CREDENTIALS_REFUSED, *ADMITTED]


@on_a_poller
async def test_a_record_that_cannot_be_written_lets_nobody_in(authority: Authority) -> None:
    """A fault of ours is temporary, and no word of the phone's reaches the mail server."""
    async with bed_for(authority) as bed:
        bed.audit.durable = False
        phone = await greeted(bed)
        assert await told(phone, LOGIN + PIPELINED, 2) == [OK, FAULT]
        await bed.server.until(lambda: bed.conversation.ended)
        assert bed.conversation.after_login == b""


@pytest.mark.parametrize("greeting", [b"-ERR [SYS/TEMP] full\r\n", b"* OK IMAP\r\n"])
@on_a_poller
async def test_a_mail_server_that_is_not_itself_is_a_fault(authority: Authority, greeting: bytes) -> None:
    """Whatever it says in place of a greeting never gets to the phone."""
    async with bed_for(authority) as bed:
        bed.server.greeting = greeting
        phone = await greeted(bed)
        assert await told(phone, LOGIN, 2) == [OK, FAULT]


@on_a_poller
async def test_the_mail_server_learns_the_address(authority: Authority) -> None:
    """By XCLIENT, before the credentials."""
    bed = bed_for(authority)
    bed.client_address = "xclient"
    async with bed:
        phone = await greeted(bed)
        assert await told(phone, LOGIN, 2) == [OK, WELCOME]
        assert bed.conversation.received.startswith(b"CAPA\r\nXCLIENT ADDR=127.0.0.1 PORT=")


@on_a_poller
async def test_octets_behind_stls_end_the_connection(authority: Authority) -> None:
    """T03: nothing of them is answered."""
    async with bed_for(authority, tls=TlsMode.STARTTLS) as bed:
        phone = await bed.connect()
        assert await phone.line() == b"+OK Ready.\r\n"
        phone.send(b"STLS\r\nCAPA\r\n")
        assert await phone.rest() == b""


@contextmanager
def ended_by(bed: Bed, why: Farewell) -> Iterator[None]:
    """Check what ended the one connection."""
    yield
    (event,) = bed.audit.terminal()
    assert event.detail["ended"] == why.value


@on_a_poller
async def test_deadlines_and_shutdown_close_without_a_word(authority: Authority) -> None:
    """A client would take a line for the answer to its next command (RFC 1939 §3)."""
    async with bed_for(authority) as bed:
        phone = await greeted(bed)
        with ended_by(bed, Farewell.TIMEOUT):
            bed.clock.advance(bed.front.limits.login_timeout_s + 1)
            bed.front.tick()
            assert await phone.rest() == b""
    async with bed_for(authority) as bed:
        phone = await greeted(bed)
        with ended_by(bed, Farewell.SHUTTING_DOWN):
            bed.front.say_goodbye()
            assert await phone.rest() == b""


@on_a_poller
async def test_attempts_are_counted(authority: Authority) -> None:
    """The one over the limit is told so, and never tried."""
    async with bed_for(authority, limits=Limits(max_attempts=1)) as bed:
        phone = await greeted(bed)
        phone.send(WRONG_LOGIN * 2)
        assert await phone.rest() == OK + WRONG + OK + b"-ERR [AUTH] Too many attempts.\r\n"
        assert len(bed.server.conversations) == 1
