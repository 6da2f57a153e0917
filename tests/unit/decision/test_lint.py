"""Warnings of a policy."""

import pytest

from gatekeeper.decision.lint import warnings

from .samples import NOON, SIGNER, policy, rule


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
