"""The audit log has one writer: what commands did to the registry is recorded here, when the feed tells of it."""

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.ports.audit import AuditLog
from gatekeeper.ports.clock import Clock
from gatekeeper.ports.devices import DeviceChange


def record_changes(audit: AuditLog, clock: Clock, changes: tuple[DeviceChange, ...]) -> None:
    """Record imports and forgotten devices; evidence is recorded by the desk that took it in."""
    now = clock.now()
    for change in changes:
        if change.kind == "inventory" and change.detail:
            detail: dict[str, str | int] = {"file_sha256": change.digest, **change.detail}
            audit.append(Event(code=EventCode.INVENTORY_IMPORTED, time=now, detail=detail))
        elif change.kind == "forget":
            audit.append(
                Event(
                    code=EventCode.DEVICE_FORGOTTEN,
                    time=now,
                    account=change.account,
                    detail={"device_id": change.device_id},
                )
            )
