"""The audit log has one writer: what commands did to the registry is recorded here, when the feed tells of it."""

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.ports.audit import AuditLog
from gatekeeper.ports.clock import Clock
from gatekeeper.ports.devices import DeviceChange


class ChangeRecorder:
    """Records imports and forgotten devices; evidence is recorded by the desk that took it in."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self.is_on = True
        """Of several workers one records: each hears of every change."""
        self._audit = audit
        self._clock = clock

    def record(self, changes: tuple[DeviceChange, ...]) -> None:
        """Called when the feed tells of changes."""
        now = self._clock.now()
        for change in changes if self.is_on else ():
            if change.kind == "inventory" and change.detail:
                detail: dict[str, str | int] = {"file_sha256": change.digest, **change.detail}
                self._audit.append(Event(code=EventCode.INVENTORY_IMPORTED, time=now, detail=detail))
            elif change.kind == "forget":
                event = Event(
                    code=EventCode.DEVICE_FORGOTTEN,
                    time=now,
                    account=change.account,
                    detail={"device_id": change.device_id},
                )
                self._audit.append(event)
