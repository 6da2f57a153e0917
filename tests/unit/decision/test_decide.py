"""Decisions: the shipped policy on all sides of its dates, and everything a session can be judged by."""

import dataclasses
from datetime import timedelta

import pytest

from gatekeeper.decision.decide import decide
from gatekeeper.domain.app import App
from gatekeeper.domain.decision import Message, Phase, Reason, Verdict
from gatekeeper.domain.device import DeviceClass, Ownership, Platform
from gatekeeper.domain.posture import Assurance, PostureState, Scope, Subject
from gatekeeper.domain.request import MailProtocol

from .samples import NOON, NOTES, SIGNER, TIKTOK, at, policy, posture, request, rule, subject
from .test_schema import EXAMPLE, EXEMPTION

ALLOW, WARN, BLOCK = Verdict.ALLOW, Verdict.WARN, Verdict.BLOCK
POLICY = policy(EXAMPLE.read_text().replace("schema = 1", "") + EXEMPTION)
TRILL = App(id="com.ss.android.ugc.trill")
AME = App(id="com.ss.iphone.ugc.Ame", name="TikTok")
BEFORE, WARNS = "2020-07-10T08:59:59.999999-07:00", "2020-07-10T09:00:00-07:00"
STILL_WARNS, BLOCKS = "2020-07-10T16:59:59.999999-07:00", "2020-07-10T17:00:00-07:00"


@pytest.mark.parametrize(
    ("now", "verdict", "phase", "valid_until", "deadline"),
    [
        (BEFORE, ALLOW, None, WARNS, None),
        (WARNS, WARN, Phase.WARN, BLOCKS, BLOCKS),
        (STILL_WARNS, WARN, Phase.WARN, BLOCKS, BLOCKS),
        (BLOCKS, BLOCK, Phase.ENFORCE, "2020-07-11T12:00:00Z", None),
    ],
)
@pytest.mark.parametrize(
    ("app", "platform"),
    [
        (TIKTOK, Platform.ANDROID),
        (TRILL, Platform.ANDROID),
        (TIKTOK, Platform.IOS),
        (AME, Platform.IOS),
        (AME, Platform.IPADOS),
        (AME, Platform.VISIONOS),
    ],
)
def test_a_denied_app_on_all_sides_of_the_dates(  # noqa: PLR0917  a row of the table
    app: App,
    platform: Platform,
    now: str,
    verdict: Verdict,
    phase: Phase | None,
    valid_until: str,
    deadline: str | None,
) -> None:
    """Nothing before the warning, a warning until the deadline, no mail from it on."""
    phone = posture([NOTES, app], platform=platform, collected_at=NOON)
    decision = decide(POLICY, subject(phone), request(), at(now))
    assert decision.verdict is verdict
    assert decision.phase is phase
    assert decision.valid_until == at(valid_until)
    assert decision.deadline == (at(deadline) if deadline else None)
    if phase is None:
        assert decision.reasons == (Reason.CLEAN,)
        assert decision.posture is PostureState.CLEAN
        assert (decision.matched, decision.rule_ids, decision.message, decision.app_name) == ((), (), None, None)
        return
    assert decision.reasons == (Reason.APP_MATCH,)
    assert decision.posture is PostureState.DENIED
    assert decision.rule_ids == ("no-tiktok",)
    assert decision.matched == (f"{platform}:{app.id}",)
    assert decision.app_name == (app.name or app.id)
    assert decision.message == POLICY.rules[0].messages["en"]


@pytest.mark.parametrize(
    ("app", "platform", "device_class"),
    [
        (NOTES, Platform.ANDROID, DeviceClass.MOBILE),
        (AME, Platform.ANDROID, DeviceClass.MOBILE),
        (TRILL, Platform.IOS, DeviceClass.MOBILE),
        (TIKTOK, Platform.HARMONY, DeviceClass.MOBILE),
        (TIKTOK, Platform.ANDROID, DeviceClass.LAPTOP),
        (App(id="com.zhiliaoapp.musically.go"), Platform.ANDROID, DeviceClass.MOBILE),
    ],
)
def test_what_the_rule_does_not_mean_is_clean(app: App, platform: Platform, device_class: DeviceClass) -> None:
    """Other apps, other platforms' ids, laptops; and the decision carries the evidence it rests on."""
    phone = posture([app], platform=platform, device_class=device_class, collected_at=NOON)
    decision = decide(POLICY, subject(phone), request(), at(BLOCKS))
    assert decision.verdict is ALLOW
    assert decision.reasons == (Reason.CLEAN,)
    assert decision.device_id == "ph-001"
    assert decision.policy_sha256 == POLICY.sha256
    assert (decision.evidence_source, decision.evidence_sha256) == ("mdm", "0" * 64)
    assert (decision.collected_at, decision.apps_count) == (NOON, 1)
    assert decision.message is None


def test_ids_are_compared_case_folded() -> None:
    """Mixed case is seen in the wild."""
    phone = posture([App(id="COM.Zhiliaoapp.Musically")], collected_at=NOON)
    decision = decide(POLICY, subject(phone), request(), at(BLOCKS))
    assert decision.verdict is BLOCK
    assert decision.matched == ("android:COM.Zhiliaoapp.Musically",)


@pytest.mark.parametrize(
    ("now", "verdict", "reasons", "exemptions", "valid_until"),
    [
        (BEFORE, ALLOW, (Reason.CLEAN,), (), WARNS),
        (WARNS, ALLOW, (Reason.EXEMPT,), ("ex-1",), BLOCKS),
        ("2020-09-30T23:59:59Z", ALLOW, (Reason.EXEMPT,), ("ex-1",), "2020-10-01T00:00:00Z"),
        ("2020-10-01T00:00:00Z", BLOCK, (Reason.APP_MATCH,), (), "2020-10-01T12:00:00Z"),
    ],
)
def test_an_exemption_takes_its_rule_away_until_it_expires(
    now: str, verdict: Verdict, reasons: tuple[Reason, ...], exemptions: tuple[str, ...], valid_until: str
) -> None:
    """For the user it names; it is told which one it was, once there is a rule to take away."""
    account = "press@example.com"
    collected = NOON if at(now) < at("2020-07-11T12:00:00Z") else at("2020-09-30T12:00:00Z")
    phone = posture([TIKTOK], account=account, collected_at=collected)
    decision = decide(POLICY, subject(phone), request(account), at(now))
    assert (decision.verdict, decision.reasons, decision.exemptions) == (verdict, reasons, exemptions)
    assert decision.valid_until == at(valid_until)
    assert decision.rule_ids == (("no-tiktok",) if verdict is BLOCK else ())


def test_an_exemption_on_one_of_several_phones_is_told() -> None:
    """Also when the phone before it is clean and there is nothing else to tell."""
    account = "press@example.com"
    clean = posture(device_id="ph-1", account=account, collected_at=NOON)
    exempted = posture([TIKTOK], device_id="ph-2", account=account, collected_at=NOON)
    for devices in ((clean, exempted), (exempted, clean)):
        decision = decide(POLICY, subject(*devices, assurance=Assurance.USER), request(account), at(BLOCKS))
        assert (decision.verdict, decision.reasons, decision.exemptions) == (ALLOW, (Reason.EXEMPT,), ("ex-1",))


def test_an_exemption_leaves_the_defaults() -> None:
    """It takes a rule away, not the need for evidence."""
    phone = posture([TIKTOK], account="press@example.com", collected_at=NOON - timedelta(hours=25))
    decision = decide(POLICY, subject(phone), request("press@example.com"), at(BLOCKS))
    assert (decision.verdict, decision.reasons) == (WARN, (Reason.STALE, Reason.EXEMPT))
    assert decision.posture is PostureState.STALE


@pytest.mark.parametrize(
    ("age", "apps", "verdict", "reasons"),
    [
        (timedelta(hours=25), [NOTES], WARN, (Reason.STALE,)),
        (timedelta(hours=97), [NOTES], BLOCK, (Reason.STALE,)),
        (timedelta(hours=25), [TIKTOK], BLOCK, (Reason.APP_MATCH, Reason.STALE)),
        (timedelta(days=500), [TIKTOK], BLOCK, (Reason.APP_MATCH, Reason.STALE)),
    ],
)
def test_presence_does_not_go_stale(
    age: timedelta, apps: list[App], verdict: Verdict, reasons: tuple[Reason, ...]
) -> None:
    """Age weakens what was not seen, never what was."""
    now = at("2020-08-01T12:00:00Z")
    decision = decide(POLICY, subject(posture(apps, collected_at=now - age)), request(), now)
    assert (decision.verdict, decision.reasons) == (verdict, reasons)


def test_the_stronger_of_a_warning_and_stale_evidence() -> None:
    """The words come from what gave the verdict; the app is still named."""
    decision = decide(
        POLICY, subject(posture([TIKTOK], collected_at=at(WARNS) - timedelta(hours=97))), request(), at(WARNS)
    )
    assert decision.verdict is BLOCK
    assert decision.reasons == (Reason.STALE, Reason.APP_MATCH)
    assert decision.posture is PostureState.DENIED
    assert decision.message is not None
    assert "too old" in decision.message.short
    assert decision.app_name == "TikTok"


@pytest.mark.parametrize(
    ("ownership", "verdict"), [(Ownership.COMPANY, BLOCK), (Ownership.PERSONAL, WARN), (None, BLOCK)]
)
def test_a_managed_only_list_is_never_clean(ownership: Ownership | None, verdict: Verdict) -> None:
    """It shows what is there, not what is absent."""
    phone = posture(scope=Scope.MANAGED_ONLY, ownership=ownership, collected_at=NOON)
    decision = decide(POLICY, subject(phone), request(), at(BLOCKS))
    assert (decision.verdict, decision.reasons) == (verdict, (Reason.INSUFFICIENT,))
    assert decision.posture is PostureState.INSUFFICIENT


@pytest.mark.parametrize(
    ("matcher", "app", "verdict", "reasons"),
    [
        ("version = '<2'", App(id="com.foo", version="1.9"), BLOCK, (Reason.APP_MATCH,)),
        ("version = '<2'", App(id="com.foo", version="2.0"), ALLOW, (Reason.CLEAN,)),
        ("version = '<2'", App(id="com.foo"), BLOCK, (Reason.APP_MATCH_UNCERTAIN,)),
        ("version = '<2'", App(id="com.foo", version="beta"), BLOCK, (Reason.APP_MATCH_UNCERTAIN,)),
        ("version = 'code<7'", App(id="com.foo", version="1.0"), BLOCK, (Reason.APP_MATCH_UNCERTAIN,)),
        (f"signer_sha256 = '{SIGNER}'", App(id="com.foo", signer_sha256=(SIGNER,)), BLOCK, (Reason.APP_MATCH,)),
        (f"signer_sha256 = '{SIGNER}'", App(id="com.foo", signer_sha256=("00" * 32,)), ALLOW, (Reason.CLEAN,)),
        (f"signer_sha256 = '{SIGNER}'", App(id="com.foo"), BLOCK, (Reason.APP_MATCH_UNCERTAIN,)),
    ],
)
def test_what_is_not_known_about_an_app_counts_as_yes(
    matcher: str, app: App, verdict: Verdict, reasons: tuple[Reason, ...]
) -> None:
    """And the reason says that it was not known."""
    decision = decide(policy(rule(f"{{ id = 'com.foo', {matcher} }}")), subject(posture([app])), request(), NOON)
    assert (decision.verdict, decision.reasons) == (verdict, reasons)


def test_a_certain_match_outranks_an_uncertain_one_of_another_rule() -> None:
    """The strongest reason comes first, each once."""
    text = rule("{ id = 'a', version = '<2' }", rule_id="maybe") + rule("{ id = 'b' }", rule_id="sure")
    decision = decide(policy(text), subject(posture([App(id="a"), App(id="b")])), request(), NOON)
    assert decision.reasons == (Reason.APP_MATCH, Reason.APP_MATCH_UNCERTAIN)
    assert decision.rule_ids == ("maybe", "sure")
    assert decision.matched == ("android:a", "android:b")


def test_observe_is_silent_but_on_record() -> None:
    """The session goes through without a word; the audit can say what would happen."""
    text = rule(f"{{ id = '{TIKTOK.id}' }}", phases='observe = "2020-01-01", enforce = "2020-12-01"')
    decision = decide(policy(text), subject(posture([TIKTOK])), request(), NOON)
    assert (decision.verdict, decision.phase) == (ALLOW, Phase.OBSERVE)
    assert decision.reasons == (Reason.APP_MATCH,)
    assert decision.posture is PostureState.DENIED
    assert decision.rule_ids == ("r",)
    assert decision.matched == (f"android:{TIKTOK.id}",)
    assert decision.message is None
    assert decision.deadline == at("2020-12-01T00:00:00Z")


def test_the_strongest_of_several_rules() -> None:
    """Verdict, words and app come from the one that blocks; the deadline from the next one that will."""
    text = (
        rule("{ id = 'o' }", rule_id="observed", phases='observe = "2020-01-01", enforce = "2020-08-01"')
        + rule("{ id = 'w' }", rule_id="warned", phases='warn = "2020-01-01", enforce = "2020-09-01"')
        + rule("{ id = 'e' }", '[rule.message.en]\nshort = "e"\nfix = "f"', rule_id="enforced")
        + rule("{ id = 'e' }", rule_id="later", phases='enforce = "2020-07-10T13:00:00Z"')
    )
    decision = decide(policy(text), subject(posture([App(id="e"), App(id="o"), App(id="w")])), request(), NOON)
    assert (decision.verdict, decision.phase) == (BLOCK, Phase.ENFORCE)
    assert decision.rule_ids == ("observed", "warned", "enforced")
    assert decision.message == Message(short="e", fix="f")
    assert decision.app_name == "e"
    assert decision.deadline == at("2020-09-01T00:00:00Z")
    assert decision.valid_until == at("2020-07-10T13:00:00Z"), "the rule that does nothing yet matters then"


def test_a_rule_without_words_has_the_default_ones() -> None:
    """They name the app and the way out."""
    decision = decide(policy(rule(f"{{ id = '{TIKTOK.id}' }}")), subject(posture([TIKTOK])), request(), NOON)
    assert decision.message is not None
    assert "{app}" in decision.message.short
    assert "{check_url}" in decision.message.fix


def test_scope_by_protocol_user_and_group() -> None:
    """A rule for some leaves the others alone."""
    text = (
        '[groups]\nboard = ["chair@example.com"]\n'
        + rule("{ id = 'a' }", 'scope = { protocols = ["smtp"] }', rule_id="send")
        + rule("{ id = 'a' }", 'scope = { groups = ["board"] }', rule_id="board")
        + rule("{ id = 'a' }", 'scope = { not_groups = ["board"], protocols = ["pop3"] }', rule_id="rest")
    )
    scoped = policy(text)
    apps = [App(id="a")]

    def rules_for(account: str, protocol: MailProtocol) -> tuple[str, ...]:
        phone = posture(apps, account=account)
        return decide(scoped, subject(phone), request(account, protocol), NOON).rule_ids

    assert rules_for("alice@example.com", MailProtocol.IMAP) == ()
    assert rules_for("alice@example.com", MailProtocol.SMTP) == ("send",)
    assert rules_for("alice@example.com", MailProtocol.POP3) == ("rest",)
    assert rules_for("chair@example.com", MailProtocol.SMTP) == ("send", "board")
    assert rules_for("chair@example.com", MailProtocol.POP3) == ("board",)


def test_one_phone_with_a_denied_app_decides_for_a_session_tied_to_the_user_only() -> None:
    """The strongest verdict over all mobile devices wins, and names its device."""
    clean, denied = posture(device_id="ph-1"), posture([TIKTOK], device_id="ph-2")
    text = rule(f"{{ id = '{TIKTOK.id}' }}")
    for devices in ((clean, denied), (denied, clean)):
        decision = decide(policy(text), subject(*devices, assurance=Assurance.USER), request(), NOON)
        assert decision.verdict is BLOCK
        assert decision.device_id == "ph-2"
        assert decision.reasons == (Reason.APP_MATCH,)
    tied = decide(policy(text), subject(clean), request(), NOON)
    assert tied.verdict is ALLOW


def test_among_equal_verdicts_the_denied_device_is_the_one_to_tell_of() -> None:
    """A denied app says more than a stale report; both reasons are kept."""
    stale = posture(device_id="ph-1", collected_at=NOON - timedelta(days=9))
    denied = posture([TIKTOK], device_id="ph-2")
    decision = decide(
        policy(rule(f"{{ id = '{TIKTOK.id}' }}")), subject(stale, denied, assurance=Assurance.USER), request(), NOON
    )
    assert decision.device_id == "ph-2"
    assert decision.posture is PostureState.DENIED
    assert decision.reasons == (Reason.APP_MATCH, Reason.STALE)


def test_what_several_phones_match_is_joined_in_policy_order() -> None:
    """Each rule and app once, the earliest boundary of all."""
    text = rule("{ id = 'a' }", rule_id="a") + rule("{ id = 'b' }, { id = 'c' }", rule_id="b")
    phones = (
        posture([App(id="b"), App(id="c")], device_id="ph-1", collected_at=NOON - timedelta(hours=5)),
        posture([App(id="a"), App(id="b")], device_id="ph-2", platform=Platform.IOS),
    )
    decision = decide(policy(text), subject(*phones, assurance=Assurance.USER), request(), NOON)
    assert decision.rule_ids == ("a", "b")
    assert decision.matched == ("ios:a", "android:b", "android:c", "ios:b")
    assert decision.valid_until == NOON + timedelta(hours=19)


def test_the_device_that_observes_does_not_outrank_the_one_that_blocks() -> None:
    """Verdict first, state second."""
    text = rule("{ id = 'a' }", phases='observe = "2020-01-01"')
    observed = posture([App(id="a")], device_id="ph-1")
    never = posture(None, device_id="ph-2")
    decision = decide(policy(text), subject(observed, never, assurance=Assurance.USER), request(), NOON)
    assert (decision.verdict, decision.device_id) == (BLOCK, "ph-2")
    assert decision.reasons == (Reason.NO_EVIDENCE, Reason.APP_MATCH)
    assert decision.posture is PostureState.UNKNOWN
    assert decision.app_name == "a"
    assert (decision.evidence_source, decision.apps_count) == (None, None)


@pytest.mark.parametrize(
    ("judged", "claimed", "device_id"),
    [
        (subject(assurance=Assurance.USER), None, None),
        (subject(claimed_device="ph-9"), "ph-9", "ph-9"),
        (subject(posture(device_class=DeviceClass.LAPTOP), assurance=Assurance.USER), None, None),
    ],
)
def test_an_unknown_device(judged: Subject, claimed: str | None, device_id: str | None) -> None:
    """No device, one that the binding names but nobody registered, or laptops only where phones count."""
    decision = decide(POLICY, judged, request(), NOON)
    assert (decision.verdict, decision.reasons) == (BLOCK, (Reason.UNKNOWN_DEVICE,))
    assert decision.posture is PostureState.UNKNOWN
    assert decision.device_id == device_id
    assert decision.valid_until is None
    assert decision.message is not None


def test_a_bound_laptop_is_judged_as_it_is() -> None:
    """A certificate says which device it is, so its class is no matter."""
    laptop = posture(device_class=DeviceClass.LAPTOP, platform=Platform.MACOS, collected_at=NOON)
    decision = decide(POLICY, subject(laptop), request(), at(BLOCKS))
    assert (decision.verdict, decision.device_id) == (ALLOW, "ph-001")


def test_an_unknown_device_that_is_let_in_is_still_unknown() -> None:
    """The policy may allow it; it does not become clean."""
    decision = decide(policy('[defaults]\nunknown_device = "allow"'), subject(), request(), NOON)
    assert (decision.verdict, decision.reasons) == (ALLOW, (Reason.UNKNOWN_DEVICE,))
    assert decision.posture is PostureState.UNKNOWN
    assert decision.message is None


def test_another_persons_phone_is_unknown_to_this_account() -> None:
    """A certificate of one person with the password of another."""
    decision = decide(POLICY, subject(posture(collected_at=NOON)), request("bob@example.com"), NOON)
    assert (decision.verdict, decision.reasons) == (BLOCK, (Reason.DEVICE_OF_ANOTHER_USER,))
    assert decision.posture is PostureState.UNKNOWN
    assert decision.message is not None
    assert "another account" in decision.message.short


def test_equal_inputs_give_equal_decisions() -> None:
    """Whatever order sets iterate in."""
    many = policy("".join(rule(f"{{ id = 'app.*.x{n}' }}, {{ id = 'app.*' }}", rule_id=f"r{n}") for n in range(9)))
    phone = posture([App(id=f"app.v.x{n}", name=f"App {n}") for n in range(20)])
    first = decide(many, subject(phone), request(), NOON)
    assert first == decide(many, subject(dataclasses.replace(phone)), request(), NOON)
    assert first.matched == tuple(sorted(first.matched))
