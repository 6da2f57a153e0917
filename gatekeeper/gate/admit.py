"""Admission: identify, decide, record, and only then let through.

What holds inside:

* `answer` is called exactly once for each claim, on the event loop, and never before the record of the decision is
  durable. A decision that cannot be recorded is a fault: nobody is admitted on a promise.
* What cannot be looked up is a fault as well; a fault is told as a temporary failure, never as a verdict. An unexpected
  error in a look-up is a fault of that one session.
* The usual log-in takes no await: everything it needs is in memory.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import zip_longest

import structlog

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.campaign.outline import Outline
from gatekeeper.decision.message import ascii_line, render
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Reason, Verdict
from gatekeeper.domain.posture import Subject
from gatekeeper.domain.request import ClientCertificate, Connection, Request
from gatekeeper.gate.cuts import Cuts
from gatekeeper.gate.identify import BindingSettings, identify, identify_many, identify_now
from gatekeeper.gate.ruling import Ruling, Trial
from gatekeeper.gate.sessions import NO_FACTS, Admission, LiveSessions
from gatekeeper.ports.audit import AuditLog
from gatekeeper.ports.clock import Clock
from gatekeeper.ports.devices import DeviceChange, Devices, Unavailable

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How the gate is run."""

    binding: BindingSettings
    check_url: str = ""
    """Where a person can see why and ask for a new check."""
    lookup_timeout_s: float = 5.0
    undecided_grace: timedelta = timedelta(minutes=5)
    """How long a live session whose state cannot be looked up may go on."""


LOOKED_UP_SINGLY = 16
"""Sessions that are looked up one by one, and remembered, when something changes; more are looked up together."""
LOOKED_UP_AT_ONCE = 500
"""Some ten milliseconds of work, after which everybody else gets in between."""
_ROUNDS = 3
"""Changes that come faster than records can be written must not keep a log-in waiting for ever."""


class Gate:
    """Decides about sessions: new ones when they are claimed, open ones when something changes."""

    def __init__(
        self, *, settings: GateSettings, policy: Policy, devices: Devices, audit: AuditLog, clock: Clock
    ) -> None:
        self.settings = settings
        self.ruling = Ruling(policy)
        self.sessions = LiveSessions()
        self._cuts = Cuts()
        self._devices = devices
        self._audit = audit
        self._clock = clock
        self._tasks: asyncio.TaskGroup | None = None
        self._outline: Outline | None = None
        """Of the policies that rule; made when it is needed."""
        self._changes = 0
        """Of policy and devices, counted."""
        self._undecided: dict[Admission, datetime] = {}
        """Open sessions that could not be looked up, and since when."""
        self.decided: Callable[[Request, Decision], None] = _nobody
        """Observer of every recorded decision, for metrics."""
        devices.subscribe(self.devices_changed)

    def run_in(self, tasks: asyncio.TaskGroup) -> None:
        """Give the parent of the tasks that ask the store."""
        self._tasks = tasks

    # New sessions.

    def admit(self, claim: Claim, answer: Answered, *, rounds: int = _ROUNDS) -> None:
        """Decide about a new session; over again, up to so many times, when a change overtakes the record."""
        if not self._audit.writable:
            answer(Faulted("the audit log cannot be written"))
            return
        subject = identify_now(self.settings.binding, self._devices, claim.account, claim.certificate)
        if subject is not None:
            self._decide_new(claim, subject, answer, (self._changes, rounds))
        elif self._tasks is None:
            answer(Faulted("shutting down"))
        else:
            self._tasks.create_task(self._look_up(claim, answer, rounds), name=f"identify {claim.connection.conn}")

    async def _look_up(self, claim: Claim, answer: Answered, rounds: int) -> None:
        changes = self._changes
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
            is_overtaken = changes != self._changes
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
                    self._decide_again((admission,))
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

    # Open sessions.

    @property
    def policy(self) -> Policy:
        """In force for everybody whom no trial covers."""
        return self.ruling.policy

    def replace_policy(self, policy: Policy, trial: Trial | None = None) -> None:
        """Put another policy in force, and perhaps a newer one for some; every open session is decided again."""
        self._changes += 1
        self.ruling.policy = policy
        self.ruling.trial = trial
        self._outline = None
        self._decide_again(self.sessions.all())

    def waive(self, until: datetime | None) -> None:
        """Refuse nobody for the device until then (break-glass); None: as usual. Every session is decided again."""
        self._changes += 1
        self.ruling.waived_until = until
        self._decide_again(self.sessions.all())

    def replace_members(self, members: Mapping[str, frozenset[str]]) -> None:
        """Who is in the directory's groups changed; every open session is decided again."""
        self._changes += 1
        self.ruling.know_members(members)
        self._decide_again(self.sessions.all())

    def devices_changed(self, changes: tuple[DeviceChange, ...]) -> None:
        """Something about devices changed: decide again about the sessions it concerns."""
        self._changes += 1
        accounts = frozenset(change.account for change in changes)
        device_ids = frozenset(change.device_id for change in changes)
        self._decide_again(self.sessions.concerned(accounts, device_ids))

    def tick(self) -> None:
        """Called about every quarter of a second: decide again about what has expired or could not be looked up."""
        self._cuts.tick()
        now = self._clock.now()
        self._decide_again(self.sessions.due(now))
        if self._undecided:
            self._decide_again(tuple(self._undecided))

    def _decide_again(self, admissions: tuple[Admission, ...]) -> None:
        unknown = []
        for admission in admissions:
            if admission.revoked or admission not in self.sessions:
                continue
            subject = identify_now(
                self.settings.binding, self._devices, admission.request.account, admission.certificate
            )
            if subject is not None:
                self._apply(admission, subject)
            elif not admission.in_question:
                unknown.append(admission)
        if self._tasks is None:
            return
        for admission in unknown:
            admission.in_question = True
        if len(unknown) > LOOKED_UP_SINGLY:
            self._tasks.create_task(self._look_up_many(unknown), name=f"identify {len(unknown)} sessions again")
            return
        for admission in unknown:
            self._tasks.create_task(self._look_up_again(admission), name=f"identify again {admission.connection.conn}")

    async def _look_up_many(self, admissions: Sequence[Admission]) -> None:
        """What a new policy asks of thousands: some hundred at a time, and of no list more than it needs."""
        for start in range(0, len(admissions), LOOKED_UP_AT_ONCE):
            some = admissions[start : start + LOOKED_UP_AT_ONCE]
            changes = self._changes
            outline = self._outline = self._outline or Outline(self.ruling.policies)
            sessions = [(admission.request.account, admission.certificate) for admission in some]
            try:
                async with asyncio.timeout(self.settings.lookup_timeout_s):
                    subjects = await identify_many(self.settings.binding, self._devices, outline, sessions)
            except (Unavailable, TimeoutError):
                subjects = []
            except Exception as error:  # noqa: BLE001  the sessions' guard, as above
                _log.error("gate.fault", sessions=len(some), exc_info=error)
                subjects = []
            finally:
                for admission in some:
                    admission.in_question = False
            if changes != self._changes:
                self._decide_again(tuple(some))  # the answer may be from before the change
                continue
            for admission, subject in zip_longest(some, subjects):
                if subject is None:
                    self._undecidable(admission)
                else:
                    self._apply(admission, subject)

    async def _look_up_again(self, admission: Admission) -> None:
        changes = self._changes
        try:
            async with asyncio.timeout(self.settings.lookup_timeout_s):
                subject = await identify(
                    self.settings.binding, self._devices, admission.request.account, admission.certificate
                )
            admission.in_question = False
            self._apply(admission, subject)
        except (Unavailable, TimeoutError):
            self._undecidable(admission)
            return
        except Exception as error:  # noqa: BLE001  the session's guard, as above
            _log.error("gate.fault", conn=admission.connection.conn, exc_info=error)
            self._undecidable(admission)
            return
        finally:
            admission.in_question = False
        if changes != self._changes:
            self._decide_again((admission,))  # the answer may be from before the change

    def _undecidable(self, admission: Admission) -> None:
        """Keep the session for a while, for a fault of ours is not the person's; but not for ever."""
        if admission.revoked or admission not in self.sessions:
            return
        since = self._undecided.setdefault(admission, self._clock.now())
        if self._clock.now() - since > self.settings.undecided_grace:
            self._revoke(admission, replace(admission.decision, verdict=Verdict.UNAVAILABLE, valid_until=None))

    def _apply(self, admission: Admission, subject: Subject) -> None:
        if admission.revoked or admission not in self.sessions:
            return
        self._undecided.pop(admission, None)
        decision = self.ruling.decide(subject, admission.request, self._clock.now())
        if decision.verdict.admits:
            admission.decision = decision
            self.sessions.expect(decision.valid_until)
        else:
            self._revoke(admission, decision)

    def _revoke(self, admission: Admission, decision: Decision) -> None:
        self._undecided.pop(admission, None)
        admission.revoked = True
        admission.decision = decision
        self.decided(admission.request, decision)
        self._cuts.add(admission)

    def ended(self, admission: Admission, detail: Mapping[str, str | int]) -> None:
        """A session is over: its terminal record, of its own accord or revoked."""
        self.sessions.discard(admission)
        self._undecided.pop(admission, None)
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
