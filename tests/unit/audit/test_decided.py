"""Decisions read back from the log."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from gatekeeper.audit.decided import read_decided
from gatekeeper.audit.event import EventCode
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance
from gatekeeper.domain.request import MailProtocol
from testkit.audit_log import BLOCKED, NOW, event, line

JUDGED = replace(BLOCKED, judged=((DeviceId("ph-001"), 17), (DeviceId("a@b"), 18)))


def test_a_decision_comes_back_with_all_that_deciding_again_needs() -> None:
    """Who, over what, from where, tied how, judged on which postures, by which policy, and what came out."""
    found = read_decided(line(event("abc", decision=JUDGED), 12345))

    assert found is not None
    assert (found.sequence, found.code, found.time_ms) == (12345, "GK1002W", 1594400400000)
    assert (found.verdict, found.rules, found.times, found.start_ms) == (Verdict.BLOCK, ("no-tiktok",), 1, None)
    assert (found.account, found.protocol, found.listener) == ("alice@example.com", MailProtocol.IMAP, "imaps")
    assert (found.address, found.prefix) == ("198.51.100.0", 24)
    assert (found.assurance, found.method, found.device) == (Assurance.PROVEN, "client_certificate", "ph-001")
    assert found.judged == (("ph-001", 17), ("a@b", 18))
    assert (found.policy_sha256, found.engine, found.is_waived) == ("a" * 64, "1", False)


def test_a_counted_record_stands_for_several() -> None:
    """From when to when."""
    counted = event("abc", decision=JUDGED, count=5, start_time=NOW - timedelta(minutes=1))
    found = read_decided(line(counted))

    assert found is not None
    assert (found.times, found.start_ms, found.time_ms) == (5, 1594400340000, 1594400400000)


def test_what_break_glass_let_through_says_so() -> None:
    """The policy had refused it."""
    found = read_decided(line(event("abc", decision=JUDGED, detail={"break_glass": "open"})))

    assert found is not None
    assert found.is_waived


def test_what_is_no_decision_is_passed_over() -> None:
    """Ends of sessions, changes of the policy, damaged lines of any other kind."""
    assert read_decided(line(event("abc", code=EventCode.SESSION_ENDED, decision=None))) is None
    assert read_decided(b"{") is None


def test_what_evidence_says_of_a_device_is_no_log_in() -> None:
    """It is on record with the policy's word on the device, but there is no session to decide on again."""
    for code in (EventCode.EVIDENCE_ACCEPTED, EventCode.DEVICE_DENIED, EventCode.DEVICE_CLEAN):
        assert read_decided(line(event(code=code, connection=None, account=None, decision=JUDGED))) is None


def test_what_is_not_recorded_is_not_known() -> None:
    """A record of an earlier version does not name what was judged."""
    document = json.loads(line(event("abc", decision=JUDGED)))
    del document["unmapped"]["gatekeeper"]["judged"]
    found = read_decided(json.dumps(document, separators=(",", ":")).encode())

    assert found is not None
    assert found.judged is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"status_code":"block.', b'"status_code":"perhaps.'),
        (b'"svc_name":"imap"', b'"svc_name":"fax"'),
        (b'"ph-001@17"', b'"ph-001"'),
        (b'"time":1594400400000', b'"time":"now"'),
        (b'"binding":"proven"', b'"binding":"sworn"'),
    ],
    ids=["verdict", "protocol", "revision", "time", "binding"],
)
def test_a_damaged_decision_is_told(old: bytes, new: bytes) -> None:
    """It is neither guessed nor passed over."""
    data = line(event("abc", decision=JUDGED))
    assert old in data
    with pytest.raises(ValueError, match=r"."):
        read_decided(data.replace(old, new))
