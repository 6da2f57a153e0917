"""Which device a session is judged by: the one its client certificate names, or all mobile devices of the user."""

import ssl
from collections.abc import Callable

import pytest

from testkit.bed import ALICE, BOB
from testkit.dovecot import Dovecot
from testkit.gate import GateProcess, coded, detail, upstream
from testkit.inventory import TIKTOK, device
from testkit.postfix import Postfix
from testkit.sessions import imap_login_reply, imap_session, smtp_login_reply
from testkit.tls import Authority

LAPTOP = "lt-bob"


@pytest.fixture
def gate(make_gate: Callable[..., GateProcess], dovecot: Dovecot, postfix: Postfix) -> GateProcess:
    """Run a gate that also knows BOB's laptop and a clean second phone of his."""
    gate = make_gate({"upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)}})
    gate.register(device(LAPTOP, BOB.login, platform="linux", device_class="laptop"), device("ph-bob-2", BOB.login))
    return gate


def _with(authority: Authority, issuer: Authority, device_id: str) -> ssl.SSLContext:
    return authority.client_context(issuer.device_certificate(device_id))


def test_a_laptop_with_its_certificate_is_judged_alone(
    gate: GateProcess, servers_ca: Authority, devices_ca: Authority
) -> None:
    """BOB's laptop gets in although his phone is denied, and the decision says that the binding is proven."""
    context = _with(servers_ca, devices_ca, LAPTOP)

    imap_session(gate.ports.imaps, context, BOB).close()
    allowed = gate.wait_for_record(lambda record: bool(coded([record], "GK1001I")))
    assert detail(allowed)["binding"] == "proven"
    assert smtp_login_reply(gate.ports.submissions, context, BOB).startswith(b"235")


def test_without_certificate_all_phones_of_the_user_count(gate: GateProcess, context: ssl.SSLContext) -> None:
    """One denied phone refuses the sessions that cannot be tied to a device."""
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")
    refused = gate.wait_for_record(lambda record: bool(coded([record], "GK1002W")))

    assert detail(refused)["binding"] == "user"


def test_each_phone_with_its_certificate_is_judged_alone(
    gate: GateProcess, servers_ca: Authority, devices_ca: Authority
) -> None:
    """BOB's second phone gets in by its certificate, the one with TikTok does not."""
    clean, denied = (_with(servers_ca, devices_ca, name) for name in ("ph-bob-2", "ph-bob"))

    assert imap_login_reply(gate.ports.imaps, clean, BOB).startswith(b"OK")
    assert imap_login_reply(gate.ports.imaps, denied, BOB).startswith(b"NO [UNAVAILABLE]")


def test_a_laptop_with_a_denied_app_stays_out_of_the_rule(
    gate: GateProcess, servers_ca: Authority, devices_ca: Authority
) -> None:
    """The rule's scope is mobile devices: the same app on a laptop changes nothing."""
    gate.register(device("lt-2", BOB.login, TIKTOK, platform="linux", device_class="laptop"))

    assert imap_login_reply(gate.ports.imaps, _with(servers_ca, devices_ca, "lt-2"), BOB).startswith(b"OK")


def test_another_users_device_does_not_help(gate: GateProcess, servers_ca: Authority, devices_ca: Authority) -> None:
    """A certificate of ALICE's clean phone does not let BOB in."""
    context = _with(servers_ca, devices_ca, "ph-alice")

    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"OK")
    assert imap_login_reply(gate.ports.imaps, context, BOB).startswith(b"NO [UNAVAILABLE]")


def test_a_certificate_for_an_unregistered_device_does_not_help(
    gate: GateProcess, servers_ca: Authority, devices_ca: Authority
) -> None:
    """A device that is not on record is an unknown device, whoever's phones are clean."""
    context = _with(servers_ca, devices_ca, "ph-nobody-knows")

    assert imap_login_reply(gate.ports.imaps, context, ALICE).startswith(b"NO [UNAVAILABLE]")


def test_a_certificate_of_a_foreign_ca_is_not_taken(
    gate: GateProcess, servers_ca: Authority, foreign_ca: Authority
) -> None:
    """Whoever shows a certificate that does not chain to `client_ca` gets no log-in by it."""
    context = _with(servers_ca, foreign_ca, LAPTOP)
    try:
        reply = imap_login_reply(gate.ports.imaps, context, BOB)
    except (OSError, AssertionError):
        return  # the handshake was refused: TLS 1.3 tells the client with its first read
    assert reply.startswith(b"NO [UNAVAILABLE]")
