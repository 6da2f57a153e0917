"""A log-in that succeeds: nothing goes upstream before its record, everything after it, once and in order."""

import base64

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.domain.decision import Reason
from gatekeeper.domain.delegation import Delegation
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.enforcement.flow.account import AccountSettings
from gatekeeper.net.dial import TlsMode
from gatekeeper.net.relay import Ended
from testkit.flow_bed import GREETING, PASSWORD, Bed, Conversation, on_a_poller
from testkit.flow_talk import ADMITTED, ENDED, LOGIN, OK, PIPELINED, UNAVAILABLE, admitted, every_listener
from testkit.reports import ALICE, BOB, MINUTE, NOTES, NOW, TIKTOK, phone, report
from testkit.tls import Authority

# A log-in that succeeds.


@every_listener
@pytest.mark.parametrize("upstream", list(TlsMode), ids=str)
@on_a_poller
async def test_a_clean_phone_is_let_in(authority: Authority, tls: TlsMode, upstream: TlsMode) -> None:
    """Over every kind of TLS on both sides: log-in, relay both ways, end, and the records of both."""
    async with Bed(authority, tls=tls, upstream=upstream) as bed:
        client = await admitted(bed)
        assert bed.conversation.logins == [b"\0alice@example.com\0" + PASSWORD]
        client.send(b"b SELECT INBOX\r\n")
        await bed.server.until(lambda: bed.conversation.after_login == b"b SELECT INBOX\r\n")
        bed.conversation.say(b"* 1 EXISTS\r\nb OK\r\n")
        assert await client.reply(b"b") == b"* 1 EXISTS\r\nb OK\r\n"
        assert len(bed.gate.sessions) == 1
        await client.close()
        await bed.all_ended()

    assert bed.codes() == ENDED
    allowed, ended = bed.audit.events
    assert (allowed.account, allowed.mechanism) == (ALICE, "LOGIN")
    assert allowed.connection == ended.connection
    assert (ended.detail["octets_up"], ended.detail["octets_down"]) == (16, 18)


@on_a_poller
async def test_a_plain_listener_takes_passwords_where_it_is_allowed(authority: Authority) -> None:
    """`tls = "off"` with `allow_plaintext` goes without."""
    async with Bed(authority, tls=TlsMode.OFF) as bed:
        await admitted(bed)
    assert bed.codes() == ENDED


@on_a_poller
async def test_the_mail_server_may_end_the_session(authority: Authority) -> None:
    """Its last words reach the phone before the end."""
    async with Bed(authority) as bed:
        client = await admitted(bed)
        bed.conversation.say(b"* BYE\r\n")
        bed.conversation.writer.close()
        assert await client.rest() == b"* BYE\r\n"
    assert bed.audit.events[-1].detail["ended"] == "upstream"


@on_a_poller
async def test_what_the_mail_server_says_behind_its_answer_reaches_the_phone(authority: Authority) -> None:
    """Untagged data in the same segment as the tagged OK come after our reply."""

    async def script(conversation: Conversation, line: bytes) -> bool:
        conversation.say(line.split(b" ")[0] + b" OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n* 5 EXISTS\r\n* 1 RE")
        return True

    async with Bed(authority) as bed:
        bed.server.script = script
        client = await admitted(bed)
        bed.conversation.say(b"CENT\r\n")
        assert [await client.line(), await client.line()] == [b"* 5 EXISTS\r\n", b"* 1 RECENT\r\n"]


@on_a_poller
async def test_our_tag_is_not_the_phones(authority: Authority) -> None:
    """I01: a phone cannot guess the tag that is waited for."""
    async with Bed(authority) as bed:
        await admitted(bed)
        await (await admitted(bed)).close()
        tags = [one.received.split(b" ")[0] for one in bed.server.conversations]
    assert len(set(tags)) == 2
    assert all(len(tag) == 9 for tag in tags)


@on_a_poller
async def test_the_name_that_policy_sees_is_the_one_that_is_opened(authority: Authority) -> None:
    """I64: one canonical form for both."""
    async with Bed(authority) as bed:
        client = await bed.greeted()
        assert await client.ask(b"a LOGIN ALICE@Example.COM wonderland\r\n") == OK
        assert bed.conversation.logins == [b"\0alice@example.com\0wonderland"]
    assert {event.account for event in bed.audit.events} == {ALICE}


@pytest.mark.parametrize(
    ("how", "heard"),
    [
        ("id", b' ID ("x-originating-ip" "127.0.0.1"'),
        ("proxy", b"PROXY TCP4 127.0.0.1 127.0.0.1 "),
        ("proxy-v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1e\x7f\0\0\1\x7f\0\0\1"),
    ],
)
@on_a_poller
async def test_the_mail_server_learns_the_phones_address(authority: Authority, how: str, heard: bytes) -> None:
    """D04: by ID or a PROXY header of ours."""
    bed = Bed(authority)
    bed.client_address = how
    bed.server.greeting = GREETING.replace(b"AUTH", b"ID AUTH")
    bed.server.reads_first = how
    async with bed:
        client = await bed.greeted()
        assert await client.ask(b'i ID ("x-originating-ip" "10.9.8.7")\r\n') == b"* ID NIL\r\ni OK Done.\r\n"
        assert await client.ask(LOGIN) == OK
        assert heard in bed.conversation.received
        assert b"10.9.8.7" not in bed.conversation.received


@pytest.mark.parametrize("durable_first", [True, False], ids=["admitted", "not recorded"])
@on_a_poller
async def test_nothing_of_the_pipeline_goes_upstream_before_the_record_is_durable(
    authority: Authority, durable_first: bool
) -> None:
    """The mail server has seen the log-in and nothing else until the audit log says so, and then everything, once."""
    async with Bed(authority) as bed:
        bed.audit.holds = True
        client = await bed.greeted()
        client.send(LOGIN + PIPELINED)
        await bed.audit.until(lambda: bed.audit.held)
        client.send(b"e NOOP\r\n")
        # A round trip on another connection: whatever was under way has arrived.
        other = await bed.greeted()
        assert await other.ask(b"n NOOP\r\n") == b"n OK Done.\r\n"
        assert bed.conversation.received.count(b"\n") == 1
        assert bed.conversation.after_login == b""
        assert bed.codes() == ADMITTED
        assert len(bed.relay) == len(bed.gate.sessions) == 0

        bed.audit.release(durable=durable_first)
        if durable_first:
            assert await client.reply(b"a") == OK
            await bed.server.until(lambda: bed.conversation.after_login == PIPELINED + b"e NOOP\r\n")
        else:
            assert await client.reply(b"a") == UNAVAILABLE
            assert await client.reply(b"e") != b""
            await bed.server.until(lambda: bed.conversation.ended)
            assert bed.conversation.after_login == b""


@every_listener
@on_a_poller
async def test_pipelined_octets_arrive_once_and_in_order_at_every_split(authority: Authority, tls: TlsMode) -> None:
    """I69, I70: the log-in and what follows it, cut in two at every octet."""
    sent = LOGIN + PIPELINED
    async with Bed(authority, tls=tls) as bed:
        for at in range(1, len(sent)):
            client = await bed.greeted()
            client.send(sent[:at])
            client.send(sent[at:])
            assert await client.reply(b"a") == OK
            await bed.server.until(lambda: len(bed.conversation.after_login) >= len(PIPELINED))
            assert bed.conversation.after_login == PIPELINED, at
            await client.close()


@on_a_poller
async def test_a_response_and_the_pipeline_behind_it_octet_by_octet(authority: Authority) -> None:
    """I69: each octet in a record of its own."""
    async with Bed(authority) as bed:
        client = await bed.greeted()
        stream = b"a AUTHENTICATE PLAIN\r\nAGFsaWNlQGV4YW1wbGUuY29tAHdvbmRlcmxhbmQ=\r\n" + PIPELINED
        for octet in stream:
            client.send(bytes([octet]))
        assert [await client.line(), await client.line()] == [b"+ \r\n", OK]
        await bed.server.until(lambda: bed.conversation.after_login == PIPELINED)


# Sessions.


@on_a_poller
async def test_a_live_session_is_cut_when_it_no_longer_stands(authority: Authority) -> None:
    """New evidence with a denied app: both sockets are closed, and the record says why."""
    async with Bed(authority) as bed:
        client = await admitted(bed)
        other = await admitted(bed)
        await bed.registry.apply([report(phone(), NOTES, TIKTOK, at=NOW + MINUTE)], now=NOW + MINUTE)
        assert await client.rest() == await other.rest() == b""
        await bed.server.until(lambda: all(one.ended for one in bed.server.conversations))
        assert len(bed.gate.sessions) == len(bed.relay) == 0
    assert bed.codes() == [*ADMITTED * 2, *[EventCode.SESSION_REVOKED] * 2]
    revoked = bed.audit.events[-1]
    assert revoked.decision is not None
    assert Reason.APP_MATCH in revoked.decision.reasons
    assert revoked.detail["ended"] == Ended.CUT


@on_a_poller
async def test_a_change_elsewhere_leaves_a_session_alone(authority: Authority) -> None:
    """Only the sessions that are concerned are decided again."""
    async with Bed(authority) as bed:
        client = await admitted(bed)
        await bed.registry.apply([report(phone("ph-2", BOB), NOTES, at=NOW + MINUTE)], now=NOW + MINUTE)
        client.send(b"b NOOP\r\n")
        await bed.server.until(lambda: bed.conversation.after_login)
        assert len(bed.gate.sessions) == 1
    assert bed.codes() == ENDED


@on_a_poller
async def test_a_client_that_vanishes_from_a_session_ends_it(authority: Authority) -> None:
    """The mail server's side is closed too."""
    async with Bed(authority) as bed:
        client = await admitted(bed)
        client.reset()
        await bed.all_ended()
        await bed.server.until(lambda: bed.conversation.ended)
    assert bed.audit.events[-1].detail["ended"] == Ended.CLIENT_ABORTED


@on_a_poller
async def test_the_name_that_policy_sees_is_in_the_token_s_response(authority: Authority) -> None:
    """I64: a bearer response names its user too, and the mail server gets the canonical name there."""
    heard: list[bytes] = []

    async def takes_tokens(conversation: Conversation, line: bytes) -> bool:
        tag, *_, response = line.split(b" ")
        heard.append(base64.b64decode(response))
        conversation.say(tag + b" OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n")
        return True

    async with Bed(authority) as bed:
        bed.server.greeting = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2] ready\r\n"
        bed.server.script = takes_tokens
        bed.front.upstream_offers = frozenset({"AUTH=XOAUTH2"})
        bed.front.accounts = AccountSettings(names=IdentitySettings(default_domain="example.com"))
        client = await bed.greeted()
        response = base64.b64encode(b"user=Alice\x01auth=Bearer t\x01\x01")
        assert await client.ask(b"a AUTHENTICATE XOAUTH2 " + response + b"\r\n") == OK
    assert heard == [b"user=alice@example.com\x01auth=Bearer t\x01\x01"]
    assert {event.account for event in bed.audit.events} == {ALICE}


DELEGATED = base64.b64encode(b"Alice@example.com\0helper@example.com\0wonderland")


@pytest.mark.parametrize("is_allowed", [True, False])
@on_a_poller
async def test_i57_a_delegate_opens_anothers_mailbox_by_a_rule_only(authority: Authority, is_allowed: bool) -> None:
    """Both names go upstream, policy sees the mailbox's, and the records have the other's; without a rule nobody does."""
    rule = Delegation(authcid="helper@example.com", authzid="*@example.com", reason="helps")
    async with Bed(authority) as bed:
        bed.front.accounts = AccountSettings(delegations=(rule,) if is_allowed else ())
        client = await bed.greeted()
        reply = await client.ask(b"a AUTHENTICATE PLAIN " + DELEGATED + b"\r\n")
        if is_allowed:
            assert reply == OK
            assert bed.conversation.logins == [b"alice@example.com\0helper@example.com\0wonderland"]
        else:
            assert reply == b"a NO [AUTHORIZATIONFAILED] Acting as another user is not allowed.\r\n"
            assert bed.server.conversations == []
    facts = [(event.account, event.detail.get("authcid"), event.detail.get("authzid")) for event in bed.audit.events]
    if is_allowed:
        assert facts == [(ALICE, "helper@example.com", None)] * 2
    else:
        assert facts == [("helper@example.com", None, ALICE), ("helper@example.com", None, None)]


@on_a_poller
async def test_a_hint_from_before_tls_is_forgotten(authority: Authority) -> None:
    """Anybody between may have said it; the first under TLS counts, and changes nothing."""
    async with Bed(authority, tls=TlsMode.STARTTLS) as bed:
        client = await bed.connect()
        await client.line()
        await client.ask(b'h ID ("name" "between")\r\n')
        assert await client.ask(b"s STARTTLS\r\n") == b"s OK Begin TLS now.\r\n"
        await client.start_tls(bed.authority.client_context())
        await client.ask(b'i ID ("name" "K-9")\r\n')
        await client.ask(b'j ID ("name" "other")\r\n')
        assert await client.ask(LOGIN) == OK
    assert [event.detail.get("client_id") for event in bed.audit.events] == ["name=K-9", "name=K-9"]
