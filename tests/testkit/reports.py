"""Reports about phones, as an inventory import or a piece of accepted evidence gives them."""

import hashlib
from datetime import UTC, datetime, timedelta

from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform
from gatekeeper.domain.posture import AttestationResult, Report, Scope

NOW = datetime(2020, 7, 10, 16, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ALICE = "alice@example.com"
BOB = "bob@example.com"
TIKTOK = App(id="com.zhiliaoapp.musically", name="TikTok", version="16.6.5", version_code=2021606050)
NOTES = App(id="com.example.notes", name="Notes", version="1.2", signer_sha256=("ab" * 32,), publisher="Example")


def phone(
    device_id: str = "ph-1",
    account: str = ALICE,
    *,
    ownership: Ownership | None = Ownership.COMPANY,
    identifiers: dict[str, str] | None = None,
) -> Device:
    """An Android phone."""
    return Device(
        device_id=DeviceId(device_id),
        account=account,
        platform=Platform.ANDROID,
        device_class=DeviceClass.MOBILE,
        ownership=ownership,
        identifiers=identifiers or {},
    )


def report(
    device: Device | None = None,
    *apps: App,
    at: datetime = NOW,
    source: str = "mdm",
    scope: Scope = Scope.FULL,
    complete: bool = True,
) -> Report:
    """What `source` said at `at` about a phone; the digest stands for all of it."""
    device = device or phone()
    said = repr((device.device_id, apps, at, source, scope, complete))
    result = AttestationResult(
        source=source,
        scope=scope,
        complete=complete,
        collected_at=at,
        evidence_sha256=hashlib.sha256(said.encode()).hexdigest(),
        apps=AppList(apps),
    )
    return Report(device=device, result=result)
