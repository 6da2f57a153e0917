"""The devices of a policy's tests: registered, with what their evidence says."""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from types import MappingProxyType

from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform, default_device_class
from gatekeeper.domain.document import Table, parse_duration, parse_instant
from gatekeeper.domain.identity import IdentitySettings, canonical_account
from gatekeeper.domain.posture import AttestationResult, DeviceFlag, Posture, Scope

_NOW = timedelta(0)
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """A device of the file; when its evidence was collected can depend on the test."""

    posture: Posture
    age: timedelta | None
    """Before the time of the test; None: collected at a time of its own."""

    def at(self, now: datetime) -> Posture:
        """The device in a test of that time."""
        result = self.posture.result
        if result is None or self.age is None:
            return self.posture
        try:
            collected_at = now - self.age
        except OverflowError:
            collected_at = _NEVER
        return replace(self.posture, result=replace(result, collected_at=collected_at))


def read_device(table: Table, name: str, names: IdentitySettings, zone: tzinfo | None) -> Specimen:
    """One `[device.NAME]`; without `apps` it has never reported."""
    platform = table.choice("platform", Platform)
    device = Device(
        device_id=DeviceId(table.text("device_id", name, max_length=255)),
        account=account(table, "user", names),
        platform=platform,
        device_class=table.choice("device_class", DeviceClass, default_device_class(platform)),
        ownership=table.choice("ownership", Ownership) if table.has("ownership") else None,
        first_seen=table.instant("first_seen", zone=zone or UTC),
    )
    age, collected_at = _collected(table, zone)
    result = AttestationResult(
        source=table.text("source", "inventory", max_length=255),
        scope=table.choice("scope", Scope, Scope.FULL),
        complete=table.boolean("complete", default=True),
        collected_at=collected_at or _NEVER,
        evidence_sha256=hashlib.sha256(name.encode()).hexdigest(),
        apps=AppList(map(_app, table.tables("apps"))),
        os_version=table.optional_text("os_version"),
        flags=MappingProxyType(_flags(table.table("flags"))),
    )
    posture = Posture(device=device, result=result if table.has("apps") else None)
    table.done()
    return Specimen(posture=posture, age=age)


def account(table: Table, name: str, names: IdentitySettings) -> str:
    """A canonical account; empty after a fault."""
    text = table.text(name, max_length=320)
    found = canonical_account(text, names)
    if text and found is None:
        table.fault(name, f"`{text}` is not an account that a mail log-in can have")
    return found or ""


def _collected(table: Table, zone: tzinfo | None) -> tuple[timedelta | None, datetime | None]:
    """How long before the test, or when."""
    value = table.raw("collected")
    if value is None:
        return _NOW, None
    age = parse_duration(value) if isinstance(value, str) else None
    if age is not None:
        return age, None
    instant = parse_instant(value, zone or UTC)
    if instant is None:
        table.fault("collected", f'`{value}` is neither an age such as "2h" nor a date or time')
    return None, instant


def _app(table: Table) -> App:
    signers = (
        (table.text("signer_sha256"),) if isinstance(table.raw("signer_sha256"), str) else table.texts("signer_sha256")
    )
    app = App(
        id=table.text("id", max_length=255),
        name=table.optional_text("name"),
        version=table.optional_text("version"),
        version_code=table.integer("version_code", high=2**63 - 1) if table.has("version_code") else None,
        signer_sha256=tuple(signer.replace(":", "").lower() for signer in signers),
        publisher=table.optional_text("publisher"),
        installer=table.optional_text("installer"),
    )
    table.done()
    return app


def _flags(table: Table) -> dict[DeviceFlag, bool]:
    flags = {flag: table.boolean(flag.value, default=False) for flag in DeviceFlag if table.has(flag.value)}
    table.done()
    return flags
