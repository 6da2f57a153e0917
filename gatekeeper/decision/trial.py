"""Running the tests of a policy: which fail, which rules they reach in which phase, and which they would not miss.

A test that passes proves little by itself. So each rule is taken away in turn: some test must fail then, else nothing
would be noticed if somebody deleted the rule (mutation).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gatekeeper.decision.cases import Case
from gatekeeper.decision.decide import decide, judged_by
from gatekeeper.decision.judgement import judge
from gatekeeper.decision.message import render
from gatekeeper.decision.policy import Policy, Rule
from gatekeeper.domain.decision import Decision, Phase

_CHECK_URL = "https://gatekeeper.example/why"
_CODE = "0" * 16

Place = tuple[str, Phase]
"""A rule in one of its phases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One test and what is not as it expects; empty: it passed."""

    case: Case
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What running the tests found."""

    outcomes: tuple[Outcome, ...]
    reached: frozenset[Place]
    """Rules in phases in which some test breaks them, or would but for an exemption."""
    reachable: tuple[Place, ...]
    """Every rule in every phase that it ever has."""
    unmissed: tuple[str, ...]
    """Rules without which every test still passes."""

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The tests that did not pass."""
        return tuple(outcome for outcome in self.outcomes if outcome.differences)

    @property
    def unreached(self) -> tuple[Place, ...]:
        """What no test comes to, in the order of the policy."""
        return tuple(place for place in self.reachable if place not in self.reached)

    @property
    def coverage(self) -> int:
        """Percent of `reachable`, rounded down; 100 where there is nothing to reach."""
        if not self.reachable:
            return 100
        return 100 * (len(self.reachable) - len(self.unreached)) // len(self.reachable)


def run(policy: Policy, cases: Sequence[Case], *, mutate: bool = True) -> Trial:
    """Run the tests, and run them again without each rule; no test can tell when some fail to begin with."""
    outcomes = tuple(Outcome(case=case, differences=differences(policy, case)) for case in cases)
    fails = any(outcome.differences for outcome in outcomes)
    return Trial(
        outcomes=outcomes,
        reached=frozenset(place for case in cases for place in _reached(policy, case)),
        reachable=tuple((rule.id, phase) for rule in policy.rules for phase in phases_of(rule)),
        unmissed=_unmissed(policy, cases) if mutate and not fails else (),
    )


def phases_of(rule: Rule) -> tuple[Phase, ...]:
    """The phases that a rule has for some device at some time: grace and rollout put a warning before enforcement."""
    phases = rule.phases
    is_put_off = bool(rule.grace or rule.rollout) and phases.enforce is not None
    given = ((Phase.OBSERVE, phases.observe), (Phase.WARN, phases.warn), (Phase.ENFORCE, phases.enforce))
    return tuple(phase for phase, begin in given if begin is not None or (phase is Phase.WARN and is_put_off))


def differences(policy: Policy, case: Case) -> tuple[str, ...]:
    """What a decision has otherwise than the test expects, `what: got, expected`."""
    decision = decide(_known(policy, case), case.subject, case.request, case.now)
    expected = case.expected
    found = [
        f"session.groups: the policy takes no group `{name}` from a directory"
        for name in case.groups or ()
        if name not in policy.directory_groups
    ]
    found += [
        f"{name}: is {_shown(is_)}, expected {_shown(wanted)}"
        for name, is_, wanted in (
            ("verdict", decision.verdict, expected.verdict),
            ("rules", decision.rule_ids, expected.rules),
            ("reasons", decision.reasons, expected.reasons),
            ("posture", decision.posture, expected.posture),
            ("phase", decision.phase, expected.phase),
            ("exemptions", decision.exemptions, expected.exemptions),
            ("deadline", decision.deadline, expected.deadline),
            ("valid_until", decision.valid_until, expected.valid_until),
        )
        if wanted is not None and is_ != wanted
    ]
    if expected.message is not None:
        told = message(decision)
        if expected.message not in told:
            found.append(f"message: is `{told}`, expected `{expected.message}` in it")
    return tuple(found)


def _known(policy: Policy, case: Case) -> Policy:
    """The policy, with what the test says of who is in the directory's groups."""
    if case.groups is None or not policy.directory_groups:
        return policy
    who = frozenset({case.request.account})
    members = dict.fromkeys(policy.directory_groups.values(), frozenset[str]())
    return policy.with_groups(
        members | {policy.directory_groups[name]: who for name in policy.directory_groups if name in case.groups}
    )


def message(decision: Decision) -> str:
    """What the person is told, with stand-ins for what a running gate fills in; empty: nothing."""
    if decision.message is None:
        return ""
    words = render(
        decision.message, app=decision.app_name, check_url=_CHECK_URL, deadline=decision.deadline, code=_CODE
    )
    return " ".join(words)


def _reached(policy: Policy, case: Case) -> list[Place]:
    places: list[Place] = []
    known = _known(policy, case)
    without = replace(known, exemptions=()) if known.exemptions else known
    for posture in judged_by(case.subject):
        found = judge(without, posture, case.request, case.now)
        places.extend((hit.rule.id, hit.phase) for hit in found.hits)
    return places


def _unmissed(policy: Policy, cases: Sequence[Case]) -> tuple[str, ...]:
    found = []
    for place, rule in enumerate(policy.rules):
        others = (*policy.rules[:place], *policy.rules[place + 1 :])
        mutant = replace(policy, rules=others)
        if not any(differences(mutant, case) for case in cases):
            found.append(rule.id)
    return tuple(found)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value) if value is not None else "none"
