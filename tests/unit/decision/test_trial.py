"""Running a policy's tests: failures, coverage, and rules that nobody would miss."""

from gatekeeper.decision.cases import read_cases
from gatekeeper.decision.trial import Trial, run

from .samples import policy, rule

PHONE = '[device.phone]\nuser = "a@example.com"\nplatform = "ios"\napps = [{ id = "com.a" }, { id = "com.b" }]\n'
PHASES = 'warn = "2020-07-01", enforce = "2020-07-10"'


def trial(the_policy: str, *tests: str, mutate: bool = True) -> Trial:
    text = "schema = 1\n" + PHONE + "".join(f'[[test]]\nname = "t"\ndevices = ["phone"]\n{test}\n' for test in tests)
    return run(policy(the_policy), read_cases(text.encode(), source="p").cases, mutate=mutate)


A, B = rule("{ id = 'com.a' }", rule_id="a", phases=PHASES), rule("{ id = 'com.b' }", rule_id="b", phases=PHASES)
BLOCKED = 'at = "2020-07-11"\nexpect = { verdict = "block" }'
WARNED = 'at = "2020-07-02"\nexpect = { verdict = "warn", rules = ["a"] }'


def test_what_is_not_as_expected_is_told() -> None:
    """Each difference with both sides."""
    wrong = 'at = "2020-07-11"\nexpect = { verdict = "warn", rules = [], posture = "clean", message = "xyz", valid_until = 2020-01-01 }'
    (failed,) = trial(A, wrong).failed
    assert failed.differences[:3] == (
        "verdict: is block, expected warn",
        "rules: is [a], expected []",
        "posture: is denied, expected clean",
    )
    assert failed.differences[3].startswith("valid_until: is ")
    assert failed.differences[4].startswith("message: is `Mail is paused: com.a is on this device")


def test_a_case_says_who_is_in_the_directory_s_groups() -> None:
    """In these and no other; without it nothing is known, and a misspelt one is told."""
    groups = (
        '[groups]\npress = { directory = "CN=Press" }\npr = { directory = "CN=Press" }\nlab = { directory = "L" }\n'
    )
    spared = groups + rule("{ id = 'com.a' }", 'scope = { not_groups = ["press"] }', rule_id="a")
    cases = [
        f'at = "2020-07-11"\nsession = {{ {session} }}\nexpect = {{ verdict = "{verdict}" }}'
        for session, verdict in (
            ('groups = ["press"]', "allow"),
            ('groups = ["pr"]', "allow"),
            ('groups = ["lab"]', "block"),
            ("groups = []", "block"),
            ("", "block"),
        )
    ]
    found = trial(spared, *cases)
    assert found.failed == ()
    assert found.coverage == 100
    assert found.unmissed == ()
    (failed,) = trial(
        spared, 'at = "2020-07-11"\nsession = { groups = ["pres"] }\nexpect = { verdict = "block" }'
    ).failed
    assert failed.differences == ("session.groups: the policy takes no group `pres` from a directory",)


def test_coverage_counts_rules_in_phases() -> None:
    """What no test comes to is named."""
    found = trial(A, BLOCKED)
    assert (found.coverage, [(rule_id, phase.value) for rule_id, phase in found.unreached]) == (50, [("a", "warn")])
    assert trial(A, BLOCKED, WARNED).coverage == 100
    assert trial("", 'at = "2020-07-11"\nexpect = { verdict = "allow" }').coverage == 100


def test_a_rule_that_no_test_would_miss() -> None:
    """Two rules that block the same phone: dropping either is only noticed by who names them."""
    assert trial(A, BLOCKED).unmissed == ()
    assert trial(A + B, BLOCKED).unmissed == ("a", "b")
    assert trial(A + B, 'at = "2020-07-11"\nexpect = { verdict = "block", rules = ["a", "b"] }').unmissed == ()
    assert trial(A + B, BLOCKED, mutate=False).unmissed == ()
    assert trial(A + B, 'at = "2020-07-11"\nexpect = { verdict = "allow" }').unmissed == (), "they fail anyhow"


def test_a_rule_that_is_put_off_has_a_warning_to_cover() -> None:
    """Grace and rollout warn before they enforce."""
    late = rule(
        "{ id = 'com.a' }",
        'grace = { per_device = "1d", cap = "2020-07-20" }',
        rule_id="a",
        phases='enforce = "2020-07-10"',
    )
    assert [phase.value for _, phase in trial(late, BLOCKED).unreached] == ["warn"]


def test_an_exempt_device_reaches_the_rule() -> None:
    """The test of the exemption is one of the rule."""
    exempt = '[[exemption]]\nid = "e"\nrule = "a"\nusers = ["a@example.com"]\nexpires = "2020-08-01"\nreason = "x"\napproved_by = ["y"]\n'
    found = trial(A + exempt, 'at = "2020-07-11"\nexpect = { verdict = "allow", exemptions = ["e"] }')
    assert (found.failed, found.coverage, found.unmissed) == ((), 50, ())
