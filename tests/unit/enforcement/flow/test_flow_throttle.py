"""Failed log-ins are answered late, and a refusal is answered from memory: the flow with throttle and memory."""

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.decision.schema import parse_policy
from gatekeeper.enforcement.flow.front import Limits
from gatekeeper.gate.refusals import RefusalSettings
from gatekeeper.gate.throttle import AGAIN_S, ThrottleSettings
from testkit.flow_bed import POLICY, Bed, Conversation, on_a_poller
from testkit.flow_talk import CLOSED, ENDED, GONE, LOGIN, LOGIN_BOB, OK, UNAVAILABLE, WRONG, WRONG_LOGIN
from testkit.reports import BOB, NOTES, NOW, TIKTOK, phone, report
from testkit.tls import Authority

REFUSED = b"a NO [UNAVAILABLE] "


def slowing(authority: Authority, **limits: int) -> Bed:
    """A bed that slows failed log-ins as shipped."""
    return Bed(authority, throttle=ThrottleSettings(), limits=Limits(**limits) if limits else None)


def remembering(authority: Authority) -> Bed:
    """A bed that remembers refusals as shipped."""
    return Bed(authority, refusals=RefusalSettings())


async def is_held(bed: Bed, number: int = 1) -> None:
    """So many log-ins or answers are held back, after what the mail server said was heard."""
    await bed.audit.until(lambda: len(bed.front.holds) == number)


def let_pass(bed: Bed, seconds: float) -> None:
    bed.clock.advance(seconds)
    bed.front.tick()


# The throttle.


@on_a_poller
async def test_a_failed_log_in_is_answered_late(authority: Authority) -> None:
    """The record is there at once, the answer after two seconds, and four after the next failure."""
    async with slowing(authority) as bed:
        client = await bed.greeted()
        client.send(WRONG_LOGIN)
        for attempt, delay in ((1, 2), (2, 4)):
            await bed.audit.until(lambda attempt=attempt: len(bed.audit.events) == attempt)  # type: ignore[misc]
            assert len(bed.front.holds) == 1
            let_pass(bed, delay - 0.1)
            assert len(bed.front.holds) == 1
            let_pass(bed, 0.2)
            assert await client.reply(b"a") == WRONG
            client.send(WRONG_LOGIN)
        await bed.audit.until(lambda: len(bed.audit.events) == 3)
        let_pass(bed, 8)
        assert await client.reply(b"a") == WRONG
        assert await client.ask(LOGIN) == OK
    assert bed.codes() == [EventCode.CREDENTIALS_REFUSED] * 3 + ENDED


@on_a_poller
async def test_a_right_password_waits_for_a_failure_of_its_own_pair_only(authority: Authority) -> None:
    """The same account from here waits until the failure is answered; another account from here does not."""
    async with slowing(authority) as bed:
        first, second, third = await bed.greeted(), await bed.greeted(), await bed.greeted()
        first.send(WRONG_LOGIN)
        await is_held(bed)
        assert (await third.ask(LOGIN_BOB)).startswith(REFUSED)
        asked = len(bed.server.conversations)
        second.send(LOGIN)
        await bed.comes_true(lambda: len(bed.front.holds) == 2)
        assert len(bed.server.conversations) == asked
        let_pass(bed, 2)
        assert await first.reply(b"a") == WRONG
        assert await second.reply(b"a") == OK


@on_a_poller
async def test_from_another_source_the_account_is_not_slowed(authority: Authority) -> None:
    """Whoever guesses a colleague's password slows nobody but the account's own log-ins from the guesser's address."""
    async with slowing(authority) as bed:
        now = bed.clock.monotonic()
        for ago in range(400, 0, -20):
            assert bed.throttle.begin("alice@example.com", "203.0.113.9", now - ago) == 0
            bed.throttle.failed("alice@example.com", "203.0.113.9", now - ago, now - ago)
        assert await (await bed.greeted()).ask(LOGIN) == OK


@on_a_poller
async def test_a_log_in_that_waits_for_another_is_counted_once(authority: Authority) -> None:
    """However often it asks whether it is its turn."""

    async def silent(_conversation: Conversation, _line: bytes) -> bool:
        return False

    async with slowing(authority) as bed:
        first, second = await bed.greeted(), await bed.greeted()
        first.send(WRONG_LOGIN)
        await is_held(bed)
        let_pass(bed, 2)
        assert await first.reply(b"a") == WRONG
        assert bed.throttle.held == 1
        before, bed.server.script = bed.server.script, silent
        first.send(LOGIN)
        await bed.server.until(lambda: len(bed.server.conversations) == 2 and bed.conversation.received)
        second.send(LOGIN)
        for _ in range(5):
            await bed.comes_true(lambda: len(bed.front.holds) == 1)
            let_pass(bed, AGAIN_S)
        assert bed.throttle.held == 2
        bed.server.script = before
        bed.conversation.say(
            bed.conversation.received.split(b" ")[0] + b" OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n"
        )
        assert await first.reply(b"a") == OK
        let_pass(bed, AGAIN_S)
        assert await second.reply(b"a") == OK


@on_a_poller
async def test_refusals_by_policy_are_not_slowed(authority: Authority) -> None:
    """However often the phone tries."""
    async with slowing(authority, max_attempts=20) as bed:
        client = await bed.greeted()
        for _ in range(10):
            assert (await client.ask(LOGIN_BOB)).startswith(REFUSED)
    assert bed.throttle.failures == 0
    assert bed.throttle.held == 0


@on_a_poller
async def test_temporary_failures_are_not_slowed(authority: Authority) -> None:
    """Nor are faults of the mail server."""

    async def busy(conversation: Conversation, line: bytes) -> bool:
        conversation.say(line.split(b" ")[0] + b" NO [UNAVAILABLE] Come back.\r\n")
        return False

    async def broken(conversation: Conversation, _line: bytes) -> bool:
        conversation.writer.close()
        return False

    async with slowing(authority) as bed:
        client = await bed.greeted()
        for script in (busy, busy, broken, broken):
            bed.server.script = script
            assert (await client.ask(WRONG_LOGIN)).startswith(b"a NO [UNAVAILABLE]")
        assert len(bed.front.holds) == 0
    assert bed.throttle.failures == 0
    assert len(bed.throttle) == 0


@on_a_poller
async def test_who_does_not_wait_for_the_answer_has_failed(authority: Authority) -> None:
    """A guess costs its delay even when the guesser hangs up before the mail server has spoken."""

    async def silent(_conversation: Conversation, _line: bytes) -> bool:
        return False

    async with slowing(authority) as bed:
        bed.server.script = silent
        client = await bed.greeted()
        client.send(WRONG_LOGIN)
        await bed.server.until(lambda: bed.server.conversations and bed.conversation.received)
        await client.close()
        await bed.all_ended()
        assert bed.throttle.failures == 1
        other = await bed.greeted()
        other.send(LOGIN)
        await bed.comes_true(lambda: len(bed.front.holds) == 1)


@on_a_poller
async def test_what_is_held_ends_with_its_connection(authority: Authority) -> None:
    """A client that goes, and a deadline: nothing is left behind, and nothing is said afterwards."""
    async with slowing(authority) as bed:
        first, second = await bed.greeted(), await bed.greeted()
        first.send(WRONG_LOGIN)
        await is_held(bed)
        second.send(b"b LOGIN bob@example.com guess\r\n")
        await is_held(bed, 2)
        first.reset()
        await bed.audit.until(lambda: len(bed.audit.terminal()) == 1)
        assert len(bed.front.holds) == 1
        bed.front.say_goodbye()
        assert await second.rest() == b"* BYE The server is shutting down; please reconnect.\r\n"
        assert len(bed.front.holds) == 0
        let_pass(bed, 60)


@on_a_poller
async def test_octets_behind_a_held_log_in_are_kept_and_bounded(authority: Authority) -> None:
    """They are answered after it; no more than one read of them is taken meanwhile."""
    async with slowing(authority) as bed:
        client = await bed.greeted()
        client.send(WRONG_LOGIN + b"n NOOP\r\n")
        await is_held(bed)
        client.send(b"o NOOP\r\n" * 2)
        let_pass(bed, 2)
        assert await client.reply(b"n") == WRONG + b"n OK Done.\r\n"
        assert await client.reply(b"o") == b"o OK Done.\r\n"


@on_a_poller
async def test_a_name_without_a_canonical_form_is_slowed_like_a_wrong_password(authority: Authority) -> None:
    """Or the speed of the answer would tell which names exist."""
    async with slowing(authority) as bed:
        client = await bed.greeted()
        client.send(b'a LOGIN "alice*admin" guess\r\n')
        await is_held(bed)
        let_pass(bed, 2)
        assert await client.reply(b"a") == WRONG


@on_a_poller
async def test_a_bug_met_after_a_delay_is_its_connections_own(authority: Authority) -> None:
    """The timer goes on, and the client is told fixed words."""
    async with slowing(authority) as bed:
        first, second = await bed.greeted(), await bed.greeted()
        first.send(WRONG_LOGIN)
        await is_held(bed)
        second.send(b"a LOGIN bob@example.com guess\r\n")
        await is_held(bed, 2)
        flow = bed.front.waiting.owners()[0]
        flow._dialogue._code = None  # type: ignore[attr-defined]
        flow._dialogue._receiver = None  # type: ignore[attr-defined]
        let_pass(bed, 2)
        assert await first.rest() == WRONG + GONE
        assert await second.reply(b"a") == WRONG


# The memory of refusals.


async def refuse_bob(bed: Bed) -> bytes:
    """A connection of its own, as phones do it; what it heard."""
    client = await bed.greeted()
    heard = await client.ask(LOGIN_BOB)
    await client.close()
    return heard


@on_a_poller
async def test_a_phone_that_retries_costs_the_mail_server_nothing(authority: Authority) -> None:
    """The same text every time, each recorded as a decision, one log-in upstream."""
    async with remembering(authority) as bed:
        heard = {await refuse_bob(bed) for _ in range(30)}
        assert len(heard) == 1
        assert heard.pop().startswith(REFUSED)
        assert len(bed.server.conversations) == 1
        assert bed.refusals.answered == 29
    assert bed.codes().count(EventCode.BLOCKED_APP) == bed.codes().count(CLOSED) == 30


@on_a_poller
async def test_a_wrong_password_is_never_answered_from_memory(authority: Authority) -> None:
    """It goes to the mail server, and what it says ends the memory: the right one goes there again too."""
    async with remembering(authority) as bed:
        await refuse_bob(bed)
        client = await bed.greeted()
        assert await client.ask(b"a LOGIN bob@example.com guess\r\n") == WRONG
        assert len(bed.server.conversations) == 2
        assert len(bed.refusals) == 0
        await refuse_bob(bed)
        assert len(bed.server.conversations) == 3


@on_a_poller
async def test_a_phone_that_is_clean_again_gets_in_at_once(authority: Authority) -> None:
    """New evidence ends the memory."""
    async with remembering(authority) as bed:
        await refuse_bob(bed)
        await bed.registry.apply([report(phone("ph-2", BOB), NOTES)], now=NOW)
        client = await bed.greeted()
        assert (await client.ask(LOGIN_BOB)).startswith(b"a OK ")
        assert len(bed.refusals) == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(b'[[exemption]]\nid = "e"\nrule = "no-tiktok"\nusers = ["bob@example.com"]\nexpires = "2999-01-01"\n'
                     b'reason = "r"\napproved_by = ["c@example.com"]\n', id="exemption"),
        pytest.param(b"# another text\n", id="policy"),
    ],
)  # fmt: skip
@on_a_poller
async def test_a_change_of_policy_ends_the_memory(authority: Authority, change: bytes) -> None:
    """The mail server is asked again, also when the verdict stays."""
    async with remembering(authority) as bed:
        await refuse_bob(bed)
        bed.gate.redecision.replace_policy(parse_policy(POLICY + change, source="policy.toml"))
        heard = await refuse_bob(bed)
        assert len(bed.server.conversations) == 2
        assert heard.startswith(b"a OK " if b"exemption" in change else REFUSED)


@on_a_poller
async def test_new_evidence_of_the_same_app_ends_the_memory(authority: Authority) -> None:
    """The record of the refusal must name the evidence that it rests on."""
    async with remembering(authority) as bed:
        await refuse_bob(bed)
        bed.clock.advance(1)
        await bed.registry.apply([report(phone("ph-2", BOB), TIKTOK, NOTES)], now=bed.clock.now())
        await refuse_bob(bed)
        assert len(bed.server.conversations) == 2


@on_a_poller
async def test_age_ends_the_memory(authority: Authority) -> None:
    """Retrying does not make it last."""
    async with remembering(authority) as bed:
        for _ in range(4):
            await refuse_bob(bed)
            bed.clock.advance(199)
        assert len(bed.server.conversations) == 1
        await refuse_bob(bed)
        assert len(bed.server.conversations) == 2


@on_a_poller
async def test_another_mechanism_or_mailbox_is_not_the_same(authority: Authority) -> None:
    """What was remembered is for exactly what was shown."""
    async with remembering(authority) as bed:
        await refuse_bob(bed)
        client = await bed.greeted()
        assert (await client.ask(b"a AUTHENTICATE PLAIN AGJvYkBleGFtcGxlLmNvbQB3b25kZXJsYW5k\r\n")).startswith(REFUSED)
        assert len(bed.server.conversations) == 2
        assert await client.ask(LOGIN) == OK


@on_a_poller
async def test_without_an_audit_log_nothing_is_answered_from_memory(authority: Authority) -> None:
    """A fault of ours is told as one."""
    async with remembering(authority) as bed:
        await refuse_bob(bed)
        bed.audit.writable = False
        assert await refuse_bob(bed) == UNAVAILABLE
        bed.audit.writable = True
        bed.audit.durable = False
        assert await refuse_bob(bed) == UNAVAILABLE


@on_a_poller
async def test_a_remembered_refusal_forgives_earlier_failures(authority: Authority) -> None:
    """It proves the password, as the mail server's word would."""
    async with Bed(authority, refusals=RefusalSettings(), throttle=ThrottleSettings()) as bed:
        await refuse_bob(bed)
        await refuse_bob(bed)
        assert bed.refusals.answered == 1
        assert not bed.throttle._under_way
