"""The evidence desk with what stands around it: a registry in memory, an audit log and a clock that are driven by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gatekeeper.attestation.rejection import EvidenceRejected
from gatekeeper.audit.event import EventCode
from gatekeeper.config.settings import EvidenceSettings
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.app import App
from gatekeeper.domain.request import Connection, MailProtocol, Request
from gatekeeper.gate.admit import Gate
from gatekeeper.gate.identify import BindingSettings
from gatekeeper.gate.sessions import Admission
from gatekeeper.gate.settings import GateSettings
from gatekeeper.ports.devices import DeviceChange
from gatekeeper.server.evidence import EvidenceDesk
from testkit.evidence import AttestationAuthority
from testkit.gate_fakes import FakeAuditLog, ManualClock
from testkit.memory_registry import MemoryDevices, MemoryRegistry
from testkit.reports import ALICE, NOTES

AUDIENCE = "gatekeeper.example"
DEVICE = "ph-1"
POLICY = b"""
schema = 1
[defaults]
unknown_device = "block"
[[rule]]
id = "no-tiktok"
title = "TikTok is not allowed"
reason = "Directive"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
phases = { enforce = "2020-01-01" }
[rule.message.en]
short = "TikTok is on this phone."
fix = "Remove it."
"""


class Directory(MemoryDevices):
    """Devices in memory whose changes are told by `refresh`, as those of the database are."""

    def __init__(self, registry: MemoryRegistry) -> None:
        super().__init__(registry)
        self._waiting: list[tuple[DeviceChange, ...]] = []
        self._subscribers: list[Callable[[tuple[DeviceChange, ...]], None]] = []
        registry.listeners.append(self._waiting.append)

    def subscribe(self, changed: Callable[[tuple[DeviceChange, ...]], None]) -> None:
        """Call `changed` at the refresh after a change."""
        self._subscribers.append(changed)

    async def refresh(self) -> None:
        """Tell what changed."""
        waiting, self._waiting[:] = list(self._waiting), []
        for changes in waiting:
            for changed in self._subscribers:
                changed(changes)


@dataclass
class Bed:
    """The desk, and all that it works on."""

    authority: AttestationAuthority
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    audit: FakeAuditLog = field(default_factory=FakeAuditLog)
    clock: ManualClock = field(default_factory=ManualClock)
    directory: Directory = field(init=False)
    gate: Gate = field(init=False)
    desk: EvidenceDesk = field(init=False)

    def __post_init__(self) -> None:
        self.directory = Directory(self.registry)
        self.gate = Gate(
            settings=GateSettings(binding=BindingSettings()),
            policy=parse_policy(POLICY, source="policy.toml"),
            devices=self.directory,
            audit=self.audit,
            clock=self.clock,
        )
        self.desk = EvidenceDesk(
            registry=self.registry,
            directory=self.directory,  # type: ignore[arg-type]  # as much of it as the desk uses
            audit=self.audit,
            clock=self.clock,
            gate=self.gate,
            settings=EvidenceSettings(audience=AUDIENCE, issuers=(self.authority.issuer(),)),
        )

    async def nonce(self, device_id: str = DEVICE) -> str:
        """A nonce that the desk issued."""
        return (await self.desk.challenge(device_id)).nonce

    async def token(self, *apps: App, device_id: str = DEVICE, **overrides: object) -> bytes:
        """A genuine token with a nonce of the desk's, some claims replaced."""
        self.clock.advance(60)  # newer than what is on record
        nonce = await self.nonce()
        return self.authority.token(device_id, [NOTES, *apps], nonce, AUDIENCE, self.clock.now(), **overrides).encode()

    async def rejection(self, token: bytes) -> EvidenceRejected:
        """Submit a token that must be rejected."""
        with pytest.raises(EvidenceRejected) as caught:
            await self.desk.submit(token)
        return caught.value

    def session(self, cut: Callable[[], None]) -> Admission:
        """An open mail session of the phone's owner."""
        posture = self.registry.of_account(ALICE)[0]
        admission = Admission(
            connection=Connection("c1", MailProtocol.IMAP, "imaps", "192.0.2.1", 4711, 993),
            request=Request(account=ALICE, protocol=MailProtocol.IMAP, listener="imaps"),
            certificate=None,
            mechanism="PLAIN",
            decision=self.desk.judge(posture),
            cut=cut,
        )
        self.gate.sessions.add(admission)
        return admission

    def apps(self) -> set[str]:
        """The ids of the apps on record."""
        posture = self.registry.of_account(ALICE)[0]
        assert posture.result is not None
        return set(posture.result.apps.keys)

    def recorded(self, code: EventCode) -> list[dict[str, object]]:
        """The details of the events with a code."""
        return [dict(event.detail) for event in self.audit.events if event.code is code]
