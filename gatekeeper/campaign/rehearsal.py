"""Logged decisions performed again, by the same policy or by another, on the very postures they were made on.

Nothing is guessed: a decision of which any input is not known any more is counted under the reason, and not performed.
What the log says is compared, not trusted: verdict and rules have to come out again.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_network
from itertools import product
from typing import NamedTuple

from gatekeeper.audit.decided import Decided
from gatekeeper.audit.record import ENGINE, RULES_KEPT
from gatekeeper.decision.decide import decide
from gatekeeper.decision.policy import Network, Policy
from gatekeeper.domain.decision import Decision, Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import Request

MAX_DIFFERENCES = 100_000
"""Told one by one; all are counted."""

MAX_GROUPS = 4
"""Groups of the directory of which every membership is tried; a policy with more is not decided by again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ALMOST_A_MILLISECOND = timedelta(microseconds=999)
_MAX_REMEMBERED = 50_000
_FOREVER = datetime.max.replace(tzinfo=UTC)


class Gap(StrEnum):
    """Why a decision cannot be performed again."""

    NOT_RECORDED = "the record does not name the postures that were judged"
    POSTURE_GONE = "a posture that was judged is no longer kept"
    OTHER_POLICY = "it was made by a policy that is not at hand"
    OTHER_ENGINE = "it was made by another version of the decision procedure"
    ADDRESS_CUT = "a rule asks for a network, and the recorded address is cut too short to tell"
    GROUPS = "it hangs on groups of the directory, and whether the person was in them then is not recorded"
    WITHIN_COUNT = "it is one of several in a counted record, and they would differ"
    NAMELESS = "a name in it is a pseudonym, and whose it is was erased or is not known here"
    FAULT = "a fault decided it, not the policy"


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


class _Remembered(NamedTuple):
    since: datetime
    until: datetime
    decision: Decision


class Rehearsal:
    """Takes decisions in; `report` tells what came out."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        candidate: Policy | None,
        postures: Mapping[tuple[str, int], Posture],
        named: "Named | None" = None,
    ) -> None:
        """With a candidate every decision is made by it, else by that of `policies` (by digest) that made it."""
        self.report = Report()
        self._policies = policies
        self._candidate = candidate
        self._postures = postures
        self._named = named or _as_it_is
        self._networks: dict[str, tuple[Network, ...]] = {}
        self._remembered: dict[object, _Remembered] = {}

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
        policy = self._candidate or self._policies.get(decided.policy_sha256)
        if policy is None:
            return Gap.OTHER_POLICY
        address = self._address(policy, decided)
        if address is None:
            return Gap.ADDRESS_CUT
        return self._decide_when(policy, decided, address)

    def _decide_when(self, policy: Policy, decided: Decided, address: str) -> Decision | Gap:
        begin = _EPOCH + decided.time_ms * _MILLISECOND
        found = self._decide(policy, decided, address, begin)
        if not isinstance(found, Decision):
            return found
        if not self._is_same(decided, found):
            # The record rounds the instant down to a millisecond; the decision was made somewhere within it.
            late = self._decide(policy, decided, address, begin + _ALMOST_A_MILLISECOND)
            if isinstance(late, Decision) and self._is_same(decided, late):
                found = late
        if decided.start_ms is not None:
            first = self._decide(policy, decided, address, _EPOCH + decided.start_ms * _MILLISECOND)
            if isinstance(first, Decision) and first.verdict is not found.verdict:
                return Gap.WITHIN_COUNT
        return found

    def _decide(self, policy: Policy, decided: Decided, address: str, now: datetime) -> Decision | Gap:
        # A phone that polls is decided on the same again and again, with the same answer until `valid_until`.
        key = (
            policy.sha256,
            decided.policy_sha256,
            decided.account,
            decided.protocol,
            decided.listener,
            address,
            decided.assurance,
            decided.claimed_device,
            decided.judged,
            decided.groups,
            decided.groups_unknown,
            decided.is_waived,
        )
        known = self._remembered.get(key)
        if known is not None and known.since <= now < known.until:
            return known.decision
        postures = []
        for place in decided.judged or ():
            posture = self._postures.get(place)
            if posture is None:
                return Gap.POSTURE_GONE
            postures.append(posture)
        subject, request = _subject(decided, tuple(postures)), _request(decided, address)
        decision = _as_far_as_known(policy, self._groups(decided), subject, request, now)
        if decision is None:
            return Gap.GROUPS
        if decided.is_waived and not decision.verdict.admits:
            decision = replace(decision, verdict=Verdict.ALLOW)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = _Remembered(now, decision.valid_until or _FOREVER, decision)
        return decision

    def _groups(self, decided: Decided) -> Mapping[str, bool | None]:
        """By the directory's name: whether the person was in the group then, None where that was not known.

        Of the groups that the record tells of, by the policy's own names for them.
        """
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

    def _address(self, policy: Policy, decided: Decided) -> str | None:
        """An address that lies in the same networks of the policy as the phone's; None: the cut one cannot tell."""
        networks = self._networks.get(policy.sha256)
        if networks is None:
            scopes = [rule.scope for rule in policy.rules]
            networks = tuple(each for scope in scopes for each in (*scope.networks, *scope.not_networks))
            self._networks[policy.sha256] = networks
        if not networks:
            return ""
        if decided.address is None or decided.prefix is None:
            return decided.address or ""
        cut = ip_network((decided.address, decided.prefix), strict=False)
        for network in networks:
            if cut.version == network.version and cut.overlaps(network) and cut.prefixlen < network.prefixlen:
                return None
        return decided.address


def _as_it_is(decided: Decided) -> Decided:
    return decided


def _as_far_as_known(
    policy: Policy, groups: Mapping[str, bool | None], subject: Subject, request: Request, now: datetime
) -> Decision | None:
    """The decision, with the person in these groups of the directory and not in those.

    Of groups that are not among them, every membership is tried: None, unless all come to the same.
    """
    places = tuple(dict.fromkeys(policy.directory_groups.values()))
    if not places:
        return decide(policy, subject, request, now)
    people = {True: frozenset({request.account}), False: frozenset[str]()}
    known = {place: people[was_in] for place, was_in in groups.items() if was_in is not None}
    open_ = [place for place in places if place not in groups]
    if len(open_) > MAX_GROUPS:
        return None
    decisions = []
    for members in product((None, *people.values()), repeat=len(open_)):
        tried = {place: members_ for place, members_ in zip(open_, members, strict=True) if members_ is not None}
        decisions.append(decide(policy.with_groups({**known, **tried}), subject, request, now))
    if len({(decision.verdict, decision.rule_ids) for decision in decisions}) > 1:
        return None
    until = min((decision.valid_until for decision in decisions if decision.valid_until), default=None)
    return replace(decisions[0], valid_until=until)


def _subject(decided: Decided, postures: tuple[Posture, ...]) -> Subject:
    claimed = decided.claimed_device
    if claimed is None and decided.assurance is not Assurance.USER:
        claimed = decided.device
    binding = Binding(
        assurance=decided.assurance,
        method=decided.method,
        claimed_device=DeviceId(claimed) if claimed is not None else None,
    )
    return Subject(binding=binding, postures=postures)


def _request(decided: Decided, address: str) -> Request:
    return Request(
        account=decided.account, protocol=decided.protocol, listener=decided.listener, client_address=address
    )
