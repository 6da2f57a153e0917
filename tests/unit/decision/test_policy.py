"""The rule tree."""

import itertools

import pytest

from gatekeeper.decision.policy import ByOwnership, Phases, UnknownDevice, strictest
from gatekeeper.domain.decision import Phase, Verdict
from gatekeeper.domain.device import DeviceClass, Ownership, Platform
from gatekeeper.domain.request import MailProtocol

from .samples import NOON, at, policy, rule

ALLOW, WARN, BLOCK = Verdict.ALLOW, Verdict.WARN, Verdict.BLOCK


@pytest.mark.parametrize(
    ("entries", "protocol", "device_class", "expected"),
    [
        (UnknownDevice(default=WARN), MailProtocol.IMAP, None, WARN),
        (UnknownDevice(default=BLOCK, by_protocol={MailProtocol.SMTP: WARN}), MailProtocol.SMTP, None, WARN),
        (UnknownDevice(default=BLOCK, by_protocol={MailProtocol.SMTP: WARN}), MailProtocol.IMAP, None, BLOCK),
        (UnknownDevice(default=WARN, by_class={DeviceClass.MOBILE: BLOCK}), MailProtocol.IMAP, None, BLOCK),
        (UnknownDevice(default=BLOCK, by_class={DeviceClass.MOBILE: ALLOW}), MailProtocol.IMAP, None, BLOCK),
        (
            UnknownDevice(default=BLOCK, by_class={DeviceClass.MOBILE: ALLOW}),
            MailProtocol.IMAP,
            DeviceClass.MOBILE,
            ALLOW,
        ),
        (
            UnknownDevice(default=BLOCK, by_class={DeviceClass.MOBILE: WARN, DeviceClass.LAPTOP: ALLOW}),
            MailProtocol.IMAP,
            None,
            WARN,
        ),
        (
            UnknownDevice(by_protocol={MailProtocol.SMTP: ALLOW}, by_class={DeviceClass.MOBILE: WARN}),
            MailProtocol.SMTP,
            DeviceClass.MOBILE,
            WARN,
        ),
    ],
)
def test_an_unknown_device_takes_the_strictest_entry_that_can_apply(
    entries: UnknownDevice, protocol: MailProtocol, device_class: DeviceClass | None, expected: Verdict
) -> None:
    """Its class is not known, so the entry of any class may be the right one."""
    assert entries.action(protocol, device_class) is expected


def test_unknown_ownership_takes_the_stricter_action() -> None:
    """Whichever of the two that is."""
    for company, personal in itertools.product((ALLOW, WARN, BLOCK), repeat=2):
        actions = ByOwnership(company=company, personal=personal)
        assert actions.action(Ownership.COMPANY) is company
        assert actions.action(Ownership.PERSONAL) is personal
        assert actions.action(None) is strictest((company, personal))


def test_phases_by_instant() -> None:
    """A phase begins at its instant, and the latest that has begun counts."""
    phases = Phases(
        observe=at("2020-07-01T00:00:00Z"), warn=at("2020-07-05T00:00:00Z"), enforce=at("2020-07-09T00:00:00Z")
    )
    assert phases.at(at("2020-06-30T23:59:59Z")) is None
    assert phases.at(at("2020-07-01T00:00:00Z")) is Phase.OBSERVE
    assert phases.at(at("2020-07-05T00:00:00Z")) is Phase.WARN
    assert phases.at(at("2020-07-08T23:59:59Z")) is Phase.WARN
    assert phases.at(at("2020-07-09T00:00:00Z")) is Phase.ENFORCE
    assert Phases(warn=NOON).at(at("2030-01-01T00:00:00Z")) is Phase.WARN


def test_is_compiled_for_every_platform_and_shows_no_names() -> None:
    """Look-ups cannot miss, and a policy in a log names no person."""
    parsed = policy(rule("{ id = 'a' }", 'scope = { users = ["alice@example.com"] }'))
    assert set(parsed.indexes) == set(Platform)
    assert "alice" not in repr(parsed)
    assert repr(parsed) == f"Policy({parsed.sha256[:12]}, 1 rules)"
