"""Rules that another makes superfluous, and rules that speak of the same app."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.decision.decide import decide
from gatekeeper.decision.overlap import Overlaps, covers, scope_covers, scopes_meet
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.app import App
from gatekeeper.domain.device import Ownership, Platform

from .samples import NOON, policy, posture, request, rule, subject

EXEMPTION = """
[[exemption]]
id = "e"
rule = "r0"
users = ["a@example.com"]
expires = "2030-01-01"
reason = "x"
approved_by = ["y"]
"""


def two(first: str, second: str, *, phases: tuple[str, str] = ("", ""), scopes: tuple[str, str] = ("", "")) -> str:
    """Two rules of these apps."""
    texts = []
    for number, (apps, when, scope) in enumerate(zip((first, second), phases, scopes, strict=True)):
        extra = f"scope = {{ {scope} }}" if scope else ""
        texts.append(rule(apps, extra, rule_id=f"r{number}", phases=when or 'enforce = "2020-01-01"'))
    return "".join(texts)


def shadows(text: str) -> list[tuple[int, int]]:
    return sorted(Overlaps(policy(text)).shadows())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{ id = 'com.a.b' }", "{ id = 'com.A.b' }"),
        ("{ id = 'com.a.*' }", "{ id = 'com.a.b' }"),
        ("{ id = 'com.a*' }", "{ id = 'com.a.b*' }"),
        ("{ id = 'com.a.b' }", "{ platform = 'ios', id = 'com.a.b', version = '<2' }"),
        ("{ platform = 'ios', id = 'com.a.b' }", "{ platform = 'ipados', id = 'com.a.b', name = 'x' }"),
        ("{ id = 'com.a.b' }, { id = 'com.c.d' }", "{ id = 'com.c.d' }, { id = 'com.a.b' }"),
    ],
)
def test_a_rule_that_changes_no_verdict(first: str, second: str) -> None:
    """All that it means another means as well; of two alike the later one is superfluous."""
    assert shadows(two(first, second)) == [(1, 0)]


@pytest.mark.parametrize(
    "text",
    [
        two("{ id = 'com.x.b' }", "{ id = 'com.a.*' }"),
        two("{ platform = 'ipados', id = 'com.a.b' }", "{ platform = 'android', id = 'com.a.b' }"),
        two("{ id = 'com.a.b' }, { id = 'com.x.y' }", "{ id = 'com.a.b' }, { id = 'com.c.d' }"),
        two("{ id = 'com.a.b', version = '<2' }", "{ id = 'com.a.b', version = '<3' }"),
        two("{ id = 'com.a.b' }", "{ id = 'com.a.b' }", scopes=("protocols = ['imap']", "protocols = ['smtp']")),
        two(
            "{ id = 'com.a.b' }",
            "{ id = 'com.a.b' }",
            scopes=("users = ['a@example.com']", "users = ['b@example.com']"),
        ),
        two(
            "{ id = 'com.a.b' }",
            "{ id = 'com.a.b' }",
            phases=('warn = "2020-01-01", enforce = "2020-03-01"', 'enforce = "2020-02-01"'),
        ),
        two("{ id = 'com.a.b' }", "{ id = 'com.a.b', version = '<2' }") + EXEMPTION,
        two("{ id = 'com.a.b', min_evidence = 'mdm' }", "{ id = 'com.a.b', version = '<2' }"),
        rule("{ id = 'com.a.b' }", 'grace = { per_device = "1d", cap = "2021-01-01" }', rule_id="r0")
        + rule("{ id = 'com.a.b', version = '<2' }", rule_id="r1"),
    ],
)
def test_rules_that_both_count(text: str) -> None:
    """Other apps, other people, other times, an exemption, more time."""
    assert shadows(text) == []


def test_pairs_that_mean_the_same_app() -> None:
    """Told once for each two rules, with one of the ids."""
    text = two("{ id = 'com.a.b' }, { id = 'com.a.c' }", "{ id = 'com.a.*', version = '<2' }")
    assert list(Overlaps(policy(text)).pairs()) == [(0, 1, "com.a.b")]
    apart = two("{ platform = 'ios', id = 'com.a.b' }", "{ platform = 'android', id = 'com.a.b' }")
    assert list(Overlaps(policy(apart)).pairs()) == []
    other_people = two(
        "{ id = 'com.a.b' }", "{ id = 'com.a.b' }", scopes=("ownership = ['company']", "ownership = ['personal']")
    )
    assert list(Overlaps(policy(other_people)).pairs()) == []


def test_ten_thousand_ids_take_a_moment() -> None:
    """Not the square of them."""
    rules = "".join(
        rule(
            ", ".join(f"{{ id = 'com.v{number}.a{each}' }}" for each in range(20)) + f", {{ id = 'com.w{number}.*' }}",
            rule_id=f"r{number}",
        )
        for number in range(500)
    )
    overlaps = Overlaps(policy(rules))
    assert list(overlaps.shadows()) == []
    assert list(overlaps.pairs()) == []


IDS = ("com.a.b", "com.a.c", "com.a.*", "com.*", "com.a.b*", "*.b")
SCOPES = ("", "ownership = ['company']", "users = ['alice@example.com']", "groups = ['staff']", "not_groups = ['staff']",
    "protocols = ['imap', 'smtp']", "protocols = ['imap']", "platforms = ['android']")  # fmt: skip
PHASES = (
    'enforce = "2020-07-09"',
    'enforce = "2020-07-11"',
    'warn = "2020-07-09"',
    'observe = "2020-07-01", enforce = "2020-07-12"',
)
matchers = st.builds(
    lambda app_id, platform, version: f"{{ id = '{app_id}'{platform}{version} }}",
    st.sampled_from(IDS),
    st.sampled_from(("", ", platform = 'ios'", ", platform = 'android'")),
    st.sampled_from(("", "", ", version = '<2'")),
)
rules = st.tuples(st.lists(matchers, min_size=1, max_size=2), st.sampled_from(SCOPES), st.sampled_from(PHASES))


def read(parts: list[tuple[list[str], str, str]]) -> Policy:
    texts = [
        rule(", ".join(apps), f"scope = {{ {scope} }}", rule_id=f"r{number}", phases=phases)
        for number, (apps, scope, phases) in enumerate(parts)
    ]
    return policy('[groups]\nstaff = ["alice@example.com"]\n' + "".join(texts))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(rules, min_size=2, max_size=4),
    st.builds(
        App,
        id=st.sampled_from(("com.a.b", "com.a.c", "com.x.b", "com.a.bc")),
        version=st.sampled_from((None, "1", "3")),
    ),
    st.sampled_from((Platform.ANDROID, Platform.IOS, Platform.IPADOS)),
    st.sampled_from((None, *Ownership)),
    st.sampled_from(("alice@example.com", "bob@example.com")),
    st.integers(-100, 100),
)
def test_without_a_superfluous_rule_every_verdict_is_the_same(
    parts: list[tuple[list[str], str, str]],
    app: App,
    platform: Platform,
    ownership: Ownership | None,
    account: str,
    hours: int,
) -> None:
    """That is what the word means."""
    whole = read(parts)
    gone = {index for index, _ in Overlaps(whole).shadows()}
    rest = read([part for index, part in enumerate(parts) if index not in gone])
    now = NOON + timedelta(hours=hours)
    who = subject(posture([app], platform=platform, ownership=ownership, account=account, collected_at=now))
    asked = request(account)
    assert decide(rest, who, asked, now).verdict is decide(whole, who, asked, now).verdict
    for first in whole.rules:
        for second in whole.rules:
            assert not scope_covers(first.scope, second.scope) or scopes_meet(first.scope, second.scope)
            assert all(covers(matcher, matcher) for matcher in first.apps)
