"""A log-in that is refused by the mail server, by policy or by us: in which words, and what follows."""

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.enforcement.flow.front import Limits
from gatekeeper.net.dial import TlsMode
from testkit.flow_bed import Bed, on_a_poller
from testkit.flow_talk import CLOSED, ENDED, LOGIN, LOGIN_BOB, OK, PIPELINED, WRONG, WRONG_LOGIN, every_listener
from testkit.reports import ALICE
from testkit.tls import Authority


@every_listener
@on_a_poller
async def test_a_phone_with_a_denied_app_is_refused(authority: Authority, tls: TlsMode) -> None:
    """It hears why, in words that are not those of a wrong password, and nothing of its pipeline goes further."""
    sent = LOGIN_BOB + PIPELINED
    async with Bed(authority, tls=tls) as bed:
        for at in range(1, len(sent), 7):
            client = await bed.greeted()
            client.send(sent[:at])
            client.send(sent[at:])
            refusal = await client.reply(b"a")
            assert refusal.startswith(b"a NO [UNAVAILABLE] ")
            assert b"TikTok" in refusal
            assert await client.reply(b"b") == b"b OK Done.\r\n"
            assert (await client.rest()).endswith(b"* BYE Too many errors.\r\n")
            await bed.server.until(lambda: bed.conversation.ended)
            assert bed.conversation.after_login == b""
            assert bed.conversation.received.count(b"\n") == 1
    assert set(bed.codes()) == {EventCode.BLOCKED_APP, CLOSED}


@on_a_poller
async def test_who_has_not_proven_an_identity_learns_nothing(authority: Authority) -> None:
    """I73: a wrong password for a refused phone, a known account and an unknown one get the same answer."""
    async with Bed(authority) as bed:
        client = await bed.greeted()
        for name in (b"bob@example.com", b"alice@example.com", b"nobody@example.com"):
            assert await client.ask(b"a LOGIN " + name + b" guess\r\n") == WRONG
    assert bed.codes() == [EventCode.CREDENTIALS_REFUSED] * 3 + [CLOSED]


@on_a_poller
async def test_after_a_wrong_password_the_right_one_is_taken(authority: Authority) -> None:
    """One connection, a new log-in upstream."""
    async with Bed(authority) as bed:
        client = await bed.greeted()
        assert await client.ask(WRONG_LOGIN) == WRONG
        assert await client.ask(LOGIN) == OK
        assert len(bed.server.conversations) == 2
    assert bed.codes() == [EventCode.CREDENTIALS_REFUSED, *ENDED]


@pytest.mark.parametrize(
    ("id_", "name"),
    [
        ("I65-master-user", b"alice*admin"),
        ("I65-percent", b"alice%admin"),
        ("I65-slash", b"DOMAIN/alice"),
        ("I65-backslash", b"DOMAIN\\\\alice"),
        ("I66-template", b"%{pass}"),
        ("I66-ldap", b"*)(uid=*))(|(uid=*"),
        ("I66-sql", b"' OR 1=1--"),
        ("I66-path", b"../../etc"),
        ("I67-fullwidth", b"\xef\xbd\x81lice"),
        ("I67-zero-width-space", b"alice\xe2\x80\x8b"),
        ("I09-umlaut", b"j\xc3\xbcrgen"),
    ],
)
@on_a_poller
async def test_a_name_that_could_mean_another_mailbox_never_goes_upstream(
    authority: Authority, id_: str, name: bytes
) -> None:
    """It is answered like a wrong password and recorded under no account, not even under that of an earlier attempt."""
    async with Bed(authority) as bed:
        client = await bed.greeted()
        assert await client.ask(WRONG_LOGIN) == WRONG
        assert await client.ask(b'a LOGIN "' + name + b'" wonderland\r\n') == WRONG
        assert len(bed.server.conversations) == 1
    assert [event.account for event in bed.audit.events] == [ALICE, None, None]


@on_a_poller
async def test_too_many_attempts_end_the_connection(authority: Authority) -> None:
    """The attempt over the limit is not tried."""
    async with Bed(authority, limits=Limits(max_attempts=2)) as bed:
        client = await bed.greeted()
        assert await client.ask(WRONG_LOGIN) == WRONG
        assert await client.ask(WRONG_LOGIN) == WRONG
        client.send(LOGIN)
        assert await client.rest() == b"* BYE Too many attempts.\r\n"
        assert len(bed.server.conversations) == 2
    assert bed.audit.events[-1].detail == {"ended": "too_many_attempts", "attempts": 3}


@on_a_poller
async def test_pipelined_attempts_are_tried_one_after_the_other(authority: Authority) -> None:
    """What follows a rejected log-in is a command again."""
    async with Bed(authority, limits=Limits(max_attempts=3)) as bed:
        client = await bed.greeted()
        client.send(WRONG_LOGIN * 3 + LOGIN + b"b NOOP\r\n")
        assert await client.rest() == WRONG * 3 + b"* BYE Too many attempts.\r\n"
        assert all(one.received.count(b"\n") == 1 for one in bed.server.conversations)


@on_a_poller
async def test_logging_out_opens_no_connection_upstream(authority: Authority) -> None:
    """I43."""
    async with Bed(authority) as bed:
        client = await bed.greeted()
        client.send(b"a LOGOUT\r\n")
        assert await client.rest() == b"* BYE Goodbye.\r\na OK Done.\r\n"
        assert bed.server.conversations == []
    assert bed.codes() == [CLOSED]
