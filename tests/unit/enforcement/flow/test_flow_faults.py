"""Faults of ours and of the mail server: a temporary failure, never a session and never a wrong password."""

import dataclasses
import gc
from socket import SO_SNDBUF, SOL_SOCKET
from typing import cast

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.enforcement.flow.flow import Flow
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.pool import UpstreamPool
from gatekeeper.net.transport import Transport
from gatekeeper.protocols.sasl.mechanisms import Credentials
from testkit.flow_bed import Bed, Conversation, Phone, on_a_poller
from testkit.flow_talk import CLOSED, ENDED, GONE, LOGIN, OK, UNAVAILABLE
from testkit.tls import Authority, server_context


@on_a_poller
async def test_without_a_record_there_is_no_session(authority: Authority) -> None:
    """The audit log cannot make it durable: a temporary failure, and the client may try again."""
    async with Bed(authority) as bed:
        bed.audit.durable = False
        client = await bed.greeted()
        client.send(LOGIN + b"b NOOP\r\n")
        assert await client.reply(b"b") == UNAVAILABLE + b"b OK Done.\r\n"
        await bed.server.until(lambda: bed.conversation.ended)
        assert bed.conversation.after_login == b""
        bed.audit.durable = True
        assert await client.ask(LOGIN) == OK
    assert bed.codes()[0] == EventCode.SESSION_ALLOWED
    assert bed.codes()[-2:] == ENDED


@on_a_poller
async def test_a_log_that_cannot_be_written_is_not_even_tried(authority: Authority) -> None:
    """No connection upstream: the password is not sent for nothing."""
    async with Bed(authority) as bed:
        bed.audit.writable = False
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        assert bed.server.conversations == []


@on_a_poller
async def test_a_log_that_breaks_during_the_log_in_admits_nobody(authority: Authority) -> None:
    """The gate looks again."""
    async with Bed(authority) as bed:

        async def breaks(conversation: Conversation, line: bytes) -> bool:
            bed.audit.writable = False
            conversation.say(line.split(b" ")[0] + b" OK [CAPABILITY IMAP4rev1] hi\r\n")
            return True

        bed.server.script = breaks
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        await bed.server.until(lambda: bed.conversation.ended)


@on_a_poller
async def test_devices_that_cannot_be_looked_up_are_a_fault(authority: Authority) -> None:
    """Nobody is let in on a guess."""
    gc.collect()  # what tests before it left
    async with Bed(authority) as bed:
        bed.registry.is_available = False
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        assert not [one for one in gc.get_objects() if isinstance(one, Credentials)], "kept for nothing"


@pytest.mark.parametrize("pipelined", [b"", b"b NOOP\r\n"], ids=["alone", "pipelined"])
@on_a_poller
async def test_a_mail_server_that_is_down_is_a_temporary_failure(authority: Authority, pipelined: bytes) -> None:
    """Never a wrong password; the dialogue goes on."""
    async with Bed(authority) as bed:
        await bed.server.stop()
        client = await bed.greeted()
        client.send(LOGIN + pipelined)
        assert await client.reply(b"a") == UNAVAILABLE
        if pipelined:
            assert await client.reply(b"b") == b"b OK Done.\r\n"


@on_a_poller
async def test_a_connection_upstream_that_fails_at_once_is_a_temporary_failure(authority: Authority) -> None:
    """Answered within the client's own call, each pipelined attempt in its turn."""
    async with Bed(authority) as bed:
        (there,) = bed.front.upstream.order
        nowhere = dataclasses.replace(there, address="255.255.255.255")  # no TCP to a broadcast
        bed.front.upstream = UpstreamPool([nowhere])
        client = await bed.greeted()
        client.send(LOGIN * 3 + b"b NOOP\r\n")
        assert await client.reply(b"b") == UNAVAILABLE * 3 + b"b OK Done.\r\n"
    assert bed.server.conversations == []


@pytest.mark.parametrize("upstream", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
@pytest.mark.parametrize("wrong", ["authority", "name"])
@on_a_poller
async def test_a_mail_server_with_a_wrong_certificate_gets_no_password(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory, upstream: TlsMode, wrong: str
) -> None:
    """Chain and name are verified before anything secret is sent."""
    bed = Bed(authority, upstream=upstream)
    if wrong == "authority":
        other = Authority(tmp_path_factory.mktemp("other"), "other")
        bed.upstream_context = server_context(other.server_certificate("mail"))
    else:
        bed.upstream_context = server_context(authority.server_certificate("elsewhere", "elsewhere.example"))
    async with bed:
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        await bed.server.until(lambda: all(one.ended for one in bed.server.conversations))
        assert all(one.logins == [] for one in bed.server.conversations)


@pytest.mark.parametrize(
    ("upstream", "greeting"),
    [
        (TlsMode.OFF, b"* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n"),
        (TlsMode.OFF, b"* BYE busy\r\n"),
        (TlsMode.OFF, b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\r\n"),
        (TlsMode.OFF, b"SSH-2.0-x\r\n"),
        (TlsMode.OFF, b"* OK " + b"A" * 70000),
        (TlsMode.STARTTLS, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n"),
        (TlsMode.IMPLICIT, b"* PREAUTH hi\r\n"),
    ],
    ids=[
        "U01-preauth",
        "U01-bye",
        "login-disabled",
        "ssh",
        "U12-line",
        "U06-no-starttls",
        "U01-under-tls",
    ],
)
@on_a_poller
async def test_a_mail_server_that_cannot_be_used_gets_no_password(
    authority: Authority, upstream: TlsMode, greeting: bytes
) -> None:
    """The client is told of a temporary failure in fixed words."""
    async with Bed(authority, upstream=upstream) as bed:
        bed.server.greeting = greeting
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        await bed.server.until(lambda: bed.conversation.ended)
        assert bed.conversation.logins == []


@on_a_poller
async def test_injected_octets_behind_the_starttls_answer_end_it(authority: Authority) -> None:
    """U04: nothing said in the clear counts under TLS."""

    async def injects(conversation: Conversation, line: bytes) -> bool:
        tag = line.split(b" ")[0]
        conversation.say(tag + b" OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n" + tag[:-1] + b"l OK x\r\n")
        return False

    async with Bed(authority, upstream=TlsMode.STARTTLS) as bed:
        bed.server.script = injects
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE
        await bed.server.until(lambda: bed.conversation.ended)


@on_a_poller
async def test_a_mail_server_that_hangs_up_during_the_log_in_is_a_temporary_failure(authority: Authority) -> None:
    """An answer that never came is no refusal."""

    async def hangs_up(conversation: Conversation, line: bytes) -> bool:
        raise ConnectionAbortedError

    async with Bed(authority) as bed:
        bed.server.script = hangs_up
        client = await bed.greeted()
        assert await client.ask(LOGIN) == UNAVAILABLE


def _flow(bed: Bed) -> Flow:
    return cast("Flow", bed.front.waiting.owners()[0])


def _is_owed(bed: Bed, client: Phone) -> Transport:
    """A phone has stopped reading, and its socket takes nothing more of what is said to it."""
    client.stop_reading()
    transport = _flow(bed)._transport
    transport._sock.setsockopt(SOL_SOCKET, SO_SNDBUF, 4096)
    transport.write(b"* OK " + b"x" * 200_000 + b"\r\n")
    assert transport.get_write_buffer_size()
    return transport


async def _before_the_relay(bed: Bed) -> Phone:
    """A phone whose mail server has said yes, and whose record is not durable yet."""
    bed.audit.holds = True
    client = await bed.greeted()
    client.send(LOGIN)
    await bed.audit.until(lambda: bed.audit.held)
    return client


async def _is_lost(bed: Bed) -> None:
    """The mail server closes, and the gate has noticed."""
    leg = _flow(bed)._leg
    assert leg is not None
    bed.conversation.writer.close()
    await bed.comes_true(lambda: leg._transport is None)


@on_a_poller
async def test_who_does_not_read_does_not_stay_behind_octets_behind_starttls(authority: Authority) -> None:
    """No deadline is left by then, and no limit counts him."""
    async with Bed(authority, tls=TlsMode.STARTTLS) as bed:
        client = await bed.connect()
        await client.line()
        transport = _is_owed(bed, client)
        client.send(b"a STARTTLS\r\nb NOOP\r\n")
        await bed.all_ended()
        assert transport._sock.fileno() < 0


@on_a_poller
async def test_who_does_not_read_does_not_stay_when_the_mail_server_is_lost(authority: Authority) -> None:
    """The same, between the verdict and the relay."""
    async with Bed(authority) as bed:
        client = await _before_the_relay(bed)
        transport = _is_owed(bed, client)
        await _is_lost(bed)
        bed.audit.release()
        await bed.all_ended()
        assert transport._sock.fileno() < 0


@on_a_poller
async def test_a_mail_server_that_is_lost_before_the_relay_begins_ends_the_connection(authority: Authority) -> None:
    """The phone hears that something went wrong, and comes again."""
    async with Bed(authority) as bed:
        client = await _before_the_relay(bed)
        await _is_lost(bed)
        other = await bed.greeted()
        assert await other.ask(b"n NOOP\r\n") == b"n OK Done.\r\n"
        bed.audit.release()
        assert await client.rest() == GONE
    assert sorted(bed.codes()) == sorted([*ENDED, CLOSED])
