"""Tests of a policy as text."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.decision.cases import Cases, read_cases
from gatekeeper.domain.decision import Reason, Verdict
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.posture import Assurance
from gatekeeper.domain.request import MailProtocol

from .samples import at

DEVICE = '[device.a]\nuser = "A@example.com"\nplatform = "ios"\napps = [{ id = "com.a", version_code = 7 }]\n'


def read(text: str) -> Cases:
    return read_cases(f"schema = 1\n{text}".encode(), source="p.test.toml")


def test_reads_everything() -> None:
    """Every key arrives."""
    found = read(
        'policy = "other.toml"\nzone = "Europe/Berlin"\n' + DEVICE + 'collected = "2h"\nos_version = "17"\n'
        'flags = { compromised = true }\nfirst_seen = "2020-07-01"\nownership = "company"\n'
        '[[test]]\nname = "n"\nat = "2020-07-10T12:00:00"\ndevices = ["a"]\n'
        'session = { protocol = "smtp", address = "192.0.2.1", languages = ["de"], binding = "user", listener = "l" }\n'
        'expect = { verdict = "block", rules = ["r"], reasons = ["app.match", "exempt"], message = "m", deadline = 2020-07-11 }\n'
    )
    (case,) = found.cases
    assert (found.policy, case.name, case.place) == ("other.toml", "n", "p.test.toml: test[0]")
    assert case.now == at("2020-07-10T12:00:00+02:00")
    (posture,) = case.subject.postures
    assert posture.result is not None
    assert posture.result.collected_at == at("2020-07-10T10:00:00+02:00")
    assert posture.result.apps.apps[0].version_code == 7
    assert posture.device.first_seen == at("2020-07-01T00:00:00+02:00")
    assert case.subject.binding.assurance is Assurance.USER
    assert (case.request.account, case.request.protocol) == ("a@example.com", MailProtocol.SMTP)
    assert (case.request.client_address, case.request.languages, case.request.listener) == ("192.0.2.1", ("de",), "l")
    assert (case.expected.verdict, case.expected.rules) == (Verdict.BLOCK, ("r",))
    assert case.expected.reasons == (Reason.APP_MATCH, Reason.EXEMPT)
    assert case.expected.deadline == at("2020-07-11T00:00:00+02:00")


def test_the_short_form() -> None:
    """The session is of the device's owner and tied to it, the evidence as fresh as can be."""
    (case,) = read(
        DEVICE + '[[test]]\nname = "n"\nat = 2020-07-10\ndevices = ["a"]\nexpect = { verdict = "allow" }'
    ).cases
    assert case.subject.binding.assurance is Assurance.PROVEN
    assert case.subject.postures[0].result is not None
    assert case.subject.postures[0].result.collected_at == case.now
    assert case.request.account == "a@example.com"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "test: is required: at least one [[test]]"),
        ("[[test]]", "test[0].at: is required"),
        ("[[test]]", "test[0].name: is required"),
        ("[[test]]", "test[0].session.user: is required"),
        ("[[test]]", "test[0].expect.verdict: is required"),
        (DEVICE + '[[test]]\ndevices = ["b"]', "test[0].devices[0]: there is no [device.b]"),
        ('[[test]]\nexpect = { verdict = "blok" }', "`blok` is not one of allow, warn, quarantine, block"),
        ('[[test]]\nexpect = { verdikt = "block" }', "test[0].expect.verdikt: unknown key (did you mean `verdict`?)"),
        ('[[test]]\nexpect = { reasons = ["app"] }', "test[0].expect.reasons[0]: `app` is not one of clean, app.match"),
        ("[device.a]", "device.a.user: is required"),
        ("[device.a]\nuser = '*'", "device.a.user: `*` is not an account"),
        (DEVICE + "collected = 'soon'", "device.a.collected: `soon` is neither an age"),
        (DEVICE + "flags = { rooted = true }", "device.a.flags.rooted: unknown key"),
    ],
)
def test_faults(text: str, expected: str) -> None:
    """All at once, each with its key."""
    with pytest.raises(DocumentError) as error:
        read(text)
    assert any(expected in str(fault) for fault in error.value.faults), error.value.faults


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.binary(max_size=60),
    st.sampled_from(
        ["", DEVICE, DEVICE + "[[test]]\n", DEVICE + 'collected = "99999999d"\n[[test]]\ndevices = ["a"]\n']
    ),
)
def test_any_bytes_are_tests_or_a_list_of_faults(data: bytes, before: str) -> None:
    """Nothing else comes out of the reader."""
    with suppress(DocumentError):
        read_cases(b"schema = 1\n" + before.encode() + data, source="p")
