"""The predicates of rules and exemptions."""

import dataclasses

import pytest

from gatekeeper.decision.policy import Exemption, Policy, RuleScope
from gatekeeper.decision.scope import exemptions_for, in_scope, names, scope_terms
from gatekeeper.domain.device import DeviceClass, Ownership
from gatekeeper.domain.request import MailProtocol

from .samples import NOON, at, policy, posture, request, rule

GROUPS = '[groups]\nstaff = ["alice@example.com"]\nlab = ["bob@example.com"]\n'


def scoped(scope: str) -> Policy:
    """A policy with one rule of that scope."""
    return policy(GROUPS + rule("{ id = 'a' }", f"scope = {{ {scope} }}"))


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("", True),
        ('device_class = ["mobile"]', True),
        ('device_class = ["laptop"]', False),
        ('ownership = ["company"]', True),
        ('ownership = ["personal"]', False),
        ('protocols = ["imap"]', True),
        ('protocols = ["smtp", "http"]', False),
        ('users = ["alice@example.com"]', True),
        ('users = ["bob@example.com"]', False),
        ('groups = ["staff"]', True),
        ('groups = ["lab"]', False),
        ('users = ["bob@example.com"], groups = ["staff"]', True),
        ('users = ["bob@example.com"], groups = ["lab"]', False),
        ('not_users = ["alice@example.com"]', False),
        ('not_users = ["bob@example.com"]', True),
        ('not_groups = ["staff"]', False),
        ('not_groups = ["lab"]', True),
        ('groups = ["staff"], not_users = ["alice@example.com"]', False),
        ('device_class = ["mobile"], protocols = ["smtp"]', False),
        ('platforms = ["android"]', True),
        ('platforms = ["ios", "ipados"]', False),
        ('listeners = ["imap-listener"]', True),
        ('listeners = ["sieve"]', False),
    ],
)
def test_whom_a_rule_is_for(scope: str, expected: bool) -> None:
    """All kinds of condition must hold; users and groups together are one kind."""
    scoped_policy = scoped(scope)
    device = posture().device
    the_rule = scoped_policy.rules[0]
    assert in_scope(scoped_policy, the_rule, device, request()) is expected
    terms = scope_terms(scoped_policy, the_rule.scope, device, request())
    assert (False not in dict(terms).values()) is expected


def test_unknown_ownership_is_in_scope() -> None:
    """What is not known is not false."""
    scoped_policy = scoped('ownership = ["company"]')
    device = posture(ownership=None).device
    assert in_scope(scoped_policy, scoped_policy.rules[0], device, request())


def test_a_group_that_nobody_knows_is_in_scope_and_excepts_nobody() -> None:
    """Neither a positive condition nor a `not_` one turns a missing group into a way out."""
    scope = RuleScope(groups=frozenset({"gone"}), not_groups=frozenset({"lost"}))
    terms = scope_terms(Policy(sha256="0"), scope, posture().device, request())
    assert terms == [("groups", None), ("not_groups", None)]


def test_a_group_that_nobody_knows_exempts_nobody() -> None:
    """An exemption must be known to be for somebody."""
    exemption = Exemption(
        id="ex",
        rule="r",
        groups=frozenset({"gone"}),
        expires=at("2030-01-01T00:00:00Z"),
        reason="x",
        approved_by=("y",),
    )
    assert not names(Policy(sha256="0"), exemption, "alice@example.com", posture().device)
    nobody = dataclasses.replace(exemption, groups=frozenset())
    assert not names(Policy(sha256="0"), nobody, "alice@example.com", posture().device)


def test_terms_carry_the_names_of_the_policy() -> None:
    """`explain` shows them."""
    scope = RuleScope(
        device_class=frozenset({DeviceClass.LAPTOP}),
        ownership=frozenset({Ownership.COMPANY}),
        protocols=frozenset({MailProtocol.IMAP}),
        users=frozenset({"x"}),
        groups=frozenset({"staff"}),
        not_users=frozenset({"alice@example.com"}),
    )
    terms = scope_terms(scoped(""), scope, posture(ownership=None).device, request())
    assert terms == [
        ("device_class", False),
        ("ownership", None),
        ("protocols", True),
        ("users or groups", True),
        ("not_users", False),
    ]


@pytest.mark.parametrize(
    ("whom", "expected"),
    [
        ('users = ["alice@example.com"]', True),
        ('users = ["bob@example.com"]', False),
        ('groups = ["staff"]', True),
        ('groups = ["lab"]', False),
        ('users = ["bob@example.com"], groups = ["staff"]', True),
        ('devices = ["ph-001"]', True),
        ('devices = ["ph-002"]', False),
        ('users = ["alice@example.com"], devices = ["ph-002"]', False),
        ('users = ["bob@example.com"], devices = ["ph-001"]', False),
        ('groups = ["staff"], devices = ["ph-001"]', True),
    ],
)
def test_whom_an_exemption_is_for(whom: str, expected: bool) -> None:
    """Users or groups, and the devices if any are given; only until it expires."""
    exempt = policy(
        GROUPS
        + rule("{ id = 'a' }")
        + '[[exemption]]\nid = "ex"\nrule = "r"\n'
        + whom.replace(", ", "\n")
        + '\nexpires = "2020-07-10T12:00:00Z"\nreason = "x"\napproved_by = ["y"]\n'
    )
    (exemption,) = exempt.exemptions
    device = posture().device
    assert names(exempt, exemption, "alice@example.com", device) is expected
    before = exemptions_for(exempt, exempt.rules[0], "alice@example.com", device, at("2020-07-10T11:59:59Z"))
    assert before == ((exemption,) if expected else ())
    assert exemptions_for(exempt, exempt.rules[0], "alice@example.com", device, NOON) == ()


@pytest.mark.parametrize(
    ("scope", "address", "expected"),
    [
        ('networks = ["192.0.2.0/24"]', "192.0.2.7", True),
        ('networks = ["192.0.2.0/24"]', "::ffff:192.0.2.7", True),
        ('networks = ["192.0.2.0/24", "2001:db8::/32"]', "2001:db8::7%eth0", True),
        ('networks = ["192.0.2.0/24"]', "198.51.100.7", False),
        ('networks = ["192.0.2.0/24"]', "", None),
        ('networks = ["192.0.2.0/24"]', "a socket", None),
        ('not_networks = ["192.0.2.0/24"]', "192.0.2.7", False),
        ('not_networks = ["192.0.2.0/24"]', "2001:db8::7", True),
        ('not_networks = ["192.0.2.0/24"]', "", None),
    ],
)
def test_where_a_session_comes_from(scope: str, address: str, expected: bool | None) -> None:
    """An address that is not known is neither in a network nor out of it: the rule holds."""
    scoped_policy = scoped(scope)
    the_rule, device = scoped_policy.rules[0], posture().device
    asked = dataclasses.replace(request(), client_address=address)
    assert in_scope(scoped_policy, the_rule, device, asked) is (expected is not False)
    assert scope_terms(scoped_policy, the_rule.scope, device, asked) == [(scope.split(maxsplit=1)[0], expected)]
