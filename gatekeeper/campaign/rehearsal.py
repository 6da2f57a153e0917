"""Logged decisions performed again, by the same policy or by another, on the very postures they were made on.

Nothing is guessed: a decision of which any input is not known any more is counted under the reason, and not performed.
What the log says is compared, not trusted: verdict and rules have to come out again.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gatekeeper.audit.decided import Decided
from gatekeeper.audit.record import ENGINE, RULES_KEPT
from gatekeeper.campaign.judge import Gap, Groups, Judge
from gatekeeper.campaign.ledger import Ledger
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Verdict

MAX_DIFFERENCES = 100_000
"""Told one by one; all are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision that would have been another one."""

    decided: Decided
    verdict: Verdict
    rules: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of it; figures count decisions, not records."""

    records: int = 0
    decisions: int = 0
    same: int = 0
    different: int = 0
    gaps: Counter[Gap] = field(default_factory=Counter)
    turns: Counter[tuple[Verdict, Verdict]] = field(default_factory=Counter)
    """From one verdict to another."""
    rules: Counter[str] = field(default_factory=Counter)
    """Of the different ones: rules that apply now and did not, or the other way round."""
    accounts: set[str] = field(default_factory=set)
    """Who would have noticed: another verdict."""
    devices: set[str] = field(default_factory=set)
    differences: list[Difference] = field(default_factory=list)

    @property
    def performed(self) -> int:
        """Decisions that could be performed again."""
        return self.same + self.different


Named = Callable[[Decided], Decided | None]
"""The decision with names in the place of pseudonyms; None: one of them is not known. Reports keep the pseudonyms."""


class Rehearsal:
    """Takes decisions in; `report` tells what came out."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        candidate: Policy | None,
        ledger: Ledger,
        named: "Named | None" = None,
    ) -> None:
        """With a candidate every decision is made by it, else by that of `policies` (by digest) that made it."""
        self.report = Report()
        self._policies = policies
        self._named = named or _as_it_is
        self._candidate = None if candidate is None else Judge(candidate, ledger)
        self._judges = {digest: Judge(policy, ledger) for digest, policy in policies.items()}

    def take(self, decided: Decided) -> None:
        """One record of the log."""
        report = self.report
        report.records += 1
        report.decisions += decided.times
        known = self._named(decided)
        found = Gap.NAMELESS if known is None else self._perform(known)
        if isinstance(found, Gap):
            report.gaps[found] += decided.times
        elif self._is_same(decided, found):
            report.same += decided.times
        else:
            self._differs(decided, found)

    def _perform(self, decided: Decided) -> Decision | Gap:
        if decided.verdict is Verdict.UNAVAILABLE:
            return Gap.FAULT
        if decided.judged is None:
            return Gap.NOT_RECORDED
        if self._candidate is None and decided.engine != ENGINE:
            return Gap.OTHER_ENGINE
        judge = self._candidate or self._judges.get(decided.policy_sha256)
        if judge is None:
            return Gap.OTHER_POLICY
        begin, groups = decided.time_ms * 1000, self._groups(decided)
        found = judge.decide(decided, groups, begin)
        if not isinstance(found, Decision):
            return found
        if not self._is_same(decided, found):
            # The record rounds the instant down to a millisecond; the decision was made somewhere within it.
            late = judge.decide(decided, groups, begin + 999)
            if isinstance(late, Decision) and self._is_same(decided, late):
                found = late
        if decided.start_ms is not None:
            first = judge.decide(decided, groups, decided.start_ms * 1000)
            if isinstance(first, Decision) and first.verdict is not found.verdict:
                return Gap.WITHIN_COUNT
        return found

    def _groups(self, decided: Decided) -> Groups:
        """Of the groups that the record tells of, by the policy's own names for them."""
        made_by = self._policies.get(decided.policy_sha256)
        was_in, unknown = decided.groups, decided.groups_unknown
        if made_by is None or was_in is None:
            return {}
        found: dict[str, bool | None] = {}
        for name, place in made_by.directory_groups.items():
            found[place] = None if name in unknown else name in was_in
        return found

    def _is_same(self, decided: Decided, found: Decision) -> bool:
        """A candidate is compared by what people notice; the policy that decided must name the same rules, too."""
        if found.verdict is not decided.verdict:
            return False
        recorded = decided.rules
        if self._candidate is not None or found.rule_ids == recorded:
            return True
        return len(recorded) in RULES_KEPT and found.rule_ids[: len(recorded)] == recorded

    def _differs(self, decided: Decided, found: Decision) -> None:
        report = self.report
        report.different += decided.times
        report.turns[decided.verdict, found.verdict] += decided.times
        for rule in {*decided.rules} ^ {*found.rule_ids}:
            report.rules[rule] += decided.times
        report.accounts.add(decided.account)
        if decided.device is not None:
            report.devices.add(decided.device)
        if len(report.differences) < MAX_DIFFERENCES:
            reasons = tuple(reason.value for reason in found.reasons)
            report.differences.append(Difference(decided, found.verdict, found.rule_ids, reasons))


def _as_it_is(decided: Decided) -> Decided:
    return decided
