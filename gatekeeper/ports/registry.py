"""The device registry as those see it who write to it: inventory imports and the evidence API."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture, Report


class Conflict(Exception):
    """The registry refuses a change; nothing of the call was applied."""


class OlderEvidence(Conflict):
    """A report is older than what the same source said before."""

    def __init__(self, index: int, on_record: datetime) -> None:
        super().__init__(f"older than the evidence on record of {on_record.isoformat()}")
        self.index = index
        """Index of the report in the call."""
        self.on_record = on_record


class IdentifierTaken(Conflict):
    """Two devices of one call claim the same identifier, so that it names neither."""

    def __init__(self, index: int, kind: str, other: DeviceId) -> None:
        super().__init__(f"claims the same {kind} as device `{other}`")
        self.index = index
        """Index of the second report that claims it."""
        self.kind = kind
        self.other = other


class NonceInvalid(Conflict):
    """The nonce was never issued to that device, is used up, or has expired."""


class Replayed(Conflict):
    """The token id was seen before."""


class TooManyNonces(Conflict):
    """The device holds as many live nonces as it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a write changed."""

    created: int = 0
    """Devices that were not registered before."""
    changed: int = 0
    """Registered devices with new facts or new evidence."""
    unchanged: int = 0
    """Reports that said nothing new (the same evidence again)."""


class Registry(Protocol):
    """Every call is one transaction, durable when it returns; `devices.Unavailable` when the store cannot answer."""

    async def apply(self, reports: Sequence[Report], *, now: datetime, digest: str = "") -> Applied:
        """Register or update devices with their reports, all or none. Raises `OlderEvidence`, `IdentifierTaken`.

        What a report does not state (ownership, an identifier) stays as it was; an identifier that it states moves to
        its device. `digest` is the SHA-256 of the file the reports came from; it is passed on with the changes.
        """
        ...

    async def issue_nonce(self, device_id: DeviceId, digest: bytes, *, expires: datetime, now: datetime) -> None:
        """Remember the SHA-256 of a nonce for one device. Raises `TooManyNonces`."""
        ...

    async def accept_evidence(
        self, report: Report, *, token_id: str, token_expires: datetime, nonce_digest: bytes | None, now: datetime
    ) -> Applied:
        """Consume nonce and token id and put the report's result on record, all or none.

        The facts on record about the device (owner, platform, identifiers) stay: evidence says what is on a phone, not
        whose it is. Raises `Replayed`, `NonceInvalid` (also for a device that is not registered), `OlderEvidence`.
        """
        ...

    async def device(self, device_id: DeviceId) -> Posture | None:
        """One device; None when it is not registered."""
        ...

    async def all_devices(
        self, *, account: str | None = None, limit: int = 1000, offset: int = 0
    ) -> tuple[Posture, ...]:
        """Registered devices ordered by id, optionally of one account."""
        ...

    async def forget(self, device_id: DeviceId) -> bool:
        """Remove a device and all that is known about it; False when it was not registered."""
        ...
