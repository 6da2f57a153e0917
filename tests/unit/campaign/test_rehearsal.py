"""Decisions performed again."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from decision.samples import NOON, TIKTOK, policy, posture, rule
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.audit.decided import Decided
from gatekeeper.audit.record import milliseconds
from gatekeeper.campaign.judge import Gap
from gatekeeper.campaign.ledger import Ledger
from gatekeeper.campaign.rehearsal import Rehearsal, Report
from gatekeeper.decision.decide import decide
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.posture import Assurance, Binding, Posture, Subject
from gatekeeper.domain.request import MailProtocol, Request

MS = timedelta(milliseconds=1)
STALE = '[defaults]\nevidence_max_age = "24h"\nstale = "warn"\n'
LIVE = policy(STALE + rule('{ id = "com.zhiliaoapp.musically" }', phases='warn = "2020-01-01"'))
STRICT = policy(STALE + rule('{ id = "com.zhiliaoapp.musically" }'))
PHONE = replace(posture([TIKTOK]), revision=7)
ALICE = frozenset({"alice@example.com"})


def decided(phone: Posture = PHONE, made_by: Policy = LIVE, now: datetime = NOON, **more: object) -> Decided:
    """What the log says of a session of alice that is tied to her only."""
    request = Request(account="alice@example.com", protocol=MailProtocol.IMAP, listener="imaps")
    subject = Subject(binding=Binding(assurance=Assurance.USER, method="user"), postures=(phone,))
    decision = decide(made_by, subject, request, now)
    facts: dict[str, object] = {
        "sequence": 1,
        "code": "GK1001I",
        "time_ms": milliseconds(now),
        "start_ms": None,
        "times": 1,
        "verdict": decision.verdict,
        "rules": decision.rule_ids,
        "account": request.account,
        "protocol": request.protocol,
        "listener": request.listener,
        "address": "198.51.100.0",
        "prefix": 24,
        "assurance": Assurance.USER,
        "method": "user",
        "claimed_device": None,
        "device": phone.device.device_id,
        "judged": decision.judged,
        "policy_sha256": made_by.sha256,
        "engine": "1",
        "groups": decision.groups,
        "groups_unknown": decision.groups_unknown,
        "is_waived": False,
    }
    return Decided(**{**facts, **more})  # type: ignore[arg-type]  # spelled like the fields


def ledger(*kept: Posture) -> Ledger:
    """Of one device."""
    found = Ledger()
    if kept:
        found.add(kept)
    return found


def taken(*records: Decided, candidate: Policy | None = None, kept: tuple[Posture, ...] = (PHONE,)) -> Report:
    """What comes of them with `LIVE` at hand."""
    rehearsal = Rehearsal({LIVE.sha256: LIVE}, candidate, ledger(*kept))
    for record in records:
        rehearsal.take(record)
    return rehearsal.report


def test_what_is_recorded_comes_out_again() -> None:
    """Verdict and rules."""
    report = taken(decided())

    assert (report.decisions, report.same, report.different, report.gaps) == (1, 1, 0, {})


def test_a_candidate_is_compared_by_its_verdict() -> None:
    """With counts from one verdict to the other; counted records count as often as they happened."""
    report = taken(decided(times=3), decided(), candidate=STRICT)

    assert (report.records, report.decisions, report.different) == (2, 4, 4)
    assert report.turns == {(Verdict.WARN, Verdict.BLOCK): 4}
    assert (report.accounts, report.devices) == ({"alice@example.com"}, {"ph-001"})
    assert [(each.verdict, each.rules) for each in report.differences] == [(Verdict.BLOCK, ("r",))] * 2


@pytest.mark.parametrize(
    ("record", "gap"),
    [
        (decided(judged=None), Gap.NOT_RECORDED),
        (decided(judged=(("ph-001", 6),)), Gap.POSTURE_GONE),
        (decided(policy_sha256="f" * 64), Gap.OTHER_POLICY),
        (decided(engine="0"), Gap.OTHER_ENGINE),
        (decided(verdict=Verdict.UNAVAILABLE), Gap.FAULT),
    ],
    ids=lambda value: value.name if isinstance(value, Gap) else "",
)
def test_what_is_not_known_is_counted_and_not_guessed(record: Decided, gap: Gap) -> None:
    """Also where the present posture would give the same answer."""
    report = taken(record._replace(times=2))

    assert (report.performed, report.gaps) == (0, {gap: 2})


def test_rules_have_to_come_out_again_too() -> None:
    """A record that names other rules than its policy finds was not made by it."""
    assert taken(decided(rules=("r", "other"))).different == 1
    assert taken(decided(rules=())).different == 1


def test_an_address_that_was_cut_is_used_as_far_as_it_tells() -> None:
    """A network that holds all or nothing of what is left is answered; one that splits it is not."""
    tail = 'scope = { networks = ["%s"] }'
    rules = rule('{ id = "com.zhiliaoapp.musically" }', tail)
    for network, expected in (("198.51.0.0/16", 1), ("192.0.2.0/24", 0)):
        assert taken(decided(), candidate=policy(STALE + rules % network)).different == 1
        report = taken(decided(), candidate=policy(STALE + rules % network))
        assert report.differences[0].verdict is (Verdict.BLOCK if expected else Verdict.ALLOW)
    assert taken(decided(), candidate=policy(STALE + rules % "198.51.100.128/25")).gaps == {Gap.ADDRESS_CUT: 1}
    whole = decided(address="198.51.100.200", prefix=None)
    assert taken(whole, candidate=policy(STALE + rules % "198.51.100.128/25")).different == 1


def test_counted_decisions_on_both_sides_of_a_date_are_not_guessed() -> None:
    """Which of them came before is not recorded."""
    begin = (NOON - 30 * 1000 * MS).isoformat()
    candidate = policy(STALE + rule('{ id = "com.zhiliaoapp.musically" }', phases=f'enforce = "{begin}"'))
    counted = decided(times=5, start_ms=milliseconds(NOON) - 60_000)

    assert taken(counted, candidate=candidate).gaps == {Gap.WITHIN_COUNT: 5}
    assert taken(counted).same == 5


@given(st.integers(-3000, 3000), st.integers(0, 3000))
def test_rounding_to_milliseconds_makes_no_difference(offset: int, age: int) -> None:
    """Evidence that grew stale within the very millisecond of the decision."""
    phone = replace(posture([TIKTOK], collected_at=NOON - timedelta(hours=24, microseconds=age)), revision=7)
    record = decided(phone, now=NOON + timedelta(microseconds=offset))

    assert taken(record, kept=(phone,)).same == 1


def test_what_break_glass_let_through_is_let_through_again() -> None:
    """By whatever policy: it waived every refusal."""
    waived = decided(made_by=STRICT, verdict=Verdict.ALLOW, is_waived=True)
    report = Rehearsal({STRICT.sha256: STRICT}, None, ledger(PHONE))
    report.take(waived)

    assert (report.report.same, report.report.different) == (1, 0)
    assert taken(waived, candidate=STRICT).same == 1


GROUPS = '[groups]\nboard = { directory = "CN=Board" }\n'
SPARED = policy(STALE + GROUPS + rule('{ id = "com.zhiliaoapp.musically" }', 'scope = { not_groups = ["board"] }'))


def test_who_was_in_a_group_of_the_directory_is_not_guessed() -> None:
    """A decision that depends on it is not performed; one that does not is."""
    clean = replace(posture(), revision=7)

    assert taken(decided(), candidate=SPARED).gaps == {Gap.GROUPS: 1}
    assert taken(decided(clean), candidate=SPARED, kept=(clean,)).same == 1


@pytest.mark.parametrize(
    ("board", "groups", "groups_unknown"),
    [(ALICE, ("board",), ()), (frozenset[str](), (), ()), (None, (), ("board",))],
    ids=["in", "not in", "unknown"],
)
def test_who_was_in_a_group_is_taken_from_the_record(
    board: frozenset[str] | None, groups: tuple[str, ...], groups_unknown: tuple[str, ...]
) -> None:
    """Whatever the directory says today; also for a candidate that calls the group by another name."""
    members = {} if board is None else {"CN=Board": board}
    record = decided(made_by=SPARED.with_groups(members))
    assert (record.groups, record.groups_unknown) == (groups, groups_unknown)
    today = SPARED.with_groups({"CN=Board": frozenset() if board else ALICE})
    rehearsal = Rehearsal({SPARED.sha256: today}, None, ledger(PHONE))
    rehearsal.take(record)
    rehearsal.take(record._replace(groups=None, groups_unknown=()))
    assert rehearsal.report.same == 1
    assert rehearsal.report.gaps == {Gap.GROUPS: 1}

    renamed = policy(
        STALE
        + '[groups]\ntop = { directory = "CN=Board" }\n'
        + rule('{ id = "com.zhiliaoapp.musically" }', 'scope = { groups = ["top"] }')
    )
    candidate = Rehearsal({SPARED.sha256: today}, renamed, ledger(PHONE))
    candidate.take(record)
    assert candidate.report.performed == 1
    assert (
        candidate.report.turns
        == {
            ALICE: {(Verdict.ALLOW, Verdict.BLOCK): 1},
            frozenset(): {(Verdict.BLOCK, Verdict.ALLOW): 1},
            None: {},
        }[board]
    )
