"""Binding: which device a session comes from."""

import pytest

from gatekeeper.domain.posture import Assurance, Subject
from gatekeeper.domain.request import ClientCertificate
from gatekeeper.gate.identify import BindingSettings, CertificateField, Method, identify, identify_now
from testkit.memory_registry import MemoryDevices, MemoryRegistry
from testkit.reports import ALICE, BOB, NOW, phone, report

FINGERPRINT = "ab" * 32
PREFIX = "urn:gatekeeper:device:"
CERTIFICATE = ClientCertificate(
    sha256=FINGERPRINT, san_uris=("https://x.example", PREFIX + "ph-1"), common_name="ph-1", serial_number="S-1"
)


@pytest.fixture
async def devices() -> MemoryDevices:
    """Two phones of alice's and one of bob's."""
    registry = MemoryRegistry()
    first = phone("ph-1", identifiers={"certificate_sha256": FINGERPRINT, "serial": "S-1"})
    await registry.apply([report(first), report(phone("ph-2")), report(phone("ph-3", BOB))], now=NOW)
    return MemoryDevices(registry)


async def _both(
    settings: BindingSettings, devices: MemoryDevices, account: str, certificate: ClientCertificate | None
) -> Subject:
    """Ask memory and store: where memory answers, it answers the same."""
    found = await identify(settings, devices, account, certificate)
    at_once = identify_now(settings, devices, account, certificate)
    assert at_once in (found, None)
    return found


def _ids(subject: Subject) -> list[str]:
    return [posture.device.device_id for posture in subject.postures]


@pytest.mark.parametrize("field", list(CertificateField))
async def test_a_certificate_names_its_device_by_the_configured_field(
    devices: MemoryDevices, field: CertificateField
) -> None:
    """One device, with proven assurance."""
    subject = await _both(BindingSettings(certificate_field=field), devices, ALICE, CERTIFICATE)

    assert _ids(subject) == ["ph-1"]
    assert subject.binding.assurance is Assurance.PROVEN
    assert (subject.binding.method, subject.binding.claimed_device) == ("client_certificate", "ph-1")


@pytest.mark.parametrize(
    ("field", "certificate", "claimed"),
    [
        (CertificateField.SAN_URI, ClientCertificate(sha256="00", san_uris=(PREFIX + "ph-9",)), "ph-9"),
        (CertificateField.SAN_URI, ClientCertificate(sha256="00"), None),
        (CertificateField.SAN_URI, ClientCertificate(sha256="00", san_uris=(PREFIX,)), None),
        (CertificateField.SAN_URI, ClientCertificate(sha256="00", san_uris=(PREFIX + "ph-1", PREFIX + "ph-2")), None),
        (CertificateField.FINGERPRINT, ClientCertificate(sha256="00"), "00"),
        (CertificateField.COMMON_NAME, ClientCertificate(sha256="00"), None),
        (CertificateField.COMMON_NAME, ClientCertificate(sha256="00", common_name="ph-9"), "ph-9"),
        (CertificateField.SERIAL_NUMBER, ClientCertificate(sha256="00"), None),
    ],
)
async def test_a_certificate_of_no_registered_device_is_an_unknown_device(
    devices: MemoryDevices, field: CertificateField, certificate: ClientCertificate, claimed: str | None
) -> None:
    """It never falls back to the weaker binding by user, whose phones may be clean."""
    subject = await _both(BindingSettings(certificate_field=field), devices, ALICE, certificate)

    assert subject.postures == ()
    assert subject.binding.assurance is Assurance.PROVEN
    assert subject.binding.claimed_device == claimed


async def test_a_certificate_of_another_users_device_is_an_unknown_device(devices: MemoryDevices) -> None:
    """Bob cannot log in on alice's phone's certificate; the record says which it was."""
    subject = await _both(BindingSettings(), devices, BOB, CERTIFICATE)

    assert subject.postures == ()
    assert subject.binding.claimed_device == "ph-1"


@pytest.mark.parametrize(("account", "ids"), [(ALICE, ["ph-1", "ph-2"]), (BOB, ["ph-3"]), ("nobody@example.com", [])])
async def test_without_a_certificate_all_devices_of_the_user_count(
    devices: MemoryDevices, account: str, ids: list[str]
) -> None:
    """The weakest binding, which works with any client."""
    subject = await _both(BindingSettings(), devices, account, None)

    assert _ids(subject) == ids
    assert (subject.binding.assurance, subject.binding.method) == (Assurance.USER, "user")


async def test_without_user_in_the_order_a_session_without_certificate_is_unbound(devices: MemoryDevices) -> None:
    """An unknown device, whatever the user has registered."""
    only = BindingSettings(order=(Method.CLIENT_CERTIFICATE,))
    subject = await _both(only, devices, ALICE, None)
    assert (subject.postures, subject.binding.method) == ((), "none")
    assert _ids(await _both(only, devices, ALICE, CERTIFICATE)) == ["ph-1"]
    assert (await _both(BindingSettings(order=()), devices, ALICE, CERTIFICATE)).binding.method == "none"


@pytest.mark.parametrize("order", [(Method.USER,), (Method.USER, Method.CLIENT_CERTIFICATE)])
async def test_the_first_method_that_answers_wins(devices: MemoryDevices, order: tuple[Method, ...]) -> None:
    """`user` always answers: what stands behind it is never asked."""
    subject = await _both(BindingSettings(order=order), devices, ALICE, CERTIFICATE)
    assert subject.binding.method == "user"


async def test_memory_that_does_not_know_says_so() -> None:
    """None is not an empty answer: the store has to be asked."""
    registry = MemoryRegistry()
    registry.is_available = False
    devices = MemoryDevices(registry)
    assert identify_now(BindingSettings(), devices, ALICE, None) is None
    assert identify_now(BindingSettings(), devices, ALICE, CERTIFICATE) is None
