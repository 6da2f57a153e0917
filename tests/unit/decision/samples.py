"""Builders of policies, devices and lists for the tests of the decision."""

from collections.abc import Sequence
from datetime import UTC, datetime

from gatekeeper.decision.policy import Policy
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.posture import Assurance, AttestationResult, Binding, Posture, Scope, Subject
from gatekeeper.domain.request import MailProtocol, Request

NOON = datetime(2020, 7, 10, 12, tzinfo=UTC)
TIKTOK = App(id="com.zhiliaoapp.musically", name="TikTok", version="16.6.5", version_code=2021606050)
NOTES = App(id="com.example.notes", name="Notes", version="1.0")
SIGNER = "ab" * 32

RULE = """
[[rule]]
id = "no-tiktok"
apps = [{ id = "com.zhiliaoapp.musically" }]
phases = { enforce = "2020-01-01" }
"""


def at(text: str) -> datetime:
    """An instant from RFC 3339 text."""
    return datetime.fromisoformat(text)


def policy(text: str) -> Policy:
    """A policy without its first line."""
    return parse_policy(f"schema = 1\n{text}".encode(), source="policy.toml")


def rule(apps: str, extra: str = "", *, rule_id: str = "r", phases: str = 'enforce = "2020-01-01"') -> str:
    """One rule's text."""
    return f'[[rule]]\nid = "{rule_id}"\napps = [{apps}]\nphases = {{ {phases} }}\n{extra}\n'


def faults(text: str) -> list[str]:
    """What is wrong with a whole policy text, `key: reason` each."""
    try:
        parse_policy(text.encode(), source="p")
    except DocumentError as exc:
        return [str(fault).removeprefix("p: ") for fault in exc.faults]
    return []


def posture(
    apps: Sequence[App] | None = (NOTES,),
    *,
    device_id: str = "ph-001",
    account: str = "alice@example.com",
    platform: Platform = Platform.ANDROID,
    device_class: DeviceClass = DeviceClass.MOBILE,
    ownership: Ownership | None = Ownership.COMPANY,
    scope: Scope = Scope.FULL,
    complete: bool = True,
    collected_at: datetime = NOON,
    first_seen: datetime | None = None,
) -> Posture:
    """A registered device; `apps=None`: without evidence."""
    device = Device(
        device_id=DeviceId(device_id),
        account=account,
        platform=platform,
        device_class=device_class,
        ownership=ownership,
        first_seen=first_seen,
    )
    if apps is None:
        return Posture(device=device, result=None)
    result = AttestationResult(
        source="mdm",
        scope=scope,
        complete=complete,
        collected_at=collected_at,
        evidence_sha256="0" * 64,
        apps=AppList(apps),
    )
    return Posture(device=device, result=result)


def subject(*postures: Posture, assurance: Assurance = Assurance.PROVEN, claimed_device: str | None = None) -> Subject:
    """Devices tied to a session."""
    binding = Binding(
        assurance=assurance,
        method="user" if assurance is Assurance.USER else "client_certificate",
        claimed_device=DeviceId(claimed_device) if claimed_device else None,
    )
    return Subject(binding=binding, postures=postures)


def request(account: str = "alice@example.com", protocol: MailProtocol = MailProtocol.IMAP) -> Request:
    """A session that wants in."""
    return Request(account=account, protocol=protocol, listener=f"{protocol}-listener")
