"""Binding: which device a session comes from, by the configured methods, strongest first.

The first method that answers wins. A certificate that names a device answers even when that device is not registered,
or belongs to somebody else: the session is then one of an unknown device, and never falls back to something weaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import ClientCertificate
from gatekeeper.ports.devices import Devices


class Method(StrEnum):
    """The binding methods there are."""

    CLIENT_CERTIFICATE = "client_certificate"
    USER = "user"


class CertificateField(StrEnum):
    """What in a certificate names the device."""

    SAN_URI = "san_uri"
    FINGERPRINT = "sha256"
    COMMON_NAME = "common_name"
    SERIAL_NUMBER = "serial_number"


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingSettings:
    """How sessions are tied to devices."""

    order: tuple[Method, ...] = (Method.CLIENT_CERTIFICATE, Method.USER)
    certificate_field: CertificateField = CertificateField.SAN_URI
    uri_prefix: str = "urn:gatekeeper:device:"
    """What stands before the device id in the SAN URI."""


Session = tuple[str, ClientCertificate | None]
"""Whose it is, and what it showed."""

_BY_USER = Binding(assurance=Assurance.USER, method=Method.USER)
_UNBOUND = Subject(binding=Binding(assurance=Assurance.CLAIMED, method="none"), postures=())


def identify_now(
    settings: BindingSettings, devices: Devices, account: str, certificate: ClientCertificate | None
) -> Subject | None:
    """The subject of a session from memory alone; None when the store has to be asked."""
    named = _named_device(settings, certificate)
    if named is not None:
        kind, value = named
        posture = devices.known_by_identifier(kind, value)
        return None if posture is None else _certified(value, posture, account)
    if Method.USER not in settings.order:
        return _UNBOUND
    postures = devices.known_of_account(account)
    return None if postures is None else Subject(binding=_BY_USER, postures=postures)


async def identify(
    settings: BindingSettings, devices: Devices, account: str, certificate: ClientCertificate | None
) -> Subject:
    """The subject of a session; raises `ports.devices.Unavailable`."""
    named = _named_device(settings, certificate)
    if named is not None:
        kind, value = named
        return _certified(value, await devices.by_identifier(kind, value), account)
    if Method.USER not in settings.order:
        return _UNBOUND
    return Subject(binding=_BY_USER, postures=await devices.of_account(account))


async def identify_many(
    settings: BindingSettings, devices: Devices, outline: Outline, sessions: Sequence[Session]
) -> list[Subject]:
    """The subjects of many sessions, in their order, as far as the policies of the outline can tell them apart.

    Raises `ports.devices.Unavailable`.
    """
    named = [_named_device(settings, certificate) for _, certificate in sessions]
    keys = {key for key in named if key is not None}
    accounts: set[str] = set()
    if Method.USER in settings.order:
        accounts = {account for (account, _), key in zip(sessions, named, strict=True) if key is None}
    of_accounts, of_keys = await devices.outlined(outline, accounts, keys)
    found = []
    for (account, _), key in zip(sessions, named, strict=True):
        if key is not None:
            found.append(_certified(key[1], of_keys.get(key), account))
        elif account in of_accounts:
            found.append(Subject(binding=_BY_USER, postures=of_accounts[account]))
        else:
            found.append(_UNBOUND)
    return found


def _named_device(settings: BindingSettings, certificate: ClientCertificate | None) -> tuple[str, str] | None:
    """The look-up key that the certificate gives, when it comes before `user` in the order."""
    if certificate is None or settings.order[:1] != (Method.CLIENT_CERTIFICATE,):
        return None
    match settings.certificate_field:
        case CertificateField.SAN_URI:
            prefix = settings.uri_prefix
            ids = [uri[len(prefix) :] for uri in certificate.san_uris if uri.startswith(prefix)]
            # None or several: the certificate names nobody in particular, which is nobody we know.
            return ("device_id", ids[0] if len(ids) == 1 else "")
        case CertificateField.FINGERPRINT:
            return ("certificate_sha256", certificate.sha256)
        case CertificateField.COMMON_NAME:
            return ("device_id", certificate.common_name or "")
        case CertificateField.SERIAL_NUMBER:
            return ("serial", certificate.serial_number or "")


def _certified(value: str, posture: Posture | None, account: str) -> Subject:
    device_id = DeviceId(value) if posture is None else posture.device.device_id
    binding = Binding(assurance=Assurance.PROVEN, method=Method.CLIENT_CERTIFICATE, claimed_device=device_id or None)
    if posture is None or posture.device.account != account:
        return Subject(binding=binding, postures=())
    return Subject(binding=binding, postures=(posture,))
