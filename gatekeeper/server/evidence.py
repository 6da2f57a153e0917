"""The evidence API's work: hand out nonces, appraise tokens, put results on record, and record what was done.

Rejected evidence changes nothing and is recorded with its reason. Accepted evidence is in force when the answer goes
out: memory is refreshed and open sessions have been decided again.
"""

import asyncio
import hashlib
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta

from gatekeeper.adapters.stores.directory import DeviceDirectory
from gatekeeper.attestation.profile import Appraised, appraise, check_owner
from gatekeeper.attestation.rejection import EvidenceRejected, RejectionCode
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.config.settings import EvidenceSettings
from gatekeeper.decision.decide import decide
from gatekeeper.domain.decision import Decision
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.domain.posture import Assurance, Binding, Posture, PostureState, Report, Subject
from gatekeeper.domain.request import MailProtocol, Request
from gatekeeper.gate.admit import Gate
from gatekeeper.ports.audit import AuditLog
from gatekeeper.ports.clock import Clock
from gatekeeper.ports.devices import Unavailable
from gatekeeper.ports.registry import NonceInvalid, OlderEvidence, Registry, Replayed, TooManyNonces

NONCE_LIFETIME = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce for one device."""

    nonce: str
    expires_in_s: int


class EvidenceDesk:
    """Takes evidence in."""

    def __init__(
        self,
        *,
        registry: Registry,
        directory: DeviceDirectory,
        audit: AuditLog,
        clock: Clock,
        gate: Gate,
        settings: EvidenceSettings | None,
    ) -> None:
        self.settings = settings
        self.names = DEFAULT
        """How the account in a token is made canonical."""
        self._registry = registry
        self._directory = directory
        self._audit = audit
        self._clock = clock
        self._gate = gate

    async def challenge(self, device_id: str) -> Challenge:
        """Issue a nonce to a registered device. Raises `EvidenceRejected`, `Unavailable`."""
        if await self._registry.device(DeviceId(device_id)) is None:
            raise EvidenceRejected(RejectionCode.DEVICE_UNKNOWN, "the device is not registered")
        nonce = urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
        now = self._clock.now()
        try:
            await self._registry.issue_nonce(
                DeviceId(device_id), hashlib.sha256(nonce.encode()).digest(), expires=now + NONCE_LIFETIME, now=now
            )
        except TooManyNonces as error:
            raise EvidenceRejected(RejectionCode.RATE_LIMITED, "the device holds too many unused nonces") from error
        except NonceInvalid as error:  # forgotten since it was looked up
            raise EvidenceRejected(RejectionCode.DEVICE_UNKNOWN, "the device is not registered") from error
        return Challenge(nonce, int(NONCE_LIFETIME.total_seconds()))

    async def submit(self, token: bytes) -> Decision:
        """Take one token in; returns what the policy makes of the device now.

        Raises `EvidenceRejected` (recorded), `Unavailable`.
        """
        if not self._audit.writable:
            raise Unavailable("the audit log cannot be written")
        now = self._clock.now()
        device_id = ""
        issuers = self.settings.issuers if self.settings else ()
        audience = self.settings.audience if self.settings else ""
        try:
            appraised = appraise(token, issuers=issuers, audience=audience, now=now, names=self.names)
            device_id = appraised.device_id
            before, report = await self._put_on_record(appraised, now)
        except EvidenceRejected as rejection:
            await self._rejected(rejection, device_id, token, now)
            raise
        after = await self._registry.device(report.device.device_id) or before
        decision = await self._accepted(before, after)
        await self._directory.refresh()  # recorded first: what follows from it stands behind it in the log
        return decision

    async def _put_on_record(self, appraised: Appraised, now: datetime) -> tuple[Posture, Report]:
        before = await self._registry.device(appraised.device_id)
        if before is None:
            raise EvidenceRejected(RejectionCode.DEVICE_UNKNOWN, "the device is not registered")
        check_owner(appraised, before.device)
        report = Report(device=before.device, result=appraised.result)
        try:
            await self._registry.accept_evidence(
                report,
                token_id=appraised.jti,
                token_expires=appraised.replay_until,
                nonce_digest=appraised.nonce_digest,
                now=now,
            )
        except Replayed as error:
            raise EvidenceRejected(RejectionCode.REPLAY, "the token was seen before") from error
        except NonceInvalid as error:
            raise EvidenceRejected(RejectionCode.NONCE_INVALID, "the nonce is unknown, used or expired") from error
        except OlderEvidence as error:
            raise EvidenceRejected(RejectionCode.STALE, str(error)) from error
        return before, report

    def judge(self, posture: Posture) -> Decision:
        """What the policy makes of one device now, as if it came with its certificate."""
        binding = Binding(assurance=Assurance.PROVEN, method="evidence", claimed_device=posture.device.device_id)
        request = Request(account=posture.device.account, protocol=MailProtocol.IMAP, listener="evidence")
        subject = Subject(binding=binding, postures=(posture,))
        return decide(self._gate.ruling.policy_for(subject, request.account), subject, request, self._clock.now())

    async def _accepted(self, before: Posture, after: Posture) -> Decision:
        was, decision = self.judge(before), self.judge(after)
        changes = [(EventCode.EVIDENCE_ACCEPTED, "Evidence accepted")]
        if decision.posture is PostureState.DENIED and was.posture is not PostureState.DENIED:
            changes.append((EventCode.DEVICE_DENIED, "A denied app appeared on the device"))
        if decision.posture is PostureState.CLEAN and was.posture is not PostureState.CLEAN:
            changes.append((EventCode.DEVICE_CLEAN, "The device is clean again"))
        for code, message in changes:
            await self._record(
                Event(
                    code=code,
                    time=self._clock.now(),
                    account=after.device.account,
                    decision=decision,
                    message=message,
                    detail={"device_id": after.device.device_id},
                )
            )
        return decision

    async def _rejected(self, rejection: EvidenceRejected, device_id: str, token: bytes, now: datetime) -> None:
        await self._record(
            Event(
                code=EventCode.EVIDENCE_REJECTED,
                time=now,
                message=f"Evidence rejected: {rejection.detail}",
                detail={
                    "rejection": rejection.code.value,
                    "device_id": device_id,
                    "evidence_sha256": hashlib.sha256(token).hexdigest(),
                },
            )
        )

    async def _record(self, event: Event) -> None:
        """Record, and wait until it is durable. Raises `Unavailable` when it never will be."""
        durable: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def recorded(is_durable: bool) -> None:
            if not durable.done():  # whoever waited may be gone
                durable.set_result(is_durable)

        self._audit.append(event, recorded)
        if not await durable:
            raise Unavailable("the audit log cannot be written")
