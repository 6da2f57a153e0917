"""Laws of the decision over generated policies, devices and instants.

The values come from a small world, so that rules, apps, people and dates meet often. Derandomized: the same examples on
every run.
"""

import dataclasses
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from types import MappingProxyType
from typing import TypeVar
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.decision.allowlist import AllowList
from gatekeeper.decision.decide import MAX_MATCHED, decide
from gatekeeper.decision.explain import explain
from gatekeeper.decision.index import Index
from gatekeeper.decision.matcher import AppMatcher, Finding
from gatekeeper.decision.message import MAX_LINE_OCTETS, clean, render
from gatekeeper.decision.patterns import Pattern
from gatekeeper.decision.policy import (
    ByOwnership,
    Defaults,
    Exemption,
    Grace,
    Phases,
    Policy,
    Rule,
    RuleScope,
    Stale,
    Step,
    UnknownDevice,
    strictest,
)
from gatekeeper.decision.schema import parse_policy
from gatekeeper.decision.scope import in_scope, scope_terms
from gatekeeper.decision.tell import tell
from gatekeeper.decision.trace import trace
from gatekeeper.decision.versions import Bound, VersionRange
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.decision import Message, Phase, Reason, Verdict
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.domain.posture import (
    Assurance,
    AttestationResult,
    Binding,
    DeviceFlag,
    EvidenceLevel,
    Posture,
    Scope,
    Subject,
)
from gatekeeper.domain.request import MailProtocol, Request

LAW = settings(max_examples=250, deadline=None, derandomize=True)

EPOCH = datetime(2020, 7, 10, 12, tzinfo=UTC)
ACCOUNTS = ("alice@example.com", "bob@example.com")
SIGNERS = ("ab" * 32, "cd" * 32)
GROUPS = {"staff": frozenset({"alice@example.com"}), "lab": frozenset({"bob@example.com"})}
ACTIONS = (Verdict.ALLOW, Verdict.WARN, Verdict.BLOCK)
ID_PATTERNS = ("com.a.x", "com.b", "com.a.*", "com.*", "*.x", "?rg.c.*", "com.a.x*", "*.z.*")
RANGES = ("<2", ">=1,<2 || code>8", "code<7", "*", "!=1.0")

T = TypeVar("T")
DICE = random.Random(2020)  # the small world is the same on every run; hypothesis composes examples of its parts


def pick(*values: T) -> T:
    return DICE.choice(values)


def subset(*values: T) -> frozenset[T]:
    """Most often empty, as most conditions of most rules."""
    return frozenset(DICE.sample(values, pick(0, 0, 0, 1, len(values))))


def pool(make: Callable[[], T], size: int) -> tuple[T, ...]:
    return tuple(make() for _ in range(size))


def an_instant() -> datetime:
    return EPOCH + timedelta(hours=DICE.randint(-120, 120))


def an_app() -> App:
    return App(
        id=pick("com.a.x", "com.a.y", "COM.A.X", "com.b", "org.c.z.q", "com.a.x.lite"),
        name=pick(None, "Tik", "Tok", "Notes"),
        version=pick(None, "1.0", "2.0", "2-beta", "x", "1.9.9"),
        version_code=pick(None, 5, 7, 9),
        signer_sha256=pick((), (SIGNERS[0],), (SIGNERS[1],)),
        publisher=pick(None, "Byte"),
        installer=pick(None, "Store", "other"),
    )


def a_matcher(*, by_id: bool, levels: tuple[EvidenceLevel, ...] = ()) -> AppMatcher:
    asked = {name for name in ("name", "publisher", "signer", "store", "no store") if DICE.random() < 0.25}
    app_id = pick(*ID_PATTERNS) if by_id or not asked or DICE.random() < 0.3 else None
    version = pick(None, None, *RANGES)
    return AppMatcher(
        platform=pick(None, None, Platform.ANDROID, Platform.IOS),
        id=Pattern.parse(app_id) if app_id else None,
        name=Pattern.parse(pick("tik", "t*", "*k")) if "name" in asked else None,
        publisher=Pattern.parse(pick("byte", "b*")) if "publisher" in asked else None,
        signer_sha256=frozenset({pick(*SIGNERS)}) if "signer" in asked else frozenset(),
        installer=frozenset({"store"}) if "store" in asked else frozenset(),
        not_installer=frozenset({"store", "else"}) if "no store" in asked else frozenset(),
        version=VersionRange.parse(version) if version else None,
        min_evidence=pick(EvidenceLevel.CLAIMED, EvidenceLevel.CLAIMED, EvidenceLevel.CLAIMED, *levels),
    )


def a_scope() -> RuleScope:
    return RuleScope(
        device_class=subset(*DeviceClass),
        ownership=subset(*Ownership),
        platforms=subset(Platform.ANDROID, Platform.IOS),
        protocols=subset(MailProtocol.IMAP, MailProtocol.SMTP),
        listeners=subset("listener", "other"),
        networks=pick((), (), (ip_network("192.0.2.0/25"),)),
        not_networks=pick((), (), (ip_network("192.0.2.128/25"),)),
        users=subset(ACCOUNTS[0]),
        groups=subset("staff", "lab", "unheard-of"),
        not_users=subset(ACCOUNTS[1]),
        not_groups=subset("lab", "unheard-of"),
    )


def some_phases() -> Phases:
    observe, warn, enforce = sorted(an_instant() for _ in range(3))
    return Phases(
        observe=pick(None, observe),
        warn=pick(None, warn),
        enforce=pick(None, enforce, enforce),
        zone=pick(None, ZoneInfo("Europe/Berlin")),
    )


def a_grace(phases: Phases) -> Grace | None:
    if phases.enforce is None:
        return None
    hours = DICE.randint(0, 90)
    grace = Grace(per_device=timedelta(hours=hours), cap=phases.enforce + timedelta(hours=DICE.randint(0, 120)))
    return pick(None, grace)


def a_rollout(phases: Phases) -> tuple[Step, ...]:
    if phases.enforce is None:
        return ()
    begins = sorted({an_instant() for _ in range(3)})
    percents = sorted(DICE.randint(0, 100) for _ in begins)
    steps = tuple(Step(begin=begin, percent=percent) for begin, percent in zip(begins, percents, strict=True))
    return pick((), (), steps)


def a_rule(*, by_id: bool) -> Rule:
    phases = some_phases()
    demands = () if by_id else subset("only", "required", "os", "flags")
    levels = () if by_id else tuple(EvidenceLevel)
    has_apps = not demands or DICE.random() < 0.5
    return Rule(
        id=pick("r1", "r2", "r3"),
        title="Title",
        apps=pool(lambda: a_matcher(by_id=by_id, levels=levels), DICE.randint(1, 3)) if has_apps else (),
        only_apps=pool(lambda: a_matcher(by_id=by_id), DICE.randint(1, 4)) if "only" in demands else (),
        required_apps=pool(lambda: a_matcher(by_id=by_id), DICE.randint(1, 2)) if "required" in demands else (),
        min_os={Platform.ANDROID: Bound.parse("14"), Platform.IOS: Bound.parse("17.4")} if "os" in demands else {},
        flags=frozenset({DeviceFlag.COMPROMISED, pick(*DeviceFlag)}) if "flags" in demands else frozenset(),
        action=pick(Verdict.ALLOW, Verdict.WARN, Verdict.QUARANTINE, *[Verdict.BLOCK] * 5),
        scope=pick(RuleScope(), a_scope()),
        phases=phases,
        grace=a_grace(phases),
        rollout=a_rollout(phases),
        messages=pick({}, {"de": Message(short="{app}", fix="{deadline} {code}")}),
    )


def an_exemption() -> Exemption:
    return Exemption(
        id=pick("ex-1", "ex-2"),
        rule=pick("r1", "r2", "r3"),
        users=subset(ACCOUNTS[0]),
        groups=subset("staff", "unheard-of"),
        devices=subset("ph-1", "ph-2"),
        expires=an_instant(),
        reason="reason",
        approved_by=("somebody",),
    )


def by_ownership() -> ByOwnership:
    return ByOwnership(company=pick(*ACTIONS), personal=pick(*ACTIONS))


def some_defaults() -> Defaults:
    action = pick(*ACTIONS)
    return Defaults(
        unknown_device=UnknownDevice(
            default=pick(*ACTIONS),
            by_protocol={protocol: pick(*ACTIONS) for protocol in sorted(subset(*MailProtocol))},
            by_class={device_class: pick(*ACTIONS) for device_class in sorted(subset(*DeviceClass))},
        ),
        evidence_max_age=timedelta(hours=DICE.randint(0, 200)),
        stale=Stale(
            action=action, then=strictest((action, pick(*ACTIONS))), after=timedelta(hours=DICE.randint(0, 99))
        ),
        insufficient=by_ownership(),
        no_evidence=pick(None, by_ownership()),
    )


def a_posture() -> Posture:
    device = Device(
        device_id=DeviceId(pick("ph-1", "ph-2")),
        account=pick(ACCOUNTS[0], ACCOUNTS[0], ACCOUNTS[1]),
        platform=pick(Platform.ANDROID, Platform.IOS, Platform.IPADOS),
        device_class=pick(DeviceClass.MOBILE, DeviceClass.MOBILE, DeviceClass.LAPTOP),
        ownership=pick(None, *Ownership),
        first_seen=pick(None, an_instant()),
    )
    result = AttestationResult(
        source=pick("mdm", "agent", "unheard-of"),
        scope=pick(Scope.FULL, Scope.FULL, *Scope),
        complete=DICE.random() < 0.7,
        collected_at=an_instant(),
        evidence_sha256="0" * 64,
        apps=AppList(pool(an_app, DICE.randint(0, 5))),
        os_version=pick(None, "13", "14", "17.4", "17.3", "beta"),
        flags=MappingProxyType({flag: DICE.random() < 0.2 for flag in DeviceFlag if DICE.random() < 0.6}),
    )
    return Posture(device=device, result=pick(None, result, result, result, result))


def a_binding() -> Binding:
    return Binding(assurance=pick(*Assurance), method="method", claimed_device=pick(None, DeviceId("ph-9")))


POSTURES = pool(a_posture, 400)
instants = st.integers(-130, 130).map(lambda hours: EPOCH + timedelta(hours=hours))
any_rules = st.sampled_from(pool(lambda: a_rule(by_id=False), 400))
rules_by_id = st.sampled_from(pool(lambda: a_rule(by_id=True), 400))
demanding_rules = st.sampled_from(
    [
        rule
        for rule in pool(lambda: a_rule(by_id=False), 3000)
        if rule.scope == RuleScope()
        and rule.action is Verdict.BLOCK
        and rule.phases.enforce
        and not rule.only_apps
        and (rule.min_os or rule.flags or any(each.min_evidence is not EvidenceLevel.CLAIMED for each in rule.apps))
    ]
)
"""Rules for everybody that ask what the evidence may not state of the device, or from weaker sources than it has."""
exemptions = st.sampled_from(pool(an_exemption, 100))
any_defaults = st.sampled_from(pool(some_defaults, 200))
blocking_defaults = st.sampled_from([Defaults(evidence_max_age=timedelta(hours=hours)) for hours in (0, 24, 100)])
"""Unknown device, stale, insufficient and no evidence all block: what a policy says by saying nothing."""
app_lists = st.lists(st.sampled_from(pool(an_app, 100)), max_size=6).map(AppList)
matcher_entries = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(pool(lambda: a_matcher(by_id=False), 200))), max_size=6
)
ENDURING = Defaults(evidence_max_age=timedelta(days=3650))
"""Nothing is stale, all else that is not known blocks."""
SOURCES = st.just({"mdm": EvidenceLevel.MDM, "agent": EvidenceLevel.AGENT})
whole_postures = st.sampled_from(
    [
        each
        for each in pool(a_posture, 3000)
        if each.device.account == ACCOUNTS[0] and each.result and each.result.proves_absence
    ]
)
"""Lists that prove absence, so that only the rules decide."""
bindings = st.sampled_from(pool(a_binding, 12))
known_postures = st.sampled_from([each for each in POSTURES if each.result])
subjects = st.builds(Subject, binding=bindings, postures=st.lists(st.sampled_from(POSTURES), max_size=3).map(tuple))
known_subjects = st.builds(
    Subject, binding=bindings, postures=st.lists(known_postures, min_size=1, max_size=2).map(tuple)
)
requests = st.builds(
    Request,
    account=st.sampled_from(ACCOUNTS),
    protocol=st.sampled_from(MailProtocol),
    listener=st.just("listener"),
    client_address=st.sampled_from(("192.0.2.1", "192.0.2.200", "2001:db8::1", "")),
    languages=st.sampled_from(((), ("de",), ("fr",))),
)


def policies(
    rules: st.SearchStrategy[Rule] = any_rules, defaults: st.SearchStrategy[Defaults] = any_defaults
) -> st.SearchStrategy[Policy]:
    return st.builds(
        Policy,
        sha256=st.just("0" * 64),
        defaults=defaults,
        rules=st.lists(rules, min_size=1, max_size=4).map(tuple),
        exemptions=st.lists(exemptions, max_size=2).map(tuple),
        groups=st.just(GROUPS),
        sources=SOURCES,
    )


def outcome(data: bytes) -> Policy | tuple[Fault, ...]:
    """What reading a document gives."""
    try:
        return parse_policy(data, source="p")
    except DocumentError as exc:
        return exc.faults


def with_results(subject: Subject, change: Callable[[AttestationResult], AttestationResult]) -> Subject:
    """The subject with every attestation result changed."""
    return dataclasses.replace(
        subject,
        postures=tuple(
            dataclasses.replace(each, result=change(each.result)) if each.result else each for each in subject.postures
        ),
    )


def with_apps(subject: Subject, **changes: object) -> Subject:
    """The subject with every app changed."""

    def change(result: AttestationResult) -> AttestationResult:
        changed = [dataclasses.replace(app, **changes) for app in result.apps.apps]
        return dataclasses.replace(result, apps=AppList(changed))

    return with_results(subject, change)


def without_ownership(subject: Subject) -> Subject:
    return dataclasses.replace(
        subject,
        postures=tuple(
            dataclasses.replace(each, device=dataclasses.replace(each.device, ownership=None))
            for each in subject.postures
        ),
    )


def without_first_sight(subject: Subject) -> Subject:
    return dataclasses.replace(
        subject,
        postures=tuple(
            dataclasses.replace(each, device=dataclasses.replace(each.device, first_seen=None))
            for each in subject.postures
        ),
    )


LOSSES_FOR_ALL_DEFAULTS: dict[str, Callable[[Subject], Subject]] = {
    "version": lambda subject: with_apps(subject, version=None),
    "garbled version": lambda subject: with_apps(subject, version="?"),
    "version code": lambda subject: with_apps(subject, version_code=None),
    "ownership": without_ownership,
    "first sight": without_first_sight,
    "completeness": lambda subject: with_results(subject, lambda each: dataclasses.replace(each, complete=False)),
    "scope": lambda subject: with_results(subject, lambda each: dataclasses.replace(each, scope=Scope.MANAGED_ONLY)),
    "freshness": lambda subject: with_results(
        subject, lambda each: dataclasses.replace(each, collected_at=each.collected_at - timedelta(hours=50))
    ),
}
LOSSES_OF_IDENTITY: dict[str, Callable[[Subject], Subject]] = {
    "signer": lambda subject: with_apps(subject, signer_sha256=()),
    "name": lambda subject: with_apps(subject, name=None),
    "publisher": lambda subject: with_apps(subject, publisher=None),
    "installer": lambda subject: with_apps(subject, installer=None),
    "all four": lambda subject: with_apps(subject, signer_sha256=(), name=None, publisher=None, installer=None),
}
LOSSES_OF_THE_DEVICE: dict[str, Callable[[Subject], Subject]] = {
    "version of the system": lambda subject: with_results(
        subject, lambda each: dataclasses.replace(each, os_version=None)
    ),
    "flags": lambda subject: with_results(subject, lambda each: dataclasses.replace(each, flags={})),
    "level": lambda subject: with_results(subject, lambda each: dataclasses.replace(each, source="unheard-of")),
}
LOSSES_OF_EVIDENCE: dict[str, Callable[[Subject], Subject]] = {
    "evidence": lambda subject: dataclasses.replace(
        subject, postures=tuple(dataclasses.replace(each, result=None) for each in subject.postures)
    ),
    "registration": lambda subject: dataclasses.replace(subject, postures=()),
}


def losses(*kinds: dict[str, Callable[[Subject], Subject]]) -> st.SearchStrategy[Callable[[Subject], Subject]]:
    named = {name: lose for kind in kinds for name, lose in kind.items()}
    return st.sampled_from(sorted(named)).map(named.__getitem__)


@LAW
@given(policies(), subjects, requests, instants)
def test_total(policy: Policy, subject: Subject, request: Request, now: datetime) -> None:
    """Every input has a decision that holds together, and an explanation."""
    decision = decide(policy, subject, request, now)
    assert decision.verdict in (Verdict.ALLOW, Verdict.WARN, Verdict.QUARANTINE, Verdict.BLOCK)
    assert decision.reasons
    assert len(set(decision.reasons)) == len(decision.reasons)
    assert (decision.message is None) is (decision.verdict is Verdict.ALLOW)
    assert decision.valid_until is None or decision.valid_until > now
    assert decision.deadline is None or decision.deadline > now
    assert bool(decision.rule_ids) is (decision.phase is not None)
    assert bool(decision.rule_ids) or not decision.matched
    assert len(decision.matched) <= MAX_MATCHED
    assert (Reason.CLEAN in decision.reasons) is (decision.reasons == (Reason.CLEAN,))
    assert Reason.CLEAN not in decision.reasons or decision.verdict is Verdict.ALLOW
    assert explain(policy, subject, request, now)
    assert tell(policy, subject, request, now).sentences
    devices = trace(policy, subject, request, now, everything=True)
    doing = {rule.rule for device in devices for rule in device.rules if rule.verdict is not None}
    assert doing == set(decision.rule_ids)


@LAW
@given(policies(), any_rules, st.integers(0, 4), known_subjects, requests, instants)
def test_adding_a_rule_never_weakens(
    policy: Policy, rule: Rule, place: int, subject: Subject, request: Request, now: datetime
) -> None:
    """Wherever it is put."""
    longer = dataclasses.replace(policy, rules=(*policy.rules[:place], rule, *policy.rules[place:]))
    before = decide(policy, subject, request, now)
    assert decide(longer, subject, request, now).verdict.strength >= before.verdict.strength


@LAW
@given(policies(), losses(LOSSES_FOR_ALL_DEFAULTS), known_subjects, requests, instants)
def test_losing_knowledge_never_weakens_for_any_defaults(
    policy: Policy, lose: Callable[[Subject], Subject], subject: Subject, request: Request, now: datetime
) -> None:
    """Versions, ownership, completeness, scope, freshness: whatever the policy says about what is not known."""
    before = decide(policy, subject, request, now)
    assert decide(policy, lose(subject), request, now).verdict.strength >= before.verdict.strength


@LAW
@given(policies(rules=rules_by_id), losses(LOSSES_OF_IDENTITY), known_subjects, requests, instants)
def test_losing_signers_and_names_never_weakens_rules_that_name_an_id(
    policy: Policy, lose: Callable[[Subject], Subject], subject: Subject, request: Request, now: datetime
) -> None:
    """For any defaults, as long as every matcher has an id."""
    before = decide(policy, subject, request, now)
    assert decide(policy, lose(subject), request, now).verdict.strength >= before.verdict.strength


@LAW
@given(
    policies(defaults=blocking_defaults),
    losses(LOSSES_FOR_ALL_DEFAULTS, LOSSES_OF_IDENTITY, LOSSES_OF_THE_DEVICE, LOSSES_OF_EVIDENCE),
    known_subjects,
    requests,
    instants,
)
def test_losing_anything_never_weakens_where_the_defaults_block(
    policy: Policy, lose: Callable[[Subject], Subject], subject: Subject, request: Request, now: datetime
) -> None:
    """Rules without an id, devices without evidence, and no device at all included."""
    before = decide(policy, subject, request, now)
    assert decide(policy, lose(subject), request, now).verdict.strength >= before.verdict.strength


@LAW
@given(
    st.builds(
        Policy, sha256=st.just("0"), defaults=st.just(ENDURING), rules=st.tuples(demanding_rules), sources=SOURCES
    ),
    losses(LOSSES_OF_THE_DEVICE),
    st.builds(Subject, binding=bindings, postures=st.tuples(whole_postures)),
    st.just(Request(account=ACCOUNTS[0], protocol=MailProtocol.IMAP, listener="listener")),
    instants,
)
def test_losing_facts_of_the_device_never_weakens_where_the_defaults_block(
    policy: Policy, lose: Callable[[Subject], Subject], subject: Subject, request: Request, now: datetime
) -> None:
    """Its version, its flags, the standing of who vouches for it."""
    before = decide(policy, subject, request, now)
    assert decide(policy, lose(subject), request, now).verdict.strength >= before.verdict.strength


@LAW
@given(policies(), known_subjects, requests, instants, st.floats(0, 1, exclude_max=True))
def test_the_same_decision_at_every_instant_before_valid_until(
    policy: Policy, subject: Subject, request: Request, now: datetime, part: float
) -> None:
    """Equal in every field; without `valid_until` for ever."""
    decision = decide(policy, subject, request, now)
    end = decision.valid_until or now + timedelta(days=3650)
    last = end - timedelta(microseconds=1)
    for later in (min(now + (end - now) * part, last), last):
        assert decide(policy, subject, request, later) == decision


@LAW
@given(policies(), known_subjects, requests, instants, st.integers(0, 200).map(lambda hours: timedelta(hours=hours)))
def test_time_alone_never_weakens(
    policy: Policy, subject: Subject, request: Request, now: datetime, delay: timedelta
) -> None:
    """Phases only rise, exemptions only end, evidence only ages."""
    before = decide(policy, subject, request, now)
    assert decide(policy, subject, request, now + delay).verdict.strength >= before.verdict.strength


@LAW
@given(matcher_entries, app_lists)
def test_the_index_answers_what_judging_everything_answers(
    entries: list[tuple[int, AppMatcher]], listed: AppList
) -> None:
    """No app is missed, none is invented, and what cannot be answered is the same."""
    index = Index(entries)
    expected: dict[int, set[int]] = {}
    certain: set[tuple[int, int]] = set()
    blind: set[int] = set()
    for position, matcher in entries:
        for app in listed.apps:
            match matcher.judge(app):
                case Finding.CERTAIN:
                    expected.setdefault(position, set()).add(id(app))
                    certain.add((position, id(app)))
                case Finding.UNCERTAIN:
                    expected.setdefault(position, set()).add(id(app))
                case Finding.BLIND:
                    blind.add(position)
                case Finding.NO:
                    pass
    found = index.find(listed)
    assert {position: {id(match.app) for match in matches} for position, matches in found.items()} == expected
    assert {(at, id(match.app)) for at, matches in found.items() for match in matches if match.is_certain} == certain
    assert set(index.blind(listed)) == blind


@LAW
@given(policies(), known_subjects, requests, instants)
def test_what_is_lost_with_the_network_or_the_groups_never_weakens(
    policy: Policy, subject: Subject, request: Request, now: datetime
) -> None:
    """An address that is not known, groups whose directory is away: the rules hold, the exemptions do not."""
    before = decide(policy, subject, request, now)
    lost = decide(policy.with_groups({}), subject, dataclasses.replace(request, client_address=""), now)
    assert lost.verdict.strength >= before.verdict.strength
    nobody_known = dataclasses.replace(policy, groups={})
    assert decide(nobody_known, subject, request, now).verdict.strength >= before.verdict.strength


@LAW
@given(policies(), st.sampled_from(POSTURES), requests)
def test_a_rule_is_in_scope_when_no_term_is_false(policy: Policy, posture: Posture, request: Request) -> None:
    """The quick answer and the one that is explained are the same."""
    for rule in policy.rules:
        terms = [holds for _, holds in scope_terms(policy, rule.scope, posture.device, request)]
        assert in_scope(policy, rule, posture.device, request) is (False not in terms)


@LAW
@given(policies(), st.sampled_from(POSTURES), instants)
def test_every_device_keeps_within_the_dates_of_the_rule(policy: Policy, posture: Posture, now: datetime) -> None:
    """Never enforced before the rule's date; by the cap and the last full step at the latest; at least warned between."""
    for rule in policy.rules:
        own, general = rule.phases_for(posture.device), rule.phases
        if general.enforce is None:
            assert own == general
            continue
        full = [step.begin for step in rule.rollout if step.percent == 100]
        latest = [general.enforce, *([rule.grace.cap] if rule.grace else []), *full[:1]]
        assert own.enforce is None or own.enforce >= general.enforce
        if full or not rule.rollout:
            assert own.enforce is not None
            assert own.enforce <= max(latest)
        if now >= general.enforce:
            assert own.at(now) in (Phase.WARN, Phase.ENFORCE)
        else:
            assert own.at(now) == general.at(now)


@LAW
@given(st.lists(st.sampled_from(pool(lambda: a_matcher(by_id=False), 200)), max_size=5), app_lists)
def test_an_allow_list_answers_what_judging_everything_answers(matchers: list[AppMatcher], listed: AppList) -> None:
    """Allowed is only what some matcher is certain of."""
    for platform in (Platform.ANDROID, Platform.IPADOS):
        meant = [matcher for matcher in matchers if matcher.covers(platform)]
        expected = {}
        for app in listed.apps:
            findings = {matcher.judge(app) for matcher in meant}
            if Finding.CERTAIN not in findings:
                expected[id(app)] = findings <= {Finding.NO}
        found = AllowList(matchers, platform).unlisted(listed)
        assert {id(match.app): match.is_certain for match in found} == expected


@LAW
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_policy_or_a_list_of_faults(data: bytes) -> None:
    """Nothing else comes out of the reader."""
    assert outcome(b"schema = 1\n" + data)


toml_values = st.recursive(
    st.sampled_from(('"block"', '"2020-01-01"', "1", "true", '""', "2020-01-01", '"com.*"', '">=1"', "1e400", '"24h"')),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(
            st.sampled_from(
                ("id", "apps", "action", "then", "after", "enforce", "company", "en", "short", "imap", "users")
            ),
            inner,
            max_size=2,
        ).map(lambda table: "{ " + ", ".join(f"{key} = {value}" for key, value in table.items()) + " }")
    ),
    max_leaves=4,
)
toml_keys = st.sampled_from(
    ("id", "title", "apps", "scope", "phases", "message", "rule", "users", "expires", "reason", "approved_by", "stale")
)


@LAW
@given(
    st.sampled_from(("[defaults]", "[[rule]]", "[[exemption]]", "[groups]")), st.dictionaries(toml_keys, toml_values)
)
def test_any_shape_of_document_is_a_policy_or_a_list_of_faults(header: str, values: dict[str, str]) -> None:
    """A wrong type anywhere is a fault, not a crash."""
    text = f"schema = 1\n{header}\n" + "\n".join(f"{key} = {value}" for key, value in values.items())
    assert outcome(text.encode())


@LAW
@given(st.text(), st.text(), st.text(), st.text(), st.none() | instants)
def test_whatever_is_rendered_is_one_clean_line_that_fits(
    short: str, fix: str, app: str, url: str, deadline: datetime | None
) -> None:
    """Any text, any app name, any address."""
    message = Message(short=f"{short} {{app}}", fix=f"{fix} {{check_url}} {{deadline}}")
    line = " ".join(render(message, app=app, check_url=url, deadline=deadline))
    assert len(line.encode()) <= MAX_LINE_OCTETS
    assert clean(line) == line.strip()
    assert not set(line) & set("\r\n\0")


@LAW
@given(
    st.sampled_from(RANGES),
    st.none() | st.text(max_size=12) | st.from_regex(r"[0-9.]{1,9}[a-z-]{0,3}", fullmatch=True),
    st.none() | st.integers(),
)
def test_any_version_has_an_answer(text: str, version: str | None, code: int | None) -> None:
    """True, false or not known; and what is below a bound is not at or above it."""
    assert VersionRange.parse(text).contains(version, code) in (True, False, None)
    below = VersionRange.parse("<2.3").contains(version, code)
    at_or_above = VersionRange.parse(">=2.3").contains(version, code)
    assert at_or_above is (None if below is None else not below)
