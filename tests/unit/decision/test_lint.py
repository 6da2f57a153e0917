"""Warnings of a policy."""

import pytest

from gatekeeper.decision.lint import Breadth, of_listeners, warnings

from .samples import NOON, NOTES, SIGNER, TIKTOK, policy, posture, rule


def words(text: str) -> list[str]:
    """The warnings at noon on 10 July 2020, `key: reason` each."""
    return [str(fault).removeprefix("policy.toml: ") for fault in warnings(policy(text), NOON)]


@pytest.mark.parametrize(
    ("enforce", "warns"),
    [
        ("2020-07-10T17:00:00-07:00", False),
        ("2020-07-11T09:00:00-07:00", True),
        ("2020-07-12", True),
        ("2020-07-13", False),
        ("2020-07-05", False),
    ],
)
def test_enforcement_on_a_weekend(enforce: str, warns: bool) -> None:
    """Counted in the zone it was written in, and only while it lies ahead."""
    expected = ["rule[0].phases.enforce: begins on a weekend, when no help desk answers"] if warns else []
    assert words(rule("{ id = 'a' }", phases=f'enforce = "{enforce}"')) == expected
    assert words(rule("{ id = 'a' }", phases=f"enforce = {enforce}")) == expected, "as a TOML date"


@pytest.mark.parametrize(
    ("apps", "expected"),
    [
        (
            f"{{ signer_sha256 = '{SIGNER}' }}",
            "rule[0].apps[0]: names no app id: a list in which an app lacks its signer",
        ),
        (
            "{ id = 'a' }, { name = 'T', publisher = 'B' }",
            "rule[0].apps[1]: names no app id: a list in which an app lacks its name, publisher",
        ),
        ("{ id = '*.musically*' }", "rule[0].apps[0].id: `*.musically*` is broad"),
        ("{ id = 'com.*' }", "rule[0].apps[0].id: `com.*` is broad"),
    ],
)
def test_broad_matchers(apps: str, expected: str) -> None:
    """What can hit more than was meant is pointed out."""
    (found,) = words(rule(apps))
    assert found.startswith(expected)


def test_expired_exemptions() -> None:
    """An exemption that is over is pointed out, one that is not is not."""
    exemptions = "".join(
        f'[[exemption]]\nid = "{name}"\nrule = "r"\nusers = ["a@example.com"]\nexpires = "{expires}"\n'
        'reason = "x"\napproved_by = ["y"]\n'
        for name, expires in (("old", "2020-07-09"), ("today", "2020-07-10"))
    )
    assert words(rule("{ id = 'a' }") + exemptions) == [
        "exemption[0].expires: `old` has expired: rule `r` is for everybody it named again"
    ]


@pytest.mark.parametrize(
    ("apps", "extra", "expected"),
    [
        ("{ id = 'com.a.b', version = '>=2,<1' }", "", "apps[0].version: `>=2,<1` holds for no version"),
        ("{ id = 'com.a.b', version = '>2,<2.0.0' }", "", "apps[0].version: "),
        ("{ id = 'com.a.b', version = 'code>5,code<6' }", "", "apps[0].version: "),
        ("{ id = 'com.a.b', version = '==1,!=1.0' }", "", "apps[0].version: "),
        (
            "{ id = 'com.a.b', installer = 'x', not_installer = ['X', 'y'] }",
            "",
            "apps[0].not_installer: leaves out every",
        ),
        ("{ platform = 'android', id = 'com.a-b.c' }", "", "apps[0].id: `com.a-b.c` is no Android package name"),
        ("{ platform = 'android', id = 'tiktok' }", "", "apps[0].id: `tiktok` is no Android package name"),
        ("{ platform = 'ios', id = 'com.a_b.c' }", "", "apps[0].id: `com.a_b.c` is no bundle identifier"),
        (
            "{ platform = 'ios', id = 'com.a.b' }",
            "scope = { platforms = ['android'] }",
            "apps[0].platform: `ios` is not in `scope.platforms`",
        ),
        ("{ id = 'com.a.b', min_evidence = 'mdm' }", "", "apps[0].min_evidence: no source in [sources] is as high"),
    ],
)
def test_matchers_that_can_match_nothing(apps: str, extra: str, expected: str) -> None:
    """Each says why."""
    (found,) = words(rule(apps, extra))
    assert found.startswith(f"rule[0].{expected}")


@pytest.mark.parametrize(
    "version", [">=1,<2", ">2,<2.0.1", "<1", ">5", "==1.0", "!=1", "code>5,code<7", "*", ">=2,<1 || >3", "<1,code>=0"]
)
def test_ranges_that_hold_for_something(version: str) -> None:
    """Are none of it."""
    assert words(rule(f"{{ id = 'com.a.b', version = '{version}' }}")) == []


def test_a_level_that_some_source_has() -> None:
    """Can be asked for."""
    assert words("[sources]\nx = 'mdm'\n" + rule("{ id = 'com.a.b', min_evidence = 'agent' }")) == []


def test_allow_lists_and_rollouts_that_leave_something_out() -> None:
    """What is allowed nowhere, and who is never enforced."""
    text = (
        '[[rule]]\nid = "r"\nonly_apps = [{ platform = "ios", id = "com.a.b" }]\nphases = { enforce = "2020-07-13" }\n'
    )
    assert words(text + 'rollout = [{ from = "2020-07-18", percent = 10 }]') == [
        "rule[0].only_apps: allows nothing at all on platforms that it does not name; `scope.platforms` leaves them out",
        "rule[0].rollout[0].from: begins on a weekend, when no help desk answers",
        "rule[0].rollout: never reaches 90 percent of the devices: they are only warned, for ever",
    ]
    assert words(text + 'scope = { platforms = ["ios", "ipados"] }') == []


def test_missing_languages() -> None:
    """What one rule has and another has not; a rule without any text; what a group reads."""
    de, en = (f'[rule.message.{tag}]\nshort = "s"\nfix = "f"\n' for tag in ("de", "en"))
    first = rule("{ id = 'com.a.a' }", de + en, rule_id="a")
    second = rule("{ id = 'com.a.b' }", en, rule_id="b")
    bare = rule("{ id = 'com.a.c' }", rule_id="c")
    assert words(first + second + bare) == [
        "rule[1].message: has no text in `de` (rule `a` has it)",
        "rule[2].message: has no text of its own: people are told a built-in English one",
    ]
    assert words(bare) == []
    group = '[groups]\nrome = []\n[defaults]\nlanguage = { default = "fr", groups = { rome = "it" } }\n'
    assert words(group + second) == [
        "rule[0].message: has no text in `it` (group `rome` reads it)",
        "rule[0].message: has no text in `fr` (it is the language of last resort)",
    ]


def test_a_third_of_all_devices() -> None:
    """Counted by device and matcher; one that never reported does not count."""
    the_policy = policy(rule("{ id = 'com.example.notes' }, { id = 'com.zhiliaoapp.musically' }"))
    breadth = Breadth(the_policy)
    phones = [posture([NOTES, TIKTOK]), posture([NOTES, NOTES]), *[posture([]) for _ in range(3)]]
    breadth.add(phones[:4])
    assert [str(each) for each in breadth.warnings()] == [
        "policy.toml: rule[0].apps[0]: means an app on 2 of 4 devices, more than a third"
    ]
    breadth.add([*phones[4:], posture([]), posture(None)])
    assert breadth.warnings() == ()


@pytest.mark.parametrize(
    ("expires", "approvers", "warns"),
    [("2021-01-06", 1, False), ("2021-01-07", 1, True), ("2021-01-07", 2, True), ("2030-01-01", 3, False)],
)
def test_exemptions_for_long(expires: str, approvers: int, warns: bool) -> None:
    """Longer than half a year wants three who approve."""
    names = ", ".join(f'"p{number}"' for number in range(approvers))
    text = rule("{ id = 'com.a.b' }") + (
        f'[[exemption]]\nid = "e"\nrule = "r"\nusers = ["a@example.com"]\nexpires = "{expires}T12:00:00Z"\n'
        f'reason = "x"\napproved_by = [{names}]\n'
    )
    expected = (
        ["exemption[0].expires: lies more than 180 days ahead, and fewer than 3 have approved it"] if warns else []
    )
    assert words(text) == expected


def test_a_matcher_that_repeats_another_of_its_rule() -> None:
    """The same again, or one that a wider one means already; of two alike the later."""
    found = words(
        rule(
            "{ id = 'com.a.b' }, { id = 'com.a.b' }, { id = 'com.c.*' }, { platform = 'ios', id = 'com.c.d.*' }, { id = 'e.f' }"
        )
    )
    assert found == [
        "rule[0].apps[3]: means nothing that `apps[2]` does not mean",
        "rule[0].apps[1]: means nothing that `apps[0]` does not mean",
    ]
    assert words(rule("{ id = 'com.a.b', version = '<2' }, { id = 'com.a.b', version = '>3' }")) == []


@pytest.mark.parametrize(
    ("cap", "warns"), [("2020-07-18", True), ("2020-07-20", False), ("2020-07-18T01:00:00+14:00", False)]
)
def test_the_end_of_grace_on_a_weekend(cap: str, warns: bool) -> None:
    """It begins to be enforced for the last devices then."""
    text = rule("{ id = 'a' }", f'grace = {{ per_device = "7d", cap = "{cap}" }}', phases='enforce = "2020-07-13"')
    assert words(text) == (["rule[0].grace.cap: falls on a weekend, when no help desk answers"] if warns else [])


def test_an_exemption_that_is_over_before_its_rule_begins() -> None:
    """Somebody got the dates wrong."""
    exemption = (
        '[[exemption]]\nid = "e"\nrule = "r"\nusers = ["a@example.com"]\nexpires = "2020-07-19"\n'
        'reason = "x"\napproved_by = ["y"]\n'
    )
    phases = 'warn = "2020-07-20", enforce = "2020-07-27"'
    assert words(rule("{ id = 'a' }", phases=phases) + exemption) == [
        "exemption[0].expires: `e` is over before rule `r` begins"
    ]
    assert words(rule("{ id = 'a' }", phases=phases) + exemption.replace("07-19", "07-20")) == []


def test_a_rule_for_nobody() -> None:
    """Its scope says why."""
    (found,) = words(rule("{ id = 'a' }", 'scope = { protocols = ["http"] }'))
    assert found.startswith("rule[0].scope.protocols: no front of this version speaks it")


def test_listeners_that_are_not_configured() -> None:
    """Such a rule would be for nobody."""
    text = rule("{ id = 'a' }", 'scope = { listeners = ["imaps", "submision"] }') + rule("{ id = 'b' }", rule_id="s")
    found = of_listeners(policy(text), ["imaps", "submission"])
    (reason,) = (fault.reason for fault in found)
    assert reason == "no listener of the configuration is called `submision` (did you mean `submission`?)"
    assert [fault.key for fault in found] == ["rule[0].scope.listeners"]
    assert of_listeners(policy(text), ["imaps", "submision"]) == ()


def test_without_a_device_nothing_is_known_of_breadth() -> None:
    """Silence would look like an answer."""
    (found,) = Breadth(policy(rule("{ id = 'a' }"))).warnings()
    assert "no device on record has reported" in found.reason
