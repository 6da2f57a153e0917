"""Re-decision: open sessions are decided again when something changes, and cut when they no longer stand.

What holds inside:

* What changes (policy, trial, members, devices, break-glass, time) is counted in `changes` first and looked at then; an
  answer of the store from before a change is asked for again.
* A session is cut at most once, and only by a decision; what cannot be looked up is a fault of ours, which it outlasts
  for a while but not for ever.
* At most one look-up for each session is under way; that of very many goes on in portions, so that log-ins get in
  between.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest

import structlog

from gatekeeper.campaign.outline import Outline
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Verdict
from gatekeeper.domain.posture import Subject
from gatekeeper.gate.cuts import Cuts
from gatekeeper.gate.identify import identify, identify_many, identify_now
from gatekeeper.gate.ruling import Ruling, Trial
from gatekeeper.gate.sessions import Admission, LiveSessions
from gatekeeper.gate.settings import GateSettings
from gatekeeper.ports.clock import Clock
from gatekeeper.ports.devices import DeviceChange, Devices, Unavailable

_log = structlog.get_logger("gatekeeper.gate")

LOOKED_UP_SINGLY = 16
"""Sessions that are looked up one by one, and remembered, when something changes; more are looked up together."""
LOOKED_UP_AT_ONCE = 500
"""Some ten milliseconds of work, after which everybody else gets in between."""


class Redecision:
    """Decides about open sessions again."""

    def __init__(
        self,
        *,
        settings: GateSettings,
        ruling: Ruling,
        sessions: LiveSessions,
        devices: Devices,
        clock: Clock,
        revoked: Callable[[Admission], None],
    ) -> None:
        self.settings = settings
        self.changes = 0
        """Of policy and devices, counted."""
        self._ruling = ruling
        self._sessions = sessions
        self._devices = devices
        self._clock = clock
        self._revoked = revoked
        """Told of every session that no longer stands, before it is cut."""
        self._cuts = Cuts()
        self._tasks: asyncio.TaskGroup | None = None
        self._outline: Outline | None = None
        """Of the policies that rule; made when it is needed."""
        self._undecided: dict[Admission, datetime] = {}
        """Open sessions that could not be looked up, and since when."""
        devices.subscribe(self.devices_changed)

    def run_in(self, tasks: asyncio.TaskGroup) -> None:
        """Give the parent of the tasks that ask the store."""
        self._tasks = tasks

    def replace_policy(self, policy: Policy, trial: Trial | None = None) -> None:
        """Put another policy in force, and perhaps a newer one for some; every open session is decided again."""
        self.changes += 1
        self._ruling.policy = policy
        self._ruling.trial = trial
        self._outline = None
        self.decide_again(self._sessions.all())

    def waive(self, until: datetime | None) -> None:
        """Refuse nobody for the device until then (break-glass); None: as usual. Every session is decided again."""
        self.changes += 1
        self._ruling.waived_until = until
        self.decide_again(self._sessions.all())

    def replace_members(self, members: Mapping[str, frozenset[str]]) -> frozenset[str] | None:
        """Who is in the directory's groups changed; the open sessions of those who moved are decided again.

        Returns who that is; None: everybody, for a group has become known or unknown.
        """
        moved = self._ruling.know_members(members)
        if moved is None:
            self.changes += 1
            self.decide_again(self._sessions.all())
        elif moved:
            self.changes += 1
            self.decide_again(self._sessions.concerned(moved, frozenset()))
        return moved

    def devices_changed(self, changes: tuple[DeviceChange, ...]) -> None:
        """Something about devices changed: decide again about the sessions it concerns."""
        self.changes += 1
        accounts = frozenset(change.account for change in changes)
        device_ids = frozenset(change.device_id for change in changes)
        self.decide_again(self._sessions.concerned(accounts, device_ids))

    def tick(self) -> None:
        """Called about every quarter of a second: decide again about what has expired or could not be looked up."""
        self._cuts.tick()
        now = self._clock.now()
        self.decide_again(self._sessions.due(now))
        if self._undecided:
            self.decide_again(tuple(self._undecided))

    def decide_again(self, admissions: tuple[Admission, ...]) -> None:
        """Now for those that memory knows everything about, else when the store has answered."""
        unknown = []
        for admission in admissions:
            if admission.revoked or admission not in self._sessions:
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
            changes = self.changes
            outline = self._outline = self._outline or Outline(self._ruling.policies)
            sessions = [(admission.request.account, admission.certificate) for admission in some]
            try:
                async with asyncio.timeout(self.settings.lookup_timeout_s):
                    subjects = await identify_many(self.settings.binding, self._devices, outline, sessions)
            except (Unavailable, TimeoutError):
                subjects = []
            except Exception as error:  # noqa: BLE001  the sessions' guard: a task is one of many
                _log.error("gate.fault", sessions=len(some), exc_info=error)
                subjects = []
            finally:
                for admission in some:
                    admission.in_question = False
            if changes != self.changes:
                self.decide_again(tuple(some))  # the answer may be from before the change
                continue
            for admission, subject in zip_longest(some, subjects):
                if subject is None:
                    self._undecidable(admission)
                else:
                    self._apply(admission, subject)

    async def _look_up_again(self, admission: Admission) -> None:
        changes = self.changes
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
        except Exception as error:  # noqa: BLE001  as above
            _log.error("gate.fault", conn=admission.connection.conn, exc_info=error)
            self._undecidable(admission)
            return
        finally:
            admission.in_question = False
        if changes != self.changes:
            self.decide_again((admission,))  # the answer may be from before the change

    def forget(self, admission: Admission) -> None:
        """The session is over."""
        self._undecided.pop(admission, None)

    def _undecidable(self, admission: Admission) -> None:
        """Keep the session for a while, for a fault of ours is not the person's; but not for ever."""
        if admission.revoked or admission not in self._sessions:
            return
        since = self._undecided.setdefault(admission, self._clock.now())
        if self._clock.now() - since > self.settings.undecided_grace:
            self._revoke(admission, replace(admission.decision, verdict=Verdict.UNAVAILABLE, valid_until=None))

    def _apply(self, admission: Admission, subject: Subject) -> None:
        if admission.revoked or admission not in self._sessions:
            return
        self._undecided.pop(admission, None)
        decision = self._ruling.decide(subject, admission.request, self._clock.now())
        if decision.verdict.admits:
            admission.decision = decision
            self._sessions.expect(decision.valid_until)
        else:
            self._revoke(admission, decision)

    def _revoke(self, admission: Admission, decision: Decision) -> None:
        self._undecided.pop(admission, None)
        admission.revoked = True
        admission.decision = decision
        self._revoked(admission)
        self._cuts.add(admission)
