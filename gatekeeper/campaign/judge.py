"""One policy that decides again what a log says was decided, on postures that are held small.

INVARIANT: what is remembered of one decision answers another only where the policy cannot tell the two apart (a
property test compares with deciding each by itself).
"""

from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_network
from itertools import product

from gatekeeper.audit.decided import Decided
from gatekeeper.campaign.dates import events
from gatekeeper.campaign.ledger import Kept, Ledger
from gatekeeper.campaign.traits import ages, circles, named_devices, staged_rules
from gatekeeper.decision.decide import decide
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Decision, Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import Request

MAX_GROUPS = 4
"""Groups of the directory of which every membership is tried; a policy with more is not decided by again."""

Groups = Mapping[str, bool | None]
"""By the directory's name: whether the person was in the group then, None where that was not known."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_REMEMBERED = 50_000


class Gap(StrEnum):
    """Why a decision cannot be performed again."""

    NOT_RECORDED = "the record does not name the postures that were judged"
    POSTURE_GONE = "a posture that was judged is not kept: only its digest is, or it was pruned or erased"
    OTHER_POLICY = "it was made by a policy that is not at hand"
    OTHER_ENGINE = "it was made by another version of the decision procedure"
    ADDRESS_CUT = "a rule asks for a network, and the recorded address is cut too short to tell"
    GROUPS = "it hangs on groups of the directory, and whether the person was in them then is not recorded"
    WITHIN_COUNT = "it is one of several in a counted record, and they would differ"
    NAMELESS = "a name in it is a pseudonym, and whose it is was erased or is not known here"
    FAULT = "a fault decided it, not the policy"


class Judge:
    """One policy; what it cannot tell apart it decides once."""

    def __init__(self, policy: Policy, ledger: Ledger) -> None:
        self._policy = policy
        self._ledger = ledger
        scopes = [rule.scope for rule in policy.rules]
        self._networks = tuple(each for scope in scopes for each in (*scope.networks, *scope.not_networks))
        self._circles = circles([policy])
        self._named = named_devices([policy])
        self._staged = staged_rules([policy])
        self._events = sorted({_microseconds(at - _EPOCH) for at, _ in events(policy)})
        self._ages = [_microseconds(age) for age in ages([policy])]
        self._remembered: dict[Hashable, Decision | Gap] = {}

    def decide(self, decided: Decided, groups: Groups, now_us: int) -> Decision | Gap:
        """Again, with the person in these groups, as if it were that many microseconds since 1970."""
        address = self._address(decided) if self._networks else ""
        if address is None:
            return Gap.ADDRESS_CUT
        kept = []
        for place in decided.judged or ():
            found = self._ledger.find(*place)
            if found is None:
                return Gap.POSTURE_GONE
            kept.append(found)
        key = (
            decided.protocol,
            decided.listener,
            address,
            decided.assurance,
            decided.is_waived,
            self._circles.get(decided.account),
            tuple(groups.items()),
            bisect_right(self._events, now_us),
            *[
                self._traits(decided, place[0], each, now_us)
                for place, each in zip(decided.judged or (), kept, strict=True)
            ],
        )
        known = self._remembered.get(key)
        if known is None:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            known = self._remembered[key] = self._decide(
                decided, (address, groups), kept, _EPOCH + now_us * _MICROSECOND
            )
        return known

    def _traits(self, decided: Decided, device_id: str, kept: Kept, now_us: int) -> Hashable:
        """What the policy asks of a device at that instant."""
        age = bisect_right(self._ages, now_us - kept.collected_us)
        is_own = kept.account == decided.account
        named = device_id if device_id in self._named else None
        if not self._staged:
            return kept.shape, age, is_own, named
        device = self._ledger.posture(device_id, kept).device
        now = _EPOCH + now_us * _MICROSECOND
        return kept.shape, age, is_own, named, tuple([rule.phases_for(device).at(now) for rule in self._staged])

    def _decide(
        self, decided: Decided, whence: tuple[str, Groups], kept: Sequence[Kept], now: datetime
    ) -> Decision | Gap:
        """`whence`: the address, and the groups that the person was in."""
        address, groups = whence
        postures = tuple(
            self._ledger.posture(device_id, each)
            for (device_id, _), each in zip(decided.judged or (), kept, strict=True)
        )
        subject, request = _subject(decided, postures), _request(decided, address)
        decision = _as_far_as_known(self._policy, groups, subject, request, now)
        if decision is None:
            return Gap.GROUPS
        if decided.is_waived and not decision.verdict.admits:
            return replace(decision, verdict=Verdict.ALLOW)
        return decision

    def _address(self, decided: Decided) -> str | None:
        """An address that lies in the same networks of the policy as the phone's; None: the cut one cannot tell."""
        if decided.address is None or decided.prefix is None:
            return decided.address or ""
        cut = ip_network((decided.address, decided.prefix), strict=False)
        for network in self._networks:
            if cut.version == network.version and cut.overlaps(network) and cut.prefixlen < network.prefixlen:
                return None
        return decided.address


def _as_far_as_known(
    policy: Policy, groups: Groups, subject: Subject, request: Request, now: datetime
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
    return decisions[0]


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


def _microseconds(duration: timedelta) -> int:
    return duration // _MICROSECOND
