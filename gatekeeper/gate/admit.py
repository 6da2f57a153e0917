"""Admission: identify, decide, record, and only then let through.

What holds inside:

* `answer` is called exactly once for each claim, on the event loop, and never before the record of the decision is
  durable. A decision that cannot be recorded is a fault: nobody is admitted on a promise.
* What cannot be looked up is a fault as well; a fault is told as a temporary failure, never as a verdict. An unexpected
  error in a look-up is a fault of that one session.
* The usual log-in takes no await: everything it needs is in memory.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.decision.message import ascii_line, render
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Reason, Verdict
from gatekeeper.domain.posture import Subject
from gatekeeper.domain.request import ClientCertificate, Connection, Request
from gatekeeper.gate.identify import identify, identify_now
from gatekeeper.gate.redecide import Redecision
from gatekeeper.gate.ruling import Ruling
from gatekeeper.gate.sessions import NO_FACTS, Admission, LiveSessions
from gatekeeper.gate.settings import GateSettings
from gatekeeper.ports.audit import AuditLog
from gatekeeper.ports.clock import Clock
from gatekeeper.ports.devices import Devices, Unavailable

_log = structlog.get_logger("gatekeeper.gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A client whose credentials the mail server has just accepted."""

    connection: Connection
    account: str
    """Canonical."""
    mechanism: str
    certificate: ClientCertificate | None
    facts: Mapping[str, str | int] = field(default_factory=lambda: NO_FACTS)
    """Further facts for the records, which no decision depends on: who acts for whom, what the client says it is."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The session may begin."""

    admission: Admission


@dataclass(frozen=True, slots=True)
class Refused:
    """The policy says no."""

    decision: Decision
    text: str
    """What the person is told: one line, at most 400 octets, no control characters."""


@dataclass(frozen=True, slots=True)
class Faulted:
    """A fault of ours: the client gets a temporary failure with a fixed text."""

    reason: str
    """For operators."""


Answer = Admitted | Refused | Faulted
Answered = Callable[[Answer], None]


_ROUNDS = 3
"""Changes that come faster than records can be written must not keep a log-in waiting for ever."""


class Gate:
    """Decides about sessions when they are claimed, and writes the record of their end."""

    def __init__(
        self, *, settings: GateSettings, policy: Policy, devices: Devices, audit: AuditLog, clock: Clock
    ) -> None:
        self.settings = settings
        self.ruling = Ruling(policy)
        self.sessions = LiveSessions()
        self.redecision = Redecision(
            settings=settings,
            ruling=self.ruling,
            sessions=self.sessions,
            devices=devices,
            clock=clock,
            revoked=self._revoked,
        )
        """What becomes of open sessions when something changes."""
        self._devices = devices
        self._audit = audit
        self._clock = clock
        self._tasks: asyncio.TaskGroup | None = None
        self.decided: Callable[[Request, Decision], None] = _nobody
        """Observer of every recorded decision, for metrics."""

    def run_in(self, tasks: asyncio.TaskGroup) -> None:
        """Give the parent of the tasks that ask the store."""
        self._tasks = tasks
        self.redecision.run_in(tasks)

    def replace_settings(self, settings: GateSettings) -> None:
        """From now on; sessions that are open stay as they are."""
        self.settings = self.redecision.settings = settings

    @property
    def policy(self) -> Policy:
        """In force for everybody whom no trial covers."""
        return self.ruling.policy

    def admit(self, claim: Claim, answer: Answered, *, rounds: int = _ROUNDS) -> None:
        """Decide about a new session; over again, up to so many times, when a change overtakes the record."""
        if not self._audit.writable:
            answer(Faulted("the audit log cannot be written"))
            return
        subject = identify_now(self.settings.binding, self._devices, claim.account, claim.certificate)
        if subject is not None:
            self._decide_new(claim, subject, answer, (self.redecision.changes, rounds))
        elif self._tasks is None:
            answer(Faulted("shutting down"))
        else:
            self._tasks.create_task(self._look_up(claim, answer, rounds), name=f"identify {claim.connection.conn}")

    async def _look_up(self, claim: Claim, answer: Answered, rounds: int) -> None:
        changes = self.redecision.changes
        try:
            async with asyncio.timeout(self.settings.lookup_timeout_s):
                subject = await identify(self.settings.binding, self._devices, claim.account, claim.certificate)
            self._decide_new(claim, subject, answer, (changes, rounds))
        except (Unavailable, TimeoutError) as error:
            answer(Faulted(f"devices cannot be looked up: {error}"))
        except Exception as error:  # noqa: BLE001  the claim's guard: its task is one of many
            _log.error("gate.fault", conn=claim.connection.conn, exc_info=error)
            answer(Faulted("an unexpected error"))

    def _decide_new(self, claim: Claim, subject: Subject, answer: Answered, state: tuple[int, int]) -> None:
        """Decide about a subject; `state`: the changes there had been when it was read, and the rounds left."""
        changes, rounds = state
        request = _request(claim)
        now = self._clock.now()
        decision = self.ruling.decide(subject, request, now)

        def recorded(durable: bool) -> None:
            if not durable:
                answer(Faulted("the decision could not be recorded"))
                return
            is_overtaken = changes != self.redecision.changes
            if is_overtaken and rounds:
                # Something changed while the record was being written: what it says is of yesterday. Nothing has
                # been let through on it, and the session is decided, and recorded, anew.
                self.admit(claim, answer, rounds=rounds - 1)
                return
            self.decided(request, decision)
            if decision.verdict.admits:
                admission = self._begin(claim, request, decision)
                answer(Admitted(admission))
                if is_overtaken:
                    self.redecision.decide_again((admission,))
            else:
                answer(Refused(decision, self.text(decision, claim.connection.conn)))

        self._audit.append(_decided(claim, decision, now, is_waived=self.ruling.is_waived(now)), recorded)

    def refuse_again(self, claim: Claim, decision: Decision, answer: Answered) -> bool:
        """Refuse, without asking the mail server, whose credentials it accepted a moment ago and `decision` refused.

        False, and nothing is answered, unless deciding now from memory comes to the very same decision: whatever has
        changed meanwhile, policy, device, evidence, exemption or time, wants a log-in of its own.
        """
        subject = identify_now(self.settings.binding, self._devices, claim.account, claim.certificate)
        if subject is None or not self._audit.writable:
            return False
        request = _request(claim)
        now = self._clock.now()
        if self.ruling.decide(subject, request, now) != decision:
            return False

        def recorded(durable: bool) -> None:
            if not durable:
                answer(Faulted("the decision could not be recorded"))
                return
            self.decided(request, decision)
            answer(Refused(decision, self.text(decision, claim.connection.conn)))

        self._audit.append(_decided(claim, decision, now, is_waived=self.ruling.is_waived(now)), recorded)
        return True

    def _begin(self, claim: Claim, request: Request, decision: Decision) -> Admission:
        admission = Admission(
            connection=claim.connection,
            request=request,
            certificate=claim.certificate,
            mechanism=claim.mechanism,
            decision=decision,
            facts=claim.facts,
        )
        self.sessions.add(admission)
        return admission

    def text(self, decision: Decision, code: str = "") -> str:
        """The words for the person whose session is refused; `code` finds it in the log."""
        if decision.message is None:
            return "Mail is paused on this device."
        words = render(
            decision.message,
            app=decision.app_name,
            check_url=self.settings.check_url,
            deadline=decision.deadline,
            code=code,
        )
        return ascii_line(" ".join(words))

    def ended(self, admission: Admission, detail: Mapping[str, str | int]) -> None:
        """A session is over: its terminal record, of its own accord or revoked."""
        self.sessions.discard(admission)
        self.redecision.forget(admission)
        revoked = admission.revoked
        self._audit.append(
            Event(
                code=EventCode.SESSION_REVOKED if revoked else EventCode.SESSION_ENDED,
                time=self._clock.now(),
                connection=admission.connection,
                account=admission.request.account,
                mechanism=admission.mechanism,
                decision=admission.decision if revoked else None,
                message="Open mail session cut: it no longer stands" if revoked else "Mail session ended",
                detail={**admission.facts, **detail} if admission.facts else detail,
            )
        )

    def _revoked(self, admission: Admission) -> None:
        """It no longer stands; its terminal record follows when it has been cut."""
        self.decided(admission.request, admission.decision)


def _nobody(_request: Request, _decision: Decision) -> None:
    """Observe nothing."""


_BLOCKED = {
    Reason.APP_MATCH: EventCode.BLOCKED_APP,
    Reason.APP_MATCH_UNCERTAIN: EventCode.BLOCKED_APP,
    Reason.APP_NOT_LISTED: EventCode.BLOCKED_APP,
    Reason.APP_REQUIRED: EventCode.BLOCKED_DEVICE,
    Reason.OS_VERSION: EventCode.BLOCKED_DEVICE,
    Reason.COMPROMISED: EventCode.BLOCKED_DEVICE,
    Reason.STALE: EventCode.BLOCKED_STALE,
    Reason.NO_EVIDENCE: EventCode.BLOCKED_STALE,
    Reason.UNKNOWN_DEVICE: EventCode.BLOCKED_UNKNOWN_DEVICE,
    Reason.DEVICE_OF_ANOTHER_USER: EventCode.BLOCKED_UNKNOWN_DEVICE,
    Reason.INSUFFICIENT: EventCode.BLOCKED_INSUFFICIENT,
}
"""By the strongest reason: a phone may have a denied app under observation and be blocked for something else."""


def _code(decision: Decision) -> EventCode:
    match decision.verdict:
        case Verdict.WARN:
            return EventCode.SESSION_WARNED
        case Verdict.ALLOW:
            return EventCode.WOULD_BLOCK if decision.phase is not None else EventCode.SESSION_ALLOWED
        case _:
            return _BLOCKED.get(decision.reasons[0], EventCode.BLOCKED_INVALID)


_MESSAGES = {
    EventCode.SESSION_ALLOWED: "Mail sign-in allowed",
    EventCode.SESSION_WARNED: "Mail sign-in allowed with a warning",
    EventCode.WOULD_BLOCK: "Mail sign-in allowed; a rule under observation would refuse it",
    EventCode.BLOCKED_APP: "Mail sign-in refused: a denied app is installed",
    EventCode.BLOCKED_STALE: "Mail sign-in refused: the evidence is too old or absent",
    EventCode.BLOCKED_UNKNOWN_DEVICE: "Mail sign-in refused: unknown device",
    EventCode.BLOCKED_INSUFFICIENT: "Mail sign-in refused: the evidence cannot prove that no denied app is installed",
    EventCode.BLOCKED_DEVICE: "Mail sign-in refused: the device is not as a rule asks",
    EventCode.BLOCKED_INVALID: "Mail sign-in refused: the evidence is invalid",
}


def _request(claim: Claim) -> Request:
    connection = claim.connection
    return Request(
        account=claim.account,
        protocol=connection.protocol,
        listener=connection.listener,
        client_address=connection.client_address,
    )


_BY_BREAK_GLASS = (
    "Mail sign-in allowed while break-glass is open; the policy, or a rule under observation, would refuse it"
)


def _decided(claim: Claim, decision: Decision, now: datetime, *, is_waived: bool) -> Event:
    """The record says the instant that was decided on, so that it can be decided again."""
    code = _code(decision)
    return Event(
        code=code,
        time=now,
        connection=claim.connection,
        account=claim.account,
        mechanism=claim.mechanism,
        decision=decision,
        message=_BY_BREAK_GLASS if is_waived and code is EventCode.WOULD_BLOCK else _MESSAGES[code],
        detail={**claim.facts, "break_glass": "open"} if is_waived else claim.facts,
    )
