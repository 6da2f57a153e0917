"""A gate on fakes: an audit log that answers when it is told, devices in memory, a clock that is driven."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from gatekeeper.audit.event import Event
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.app import App
from gatekeeper.domain.posture import Posture
from gatekeeper.domain.request import ClientCertificate
from gatekeeper.gate.admit import Admitted, Answer, Claim, Gate
from gatekeeper.gate.identify import BindingSettings
from gatekeeper.gate.sessions import Admission
from gatekeeper.gate.settings import GateSettings
from gatekeeper.ports.devices import Unavailable
from testkit.audit_log import StandingClock, connection
from testkit.memory_registry import MemoryDevices, MemoryRegistry
from testkit.reports import ALICE, NOW, phone, report

DENY = """
schema = 1
[defaults]
unknown_device = "block"
evidence_max_age = "24h"
stale = { action = "warn", then = "block", after = "72h" }
[[rule]]
id = "no-tiktok"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
phases = { enforce = "2020-01-01" }
[rule.message.en]
short = "TikTok is on this phone."
fix = "Remove it."
"""
ALLOW = 'schema = 1\n[defaults]\nunknown_device = "allow"\nevidence_max_age = "365d"\n'


def claim(account: str = ALICE, certificate: ClientCertificate | None = None) -> Claim:
    """Somebody whom the mail server has just let in."""
    return Claim(connection=connection(), account=account, mechanism="PLAIN", certificate=certificate)


class HeldAudit:
    """Implements `ports.audit.AuditLog`: what is appended is answered by `answer_all`, or at once."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.writable = True
        self.answers: bool | None = True
        """What `recorded` gets at once; None: nothing until `answer_all`."""
        self._pending: list[Callable[[bool], None]] = []

    def append(self, event: Event, recorded: Callable[[bool], None] | None = None) -> None:
        self.events.append(event)
        if recorded is not None:
            if self.answers is None:
                self._pending.append(recorded)
            else:
                recorded(self.answers)

    def answer_all(self, *, durable: bool) -> None:
        """Answer everything that waits."""
        pending, self._pending = self._pending, []
        for recorded in pending:
            recorded(durable)

    @property
    def codes(self) -> list[str]:
        """The codes of the events so far."""
        return [event.code.name for event in self.events]


class SlowDevices(MemoryDevices):
    """Memory that knows nothing at once while `is_cold`; look-ups wait for `release`."""

    def __init__(self, registry: MemoryRegistry) -> None:
        super().__init__(registry)
        self.is_cold = False
        self.asked = 0
        self.asking = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self.answers_with: Exception | None = None

    def known_of_account(self, account: str) -> tuple[Posture, ...] | None:
        return None if self.is_cold else super().known_of_account(account)

    def known_by_identifier(self, kind: str, value: str) -> Posture | None:
        return None if self.is_cold else super().known_by_identifier(kind, value)

    async def of_account(self, account: str) -> tuple[Posture, ...]:
        return await self._slowly(super().of_account(account))

    async def by_identifier(self, kind: str, value: str) -> Posture | None:
        return await self._slowly(super().by_identifier(kind, value))

    async def _slowly(self, answer: "Awaitable[object]") -> object:
        self.asked += 1
        found: object = None
        failure: Exception | None = self.answers_with
        try:
            found = await answer
        except Unavailable as error:
            failure = error
        self.asking.set()
        await self.release.wait()
        if failure is not None:
            raise failure
        return found


@dataclass
class House:
    """The gate with everything it holds."""

    clock: StandingClock
    audit: HeldAudit
    registry: MemoryRegistry
    devices: SlowDevices
    gate: Gate
    cuts: list[Admission] = field(default_factory=list)

    def policy(self, text: str) -> None:
        """Put another policy in force."""
        self.gate.redecision.replace_policy(parse_policy(text.encode(), source="p"))

    async def register(self, *apps: App, account: str = ALICE, at: datetime = NOW) -> None:
        """Put a phone with these apps on record."""
        await self.registry.apply([report(phone("ph-1", account), *apps, at=at)], now=NOW)

    async def open(self, account: str = ALICE, certificate: ClientCertificate | None = None) -> Admission:
        """Log in and be admitted; a cut ends the session, as its owner would."""
        answers: list[Answer] = []
        self.gate.admit(claim(account, certificate), answers.append)
        await self.settled()
        (answer,) = answers
        assert isinstance(answer, Admitted), answer
        admission = answer.admission

        def cut() -> None:
            self.cuts.append(admission)
            self.gate.ended(admission, {"ended": "cut"})

        admission.cut = cut
        return admission

    async def settled(self) -> None:
        """Let every task that can go on do so."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A gate that runs."""
    clock, audit, registry = StandingClock(NOW), HeldAudit(), MemoryRegistry()
    devices = SlowDevices(registry)
    gate = Gate(
        settings=GateSettings(binding=BindingSettings(), lookup_timeout_s=5),
        policy=parse_policy(DENY.encode(), source="p"),
        devices=devices,
        audit=audit,
        clock=clock,
    )
    async with asyncio.TaskGroup() as tasks:
        gate.run_in(tasks)
        yield House(clock, audit, registry, devices, gate)
        devices.release.set()
