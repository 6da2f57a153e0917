"""The registry in memory: what the database does, without one. Held to the same contract suite as the real adapters.

`is_available = False` makes it answer like a store that is down.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from gatekeeper.attestation.fold import fold, update
from gatekeeper.campaign.outline import Outline
from gatekeeper.domain.device import Device, DeviceId
from gatekeeper.domain.posture import AttestationResult, Posture, Report, Scope
from gatekeeper.ports.devices import DeviceChange, Unavailable
from gatekeeper.ports.registry import Applied, IdentifierTaken, NonceInvalid, OlderEvidence, Replayed, TooManyNonces

LIVE_NONCES = 4

_Rows = dict[tuple[str, Scope], AttestationResult]
_State = dict[DeviceId, tuple[Device, _Rows]]


class MemoryRegistry:
    """Implements `ports.registry.Registry`."""

    def __init__(self) -> None:
        self.is_available = True
        self.listeners: list[Callable[[tuple[DeviceChange, ...]], None]] = []
        self._state: _State = {}
        self._nonces: dict[bytes, tuple[DeviceId, datetime]] = {}
        self._tokens: set[str] = set()

    async def apply(self, reports: Sequence[Report], *, now: datetime, digest: str = "") -> Applied:
        """Register or update devices with their reports, all or none."""
        self.require()
        before = {device_id: (device, dict(rows)) for device_id, (device, rows) in self._state.items()}
        try:
            counts = self._apply_all(reports, now)
        except Exception:
            self._state = before
            raise
        self._tell(before, "inventory", digest, counts)
        return Applied(**counts)

    async def issue_nonce(self, device_id: DeviceId, digest: bytes, *, expires: datetime, now: datetime) -> None:
        """Remember the SHA-256 of a nonce for one device."""
        self.require()
        if device_id not in self._state:
            raise NonceInvalid("the device is not registered")
        live = [owner for owner, until in self._nonces.values() if owner == device_id and until > now]
        if len(live) >= LIVE_NONCES:
            raise TooManyNonces("too many live nonces")
        self._nonces[digest] = (device_id, expires)

    async def accept_evidence(
        self, report: Report, *, token_id: str, token_expires: datetime, nonce_digest: bytes | None, now: datetime
    ) -> Applied:
        """Consume nonce and token id and put the report's result on record, all or none."""
        self.require()
        device_id = report.device.device_id
        if token_id in self._tokens:
            raise Replayed("the token id was seen before")
        if device_id not in self._state:
            raise NonceInvalid("the device is not registered")
        if nonce_digest is not None:
            owner, expires = self._nonces.get(nonce_digest, ("", now))
            if owner != device_id or expires <= now:
                raise NonceInvalid("the nonce was not issued to this device, is used up, or has expired")
        device, rows = self._state[device_id]
        before = {**self._state, device_id: (device, dict(rows))}
        changed = _put(rows, report.result, index=0, final="")
        self._tokens.add(token_id)
        if nonce_digest is not None:
            del self._nonces[nonce_digest]
        self._tell(before, "evidence", report.result.evidence_sha256, {})
        return Applied(changed=int(changed), unchanged=int(not changed))

    async def device(self, device_id: DeviceId) -> Posture | None:
        """One device; None when it is not registered."""
        self.require()
        return self.posture(device_id)

    async def all_devices(
        self, *, account: str | None = None, limit: int = 1000, offset: int = 0
    ) -> tuple[Posture, ...]:
        """Registered devices ordered by id, optionally of one account."""
        self.require()
        ids = [one for one in sorted(self._state) if account is None or self._state[one][0].account == account]
        return tuple(self._posture(one) for one in ids[offset : offset + limit])

    async def forget(self, device_id: DeviceId) -> bool:
        """Remove a device and all that is known about it."""
        self.require()
        before = dict(self._state)
        if self._state.pop(device_id, None) is None:
            return False
        self._nonces = {digest: nonce for digest, nonce in self._nonces.items() if nonce[0] != device_id}
        self._tell(before, "forget", "", {})
        return True

    def require(self) -> None:
        """Raise when the store is down."""
        if not self.is_available:
            raise Unavailable("the memory registry was made unavailable")

    def posture(self, device_id: DeviceId) -> Posture | None:
        """One device, at once."""
        return self._posture(device_id) if device_id in self._state else None

    def of_account(self, account: str) -> tuple[Posture, ...]:
        """An account's devices, at once."""
        return tuple(self._posture(one) for one in sorted(self._state) if self._state[one][0].account == account)

    def by_identifier(self, kind: str, value: str) -> Posture | None:
        """The device with that identifier, at once."""
        if kind == "device_id":
            return self.posture(DeviceId(value))
        owners = (one for one, (device, _) in self._state.items() if device.identifiers.get(kind) == value)
        return next(map(self._posture, owners), None)

    def _posture(self, device_id: DeviceId) -> Posture:
        device, rows = self._state[device_id]
        return Posture(device=device, result=fold(tuple(rows.values())))

    def _apply_all(self, reports: Sequence[Report], now: datetime) -> dict[str, int]:
        counts = {"created": 0, "changed": 0, "unchanged": 0}
        claims: dict[tuple[str, str], DeviceId] = {}
        final = {(r.device.device_id, r.result.source, r.result.scope): r.result.evidence_sha256 for r in reports}
        for index, said in enumerate(reports):
            device_id = said.device.device_id
            self._claim(index, said.device, claims)
            if device_id not in self._state:
                newcomer = replace(said.device, first_seen=now)
                self._state[device_id] = (newcomer, {(said.result.source, said.result.scope): said.result})
                counts["created"] += 1
                continue
            device, rows = self._state[device_id]
            merged = replace(
                said.device,
                ownership=said.device.ownership or device.ownership,
                identifiers={**device.identifiers, **said.device.identifiers},
                first_seen=device.first_seen,
            )
            self._state[device_id] = (merged, rows)
            last = final[device_id, said.result.source, said.result.scope]
            has_new_evidence = _put(rows, said.result, index=index, final=last)
            counts["changed" if merged != device or has_new_evidence else "unchanged"] += 1
        return counts

    def _claim(self, index: int, claimant: Device, claims: dict[tuple[str, str], DeviceId]) -> None:
        for kind, value in claimant.identifiers.items():
            rival = claims.setdefault((kind, value), claimant.device_id)
            if rival != claimant.device_id:
                raise IdentifierTaken(index, kind, rival)
            for device_id, (device, rows) in self._state.items():
                if device_id != claimant.device_id and device.identifiers.get(kind) == value:
                    left = {name: held for name, held in device.identifiers.items() if name != kind}
                    self._state[device_id] = (replace(device, identifiers=left), rows)

    def _tell(self, before: _State, kind: str, digest: str, counts: dict[str, int]) -> None:
        touched: list[tuple[DeviceId, str]] = []
        for device_id in sorted({*before, *self._state}):
            old, new = before.get(device_id), self._state.get(device_id)
            if old != new:
                touched.extend(
                    (device_id, account) for account in sorted({one[0].account for one in (old, new) if one})
                )
        last = len(touched) - 1
        changes = tuple(
            DeviceChange(device_id, account, kind, digest, counts if index == last else {})
            for index, (device_id, account) in enumerate(touched)
        )
        if changes:
            for listener in self.listeners:
                listener(changes)


class MemoryDevices:
    """Implements `ports.devices.Devices` on a `MemoryRegistry`; everything is always in memory."""

    def __init__(self, registry: MemoryRegistry) -> None:
        self._registry = registry

    def known_of_account(self, account: str) -> tuple[Posture, ...] | None:
        """All registered devices of an account."""
        return self._registry.of_account(account) if self._registry.is_available else None

    async def of_account(self, account: str) -> tuple[Posture, ...]:
        """All registered devices of an account."""
        self._registry.require()
        return self._registry.of_account(account)

    def known_by_identifier(self, kind: str, value: str) -> Posture | None:
        """The device with that identifier."""
        return self._registry.by_identifier(kind, value) if self._registry.is_available else None

    async def by_identifier(self, kind: str, value: str) -> Posture | None:
        """The device with that identifier."""
        self._registry.require()
        return self._registry.by_identifier(kind, value)

    async def outlined(
        self, outline: Outline, accounts: Collection[str], identifiers: Collection[tuple[str, str]]
    ) -> tuple[dict[str, tuple[Posture, ...]], dict[tuple[str, str], Posture]]:
        """Very many at once, with outlines of their app lists."""
        self._registry.require()
        found = {key: self._registry.by_identifier(*key) for key in identifiers}
        return (
            {
                account: tuple(_outlined(each, outline) for each in self._registry.of_account(account))
                for account in accounts
            },
            {key: _outlined(posture, outline) for key, posture in found.items() if posture is not None},
        )

    def subscribe(self, changed: Callable[[tuple[DeviceChange, ...]], None]) -> None:
        """Call `changed` after every write that changed devices."""
        self._registry.listeners.append(changed)


def _put(rows: _Rows, new: AttestationResult, *, index: int, final: str) -> bool:
    key = (new.source, new.scope)
    previous = rows.get(key)
    if previous is not None and previous.evidence_sha256 == new.evidence_sha256:
        return False
    if previous is not None and previous.evidence_sha256 == final and new.collected_at <= previous.collected_at:
        return False
    newest = max((row.collected_at for (source, _), row in rows.items() if source == new.source), default=None)
    if newest is not None and new.collected_at < newest:
        raise OlderEvidence(index, newest)
    proofs = [row.collected_at for row in rows.values() if row.proves_absence]
    rows[key] = update(previous, new, absence_known_at=max(proofs, default=None))
    return True


def _outlined(posture: Posture, outline: Outline) -> Posture:
    result = posture.result
    if result is None:
        return posture
    whole = result.apps
    apps = outline.of(filter(outline.means, whole.apps), whole.absences, len(whole))
    return replace(posture, result=replace(result, apps=apps))
