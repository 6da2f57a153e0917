"""The set of open sessions, and what concerns which of them."""

from dataclasses import replace
from datetime import datetime, timedelta

from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding
from gatekeeper.domain.request import MailProtocol, Request
from gatekeeper.gate.sessions import Admission, LiveSessions
from testkit.audit_log import BLOCKED, NOW, connection

MINUTE = timedelta(minutes=1)


def admission(
    account: str = "alice@example.com",
    *,
    until: datetime | None = None,
    device: str | None = None,
    claimed: str | None = None,
) -> Admission:
    """An open session."""
    binding = Binding(
        assurance=Assurance.PROVEN, method="client_certificate", claimed_device=DeviceId(claimed) if claimed else None
    )
    return Admission(
        connection=connection(),
        request=Request(account=account, protocol=MailProtocol.IMAP, listener="imaps"),
        certificate=None,
        mechanism="PLAIN",
        decision=replace(BLOCKED, valid_until=until, device_id=DeviceId(device) if device else None, binding=binding),
    )


def test_sessions_become_due_at_their_instant() -> None:
    """Not before; the others and those without an instant stay."""
    sessions = LiveSessions()
    first, second, never = (
        admission(until=NOW + MINUTE),
        admission(until=NOW + 3 * MINUTE),
        admission(until=None),
    )
    for one in (second, never, first):
        sessions.add(one)

    assert sessions.due(NOW) == ()
    assert sessions.due(NOW + MINUTE) == (first,)
    sessions.discard(first)
    assert sessions.due(NOW + 2 * MINUTE) == ()
    assert sessions.due(NOW + 3 * MINUTE) == (second,)
    assert len(sessions) == 2


def test_an_earlier_expectation_counts() -> None:
    """A new decision with an earlier instant moves the next look forward."""
    sessions = LiveSessions()
    one = admission(until=NOW + 5 * MINUTE)
    sessions.add(one)
    one.decision = replace(one.decision, valid_until=NOW + MINUTE)
    sessions.expect(one.decision.valid_until)
    sessions.expect(NOW + 9 * MINUTE)
    sessions.expect(None)

    assert sessions.due(NOW + MINUTE) == (one,)


def test_a_change_concerns_accounts_and_devices() -> None:
    """By the owner, by the device that decided, and by the device that a certificate claimed."""
    sessions = LiveSessions()
    by_account, by_device, by_claim, other = (
        admission("alice@example.com"),
        admission("bob@example.com", device="ph-1"),
        admission("carol@example.com", claimed="ph-1"),
        admission("dave@example.com", device="ph-2"),
    )
    for one in (by_account, by_device, by_claim, other):
        sessions.add(one)

    found = sessions.concerned(frozenset({"alice@example.com"}), frozenset({DeviceId("ph-1")}))
    assert set(found) == {by_account, by_device, by_claim}
    assert set(sessions.all()) == {by_account, by_device, by_claim, other}


def test_an_ended_session_is_in_no_answer() -> None:
    """Discarding twice is nothing."""
    sessions = LiveSessions()
    one = admission(until=NOW)
    sessions.add(one)
    assert one in sessions
    sessions.discard(one)
    sessions.discard(one)
    assert one not in sessions
    assert sessions.due(NOW) == sessions.all() == ()


def test_a_session_that_has_not_begun_can_be_cut() -> None:
    """There is nothing to cut yet."""
    admission().cut()
