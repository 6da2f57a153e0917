"""Which policy rules on a session: the one in force, or a newer one that a share of the devices gets first.

What decides is `decision.decide` in either case. A device, or a person whose session is tied to no device, always comes
to the same side of a trial while it lasts, on every worker and after a restart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gatekeeper.decision.decide import decide
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Phase, Verdict
from gatekeeper.domain.posture import Subject
from gatekeeper.domain.request import Request


@dataclass(frozen=True, slots=True)
class Trial:
    """A newer policy on its way to everybody."""

    policy: Policy
    covers: Callable[[str], bool]
    """Whether a device, or person, gets it already."""
    judged: Callable[[str, bool, Decision], None]
    """Told of every decision: about whom, whether by the newer policy, and what it is."""


class Ruling:
    """The policies of the process."""

    __slots__ = ("_members", "_policy", "_policy_of_all", "_trial", "_trial_of_some", "waived_until")

    def __init__(self, policy: Policy) -> None:
        self._members: Mapping[str, frozenset[str]] = {}
        self.policy = policy
        self.trial = None
        self.waived_until: datetime | None = None
        """Break-glass: until then nobody is refused for the device."""

    @property
    def policy(self) -> Policy:
        """In force for everybody whom the trial does not cover; as it was given."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._policy_of_all = self._with_members(policy)

    @property
    def trial(self) -> Trial | None:
        """As it was given."""
        return self._trial

    @trial.setter
    def trial(self, trial: Trial | None) -> None:
        self._trial = trial
        self._trial_of_some = None if trial is None else replace(trial, policy=self._with_members(trial.policy))

    def know_members(self, members: Mapping[str, frozenset[str]]) -> frozenset[str] | None:
        """Take over the members of the directory's groups, by the directory's names.

        Returns who moved; None: everybody, for a group has become known or unknown.
        """
        before, self._members = self._members, members
        self.policy, self.trial = self._policy, self._trial
        moved: set[str] = set()
        for place in {place for policy in self.policies for place in policy.directory_groups.values()}:
            was, is_ = before.get(place), members.get(place)
            if was is not None and is_ is not None:
                moved |= was ^ is_
            elif was is not is_:
                return None
        return frozenset(moved)

    def _with_members(self, policy: Policy) -> Policy:
        return policy.with_groups(self._members) if policy.directory_groups else policy

    @property
    def policies(self) -> tuple[Policy, ...]:
        """All that can rule now."""
        return (self.policy,) if self.trial is None else (self.policy, self.trial.policy)

    def policy_for(self, subject: Subject, account: str) -> Policy:
        """The policy that rules on a session."""
        trial = self._trial_of_some
        if trial is not None and trial.covers(unit(subject, account)):
            return trial.policy
        return self._policy_of_all

    def decide(self, subject: Subject, request: Request, now: datetime) -> Decision:
        """The decision, by the policy that rules, and what break-glass makes of it."""
        decision = self._decide(subject, request, now)
        if self.waived_until is None or now >= self.waived_until or decision.verdict.admits:
            return decision
        return _waived(decision, self.waived_until)

    def is_waived(self, now: datetime) -> bool:
        """Whether break-glass is open."""
        return self.waived_until is not None and now < self.waived_until

    def _decide(self, subject: Subject, request: Request, now: datetime) -> Decision:
        trial = self._trial_of_some
        if trial is None:
            return decide(self._policy_of_all, subject, request, now)
        who = unit(subject, request.account)
        is_covered = trial.covers(who)
        decision = decide(trial.policy if is_covered else self._policy_of_all, subject, request, now)
        trial.judged(who, is_covered, decision)
        return decision


def _waived(decision: Decision, until: datetime) -> Decision:
    """Let through, observed as what would be blocked, and decided again when break-glass ends."""
    ends = until if decision.valid_until is None else min(decision.valid_until, until)
    return replace(decision, verdict=Verdict.ALLOW, phase=Phase.OBSERVE, message=None, valid_until=ends)


def unit(subject: Subject, account: str) -> str:
    """What a trial counts: the device that a session is tied to, else the person."""
    return subject.binding.claimed_device or account
