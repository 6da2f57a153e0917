"""Time zones and instants of a policy."""

import pytest

from gatekeeper.domain.decision import Verdict

from .samples import at, faults, policy, rule

BERLIN = '[defaults]\nzone = "Europe/Berlin"\n'


@pytest.mark.parametrize(
    ("enforce", "expected"),
    [
        ('"2026-12-08"', "2026-12-08T00:00:00+01:00"),
        ("2026-12-08", "2026-12-08T00:00:00+01:00"),
        ('"2026-07-08T09:00:00"', "2026-07-08T09:00:00+02:00"),
        ("2026-07-08T09:00:00", "2026-07-08T09:00:00+02:00"),
        ('"2026-07-08T09:00:00Z"', "2026-07-08T09:00:00+00:00"),
        ("2026-07-08T09:00:00-07:00", "2026-07-08T09:00:00-07:00"),
        ('"2026-10-25T02:30:00"', "2026-10-25T02:30:00+02:00"),
    ],
)
def test_dates_in_the_zone_of_the_policy(enforce: str, expected: str) -> None:
    """Where they name none of their own; of an hour that comes twice, the first."""
    text = BERLIN + f'[[rule]]\nid = "r"\napps = [{{ id = "a" }}]\nphases = {{ enforce = {enforce} }}\n'
    assert policy(text).rules[0].phases.enforce == at(expected)


def test_a_rule_may_have_its_own_zone() -> None:
    """And without any it is UTC."""
    phases = 'zone = "America/Los_Angeles", enforce = "2020-07-10T17:00:00"'
    assert policy(BERLIN + rule("{ id = 'a' }", phases=phases)).rules[0].phases.enforce == at(
        "2020-07-11T00:00:00+00:00"
    )
    assert policy(rule("{ id = 'a' }", phases='enforce = "2020-07-10"')).rules[0].phases.enforce == at(
        "2020-07-10T00:00:00+00:00"
    )


def test_an_exemption_ends_with_the_day_of_the_zone() -> None:
    """Its last day has 25 hours here."""
    exemption = (
        '[[exemption]]\nid = "e"\nrule = "r"\nusers = ["a@example.com"]\nexpires = 2026-10-25\n'
        'reason = "x"\napproved_by = ["y"]\n'
    )
    assert policy(BERLIN + rule("{ id = 'a' }") + exemption).exemptions[0].expires == at("2026-10-26T00:00:00+01:00")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[defaults]\nzone = "Europe/Berln"', "defaults.zone: `Europe/Berln` is no time zone such as Europe/Berlin"),
        ('[defaults]\nzone = "Europe/Berln"', "(did you mean `Europe/Berlin`?)"),
        ('[defaults]\nzone = "../etc/passwd"', "defaults.zone: `../etc/passwd` is no time zone"),
        ('[defaults]\nzone = "Europe"', "defaults.zone: `Europe` is no time zone"),
        ("[defaults]\nzone = 1", "defaults.zone: must be a text"),
        (
            BERLIN + rule("{ id = 'a' }", phases='enforce = "2026-03-29T02:30:00"'),
            "enforce: `2026-03-29 02:30:00` does not exist in Europe/Berlin: the clocks skip it",
        ),
    ],
)
def test_faults_of_zones(text: str, expected: str) -> None:
    """Each says what is wrong with it."""
    (fault,) = faults(f"schema = 1\n{text}")
    assert expected in fault


def test_a_group_of_the_directory_is_known_by_name() -> None:
    """Until its members are brought, nobody knows whether somebody is one; then it is a group like any other."""
    text = '[groups]\nsales = { directory = "CN=Sales" }\n' + rule("{ id = 'a' }", 'scope = { groups = ["sales"] }')
    the_policy = policy(text)
    assert the_policy.directory_groups == {"sales": "CN=Sales"}
    assert "sales" not in the_policy.groups
    brought = the_policy.with_groups({"CN=Sales": frozenset({"a@example.com"}), "CN=Other": frozenset()})
    assert brought.groups == {"sales": {"a@example.com"}}
    assert brought.indexes is the_policy.indexes, "compiled once"
    assert brought.with_groups({}).groups == {}, "the directory is away: not known again"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[groups]\nsales = { }", "groups.sales.directory: is required"),
        ('[groups]\nsales = { directory = " " }', "groups.sales.directory: must not be empty"),
        ('[groups]\nsales = { director = "x" }', "groups.sales.director: unknown key (did you mean `directory`?)"),
        ('[sources]\nmdm = "mdn"', "sources.mdm: `mdn` is not one of claimed, agent, mdm, hardware"),
        ('[defaults.language]\ngroups = { x = "de" }', "defaults.language.groups.x: group `x` is not defined"),
        ('[defaults]\nlanguage = "German"', "defaults.language: is not a language tag"),
    ],
)
def test_faults_of_groups_sources_and_languages(text: str, expected: str) -> None:
    """With their keys."""
    assert any(expected in fault for fault in faults(f"schema = 1\n{text}"))


def test_the_action_caps_what_a_rule_does() -> None:
    """Whatever the phase."""
    phases = 'observe = "2020-01-01", warn = "2020-01-02", enforce = "2020-01-03"'
    for action, expected in (
        ("observe", [Verdict.ALLOW, Verdict.ALLOW, Verdict.ALLOW]),
        ("warn", [Verdict.ALLOW, Verdict.WARN, Verdict.WARN]),
        ("block", [Verdict.ALLOW, Verdict.WARN, Verdict.BLOCK]),
    ):
        found = policy(rule("{ id = 'a' }", f'action = "{action}"', phases=phases)).rules[0]
        assert list(found.verdicts.values()) == expected
