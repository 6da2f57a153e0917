"""Which policy rules: a trial's for whom it covers, the one in force for the rest."""

from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.decision import Decision, Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, Subject
from gatekeeper.domain.request import MailProtocol, Request
from gatekeeper.gate.ruling import Ruling, Trial, unit
from testkit.publishing import POLICY
from testkit.reports import ALICE, BOB, NOW

LAX = parse_policy(POLICY.replace('"block"', '"allow"').encode(), source="lax")
STRICT = parse_policy(POLICY.encode(), source="strict")
UNTIED = Subject(binding=Binding(assurance=Assurance.USER, method="user"), postures=())
TIED = Subject(binding=Binding(assurance=Assurance.PROVEN, method="x", claimed_device=DeviceId("ph-1")), postures=())


def ask(ruling: Ruling, account: str, subject: Subject = UNTIED) -> Verdict:
    """The verdict on a session."""
    return ruling.decide(subject, Request(account=account, protocol=MailProtocol.IMAP, listener="l"), NOW).verdict


def test_a_trial_rules_for_whom_it_covers() -> None:
    """And is told of everybody."""
    told: list[tuple[str, bool, Verdict]] = []

    def judged(who: str, is_new: bool, decision: Decision) -> None:
        told.append((who, is_new, decision.verdict))

    ruling = Ruling(LAX)
    assert ask(ruling, ALICE) is Verdict.ALLOW
    ruling.trial = Trial(STRICT, lambda who: who in (BOB, "ph-1"), judged)

    assert [ask(ruling, ALICE), ask(ruling, BOB), ask(ruling, ALICE, TIED)] == [
        Verdict.ALLOW,
        Verdict.BLOCK,
        Verdict.BLOCK,
    ]
    assert told == [(ALICE, False, Verdict.ALLOW), (BOB, True, Verdict.BLOCK), ("ph-1", True, Verdict.BLOCK)]
    assert ruling.policy_for(UNTIED, BOB) is STRICT


def test_a_session_counts_as_its_device_or_else_its_person() -> None:
    """Registered or not."""
    assert unit(TIED, ALICE) == "ph-1"
    assert unit(UNTIED, ALICE) == ALICE


def test_members_of_a_directory_reach_both_policies() -> None:
    """And the policies stay, to whoever asks for them, the ones that were put in force."""
    grouped = parse_policy(
        b'schema = 1\n[defaults]\nunknown_device = "allow"\n[groups]\nsales = { directory = "CN=Sales" }\n', source="p"
    )
    ruling = Ruling(grouped)
    trial = Trial(grouped, lambda _: True, lambda *_: None)
    ruling.trial = trial
    ruling.know_members({"CN=Sales": frozenset({"alice@example.com"})})
    nobody = Subject(binding=Binding(assurance=Assurance.USER, method="user"), postures=())
    assert ruling.policy is grouped
    assert ruling.trial is trial
    assert ruling.policy_for(nobody, "x").groups == {"sales": {"alice@example.com"}}
    ruling.trial = None
    assert ruling.policy_for(nobody, "x").groups == {"sales": {"alice@example.com"}}
    ruling.policy = grouped
    assert ruling.policy_for(nobody, "x").groups == {"sales": {"alice@example.com"}}


def test_who_moved_is_told() -> None:
    """Of the groups that the policies name; everybody, when a group becomes known or unknown."""
    grouped = parse_policy(
        b'schema = 1\n[defaults]\nunknown_device = "allow"\n[groups]\nsales = { directory = "CN=Sales" }\n', source="p"
    )
    ruling = Ruling(grouped)
    both, one = frozenset({"alice@example.com", "bob@example.com"}), frozenset({"bob@example.com"})
    assert ruling.know_members({}) == frozenset()
    assert ruling.know_members({"CN=Sales": both}) is None
    assert ruling.know_members({"CN=Sales": one, "CN=Other": both}) == {"alice@example.com"}
    assert ruling.know_members({"CN=Sales": one}) == frozenset()
    assert ruling.know_members({"CN=Other": both}) is None
