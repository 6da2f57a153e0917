"""The text of a policy as a whole: the shipped example, defaults, groups, exemptions, and every fault."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gatekeeper.decision.policy import ByOwnership, Stale, UnknownDevice
from gatekeeper.decision.schema import MAX_POLICY_OCTETS, parse_policy, warnings
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.device import DeviceClass
from gatekeeper.domain.document import DocumentError
from gatekeeper.domain.identity import IdentitySettings, Plus
from gatekeeper.domain.request import MailProtocol

from .samples import NOON, RULE, at, faults, policy

EXAMPLE = Path(__file__).parents[3] / "config" / "policy.toml"
EXEMPTION = """
[[exemption]]
id = "ex-1"
rule = "no-tiktok"
users = ["press@example.com"]
expires = "2020-09-30"
reason = "Runs the company channel"
approved_by = ["ciso@example.com"]
"""


def test_the_shipped_policy_has_no_fault_and_no_warning() -> None:
    """The example works as it is, today and years on; so does what it has in comments."""
    data = EXAMPLE.read_bytes()
    example = parse_policy(data, source="config/policy.toml")
    assert all(warnings(example, NOON + timedelta(days=365 * years)) == () for years in range(30))
    assert example.sha256 == hashlib.sha256(data).hexdigest()
    assert example.source == "config/policy.toml"
    assert example.defaults.unknown_device == UnknownDevice(default=Verdict.BLOCK)
    assert example.defaults.evidence_max_age == timedelta(hours=24)
    assert example.defaults.stale == Stale(action=Verdict.WARN, then=Verdict.BLOCK, after=timedelta(hours=72))
    assert example.defaults.insufficient == ByOwnership(company=Verdict.BLOCK, personal=Verdict.WARN)
    (rule,) = example.rules
    assert rule.id == "no-tiktok"
    assert len(rule.apps) == 4
    assert rule.scope.device_class == {DeviceClass.MOBILE}
    assert rule.phases.warn == at("2020-07-10T16:00:00+00:00")
    assert rule.phases.enforce == at("2020-07-11T00:00:00+00:00")
    commented = data.decode().partition("# [[exemption]]")
    more = commented[0] + "[[exemption]]" + commented[2].replace("\n# ", "\n")
    (exemption,) = parse_policy(more.encode(), source="config/policy.toml").exemptions
    assert exemption.users == {"press@example.com"}
    assert exemption.expires == datetime(2027, 7, 1, tzinfo=UTC), "through the end of the day"


def test_what_is_not_said_is_the_safe_choice() -> None:
    """An empty policy blocks whatever is not known."""
    defaults = policy("").defaults
    assert defaults.unknown_device.action(MailProtocol.IMAP) is Verdict.BLOCK
    assert (defaults.stale.action, defaults.stale.then) == (Verdict.BLOCK, Verdict.BLOCK)
    assert defaults.insufficient == ByOwnership(company=Verdict.BLOCK, personal=Verdict.BLOCK)
    assert defaults.no_evidence is None


def test_defaults_in_their_short_forms() -> None:
    """One action for all is a text."""
    defaults = policy('[defaults]\nstale = "warn"\ninsufficient = "allow"\nno_evidence = "warn"').defaults
    assert (defaults.stale.action, defaults.stale.then) == (Verdict.WARN, Verdict.WARN)
    assert defaults.insufficient == ByOwnership(company=Verdict.ALLOW, personal=Verdict.ALLOW)
    assert defaults.no_evidence == ByOwnership(company=Verdict.WARN, personal=Verdict.WARN)


def test_defaults_in_their_long_forms() -> None:
    """By protocol, device class and ownership; what a table leaves out is `default`, and that is block."""
    defaults = policy(
        "[defaults]\n"
        'unknown_device = { default = "warn", smtp = "allow", mobile = "block" }\n'
        'insufficient = { personal = "allow" }\n'
        'no_evidence = { default = "warn", company = "block" }\n'
    ).defaults
    assert defaults.unknown_device == UnknownDevice(
        default=Verdict.WARN,
        by_protocol={MailProtocol.SMTP: Verdict.ALLOW},
        by_class={DeviceClass.MOBILE: Verdict.BLOCK},
    )
    assert defaults.insufficient == ByOwnership(company=Verdict.BLOCK, personal=Verdict.ALLOW)
    assert defaults.no_evidence == ByOwnership(company=Verdict.BLOCK, personal=Verdict.WARN)


def test_accounts_are_canonical_everywhere() -> None:
    """A policy may write an account as people do."""
    groups = '[groups]\npress = ["Press@Example.com"]\nnobody = []\n'
    parsed = policy(groups + RULE + EXEMPTION.replace("press@example.com", "PRESS@example.com"))
    assert parsed.groups == {"press": {"press@example.com"}, "nobody": frozenset()}
    assert parsed.exemptions[0].users == {"press@example.com"}


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ('"2020-09-30"', "2020-10-01T00:00:00+00:00"),
        ("2020-09-30", "2020-10-01T00:00:00+00:00"),
        ("2020-09-30T12:00:00Z", "2020-09-30T12:00:00+00:00"),
        ('"2020-09-30T12:00:00-07:00"', "2020-09-30T19:00:00+00:00"),
        ("9999-12-31", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_a_date_alone_counts_to_its_end(text: str, expires: str) -> None:
    """A date without a time means through that day in UTC; an instant means itself."""
    assert policy(RULE + EXEMPTION.replace('"2020-09-30"', text)).exemptions[0].expires == at(expires)


def test_a_byte_order_mark_is_no_fault() -> None:
    """Editors on Windows write one."""
    assert parse_policy(b"\xef\xbb\xbfschema = 1", source="p").rules == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["schema: is required"]),
        ("schema = 2", ["schema: must be 1, the only version of the language there is"]),
        ("schema = true", ["schema: must be a whole number"]),
        ('schema = "1"', ["schema: must be a whole number"]),
        ("schema = 1\n[default]", ["default: unknown key (did you mean `defaults`?)"]),
        ("schema = 1\n[defaults]\nstail = 1", ["defaults.stail: unknown key (did you mean `stale`?)"]),
        (
            'schema = 1\n[defaults]\nunknown_device = "deny"',
            ["defaults.unknown_device: `deny` is not one of allow, warn, block"],
        ),
        ("schema = 1\n[defaults]\nunknown_device = 1", ["defaults.unknown_device: must be a text"]),
        (
            'schema = 1\n[defaults]\nunknown_device = { imapp = "warn" }',
            ["defaults.unknown_device.imapp: unknown key (did you mean `imap`?)"],
        ),
        (
            'schema = 1\n[defaults]\nevidence_max_age = "1 day"',
            ['defaults.evidence_max_age: `1 day` is not a duration such as "30s", "24h" or "7d"'],
        ),
        (
            'schema = 1\n[defaults]\nevidence_max_age = "0s"',
            ["defaults.evidence_max_age: must be longer than nothing: all evidence would be stale"],
        ),
        (
            'schema = 1\n[defaults]\nevidence_max_age = "999999999d"',
            ["defaults.evidence_max_age: must not be longer than 3650d"],
        ),
        (
            'schema = 1\n[defaults]\nstale = { then = "block" }',
            ["stale.action: is required", "stale.after: is required"],
        ),
        (
            'schema = 1\n[defaults]\nstale = { action = "warn", after = "1h" }',
            ["defaults.stale.then: is required beside `after`"],
        ),
        (
            'schema = 1\n[defaults]\nstale = { action = "block", then = "warn", after = "1h" }',
            ["defaults.stale.then: `warn` is weaker than `block`: evidence does not get better with age"],
        ),
        (
            'schema = 1\n[defaults]\ninsufficient = { corporate = "warn" }',
            ["defaults.insufficient.corporate: unknown key"],
        ),
        ("schema = 1\n[defaults]\ninsufficient = true", ["defaults.insufficient: must be a text"]),
        ("schema = 1\ngroups = 3", ["groups: must be a table"]),
        ('schema = 1\n[groups]\npress = "a@b.example"', ["groups.press: must be a list of texts"]),
        (
            'schema = 1\n[groups]\n"a b" = []',
            ["groups.a b: a group's name is made of letters, digits, `.`, `_`, `@`, `-` (at most 64)"],
        ),
        (
            'schema = 1\n[groups]\npress = ["ok@example.com", "a/b"]',
            ["groups.press[1]: `a/b` is not an account that a mail log-in can have"],
        ),
        ("schema = 1\nrule = 1", ["rule: must be a list of tables ([[rule]])"]),
        ("schema = 1\nrule = [1]", ["rule[0]: must be a table"]),
        ("schema = 1" + RULE + RULE, ["rule[1].id: `no-tiktok` is already the id of rule[0]"]),
        (
            "schema = 1" + RULE + EXEMPTION + EXEMPTION,
            ["exemption[1].id: `ex-1` is already the id of exemption[0]"],
        ),
        (
            "schema = 1\n[[exemption]]",
            [
                "exemption[0].rule: is required",
                "exemption[0].id: is required",
                "exemption[0].expires: is required",
                "exemption[0].reason: is required",
                "exemption[0].approved_by: is required",
                "exemption[0]: names nobody: give users, groups or devices",
            ],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace('"no-tiktok"', '"no-tictoc"'),
            ["exemption[0].rule: there is no rule `no-tictoc`"],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace('"2020-09-30"', '"soon"'),
            ["exemption[0].expires: `soon` is not a date or a date and time such as 2020-07-10T17:00:00-07:00"],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace('"2020-09-30"', "0001-01-01T00:00:00+05:00"),
            ["exemption[0].expires: `0001-01-01 00:00:00+05:00` is not a date"],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace('"Runs the company channel"', '" "'),
            ["exemption[0].reason: must not be empty"],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace('["ciso@example.com"]', "[]"),
            ["exemption[0].approved_by: must name at least one person, none of them empty"],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace('"ciso@example.com"', '"ci so@example.com"'),
            ["exemption[0].approved_by[0]: `ci so@example.com` is not an account"],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace('["press@example.com"]', "[]"),
            ["exemption[0].users: must not be empty: leave the key out instead"],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace('users = ["press@example.com"]', 'devices = [""]'),
            ["exemption[0].devices: must list at least one device id, none of them empty"],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace('users = ["press@example.com"]', 'groups = ["press"]'),
            ["exemption[0].groups[0]: group `press` is not defined in [groups]"],
        ),
        (
            "schema = 1" + RULE + EXEMPTION.replace("approved_by", "aproved_by"),
            ["approved_by: is required", "exemption[0].aproved_by: unknown key (did you mean `approved_by`?)"],
        ),
    ],
)
def test_every_fault_has_its_key_and_reason(text: str, expected: list[str]) -> None:
    """What a person can get wrong is said in words, at its place, and nothing else is."""
    found = faults(text)
    assert len(found) == len(expected), found
    for part, fault in zip(expected, found, strict=True):
        assert part in fault


def test_all_faults_come_at_once() -> None:
    """Faults in different places do not hide each other."""
    text = 'schema = 1\nmode = 1\n[defaults]\nstale = "x"\n[groups]\na = [1]\n[[rule]]\nid = "r"\n[[exemption]]\n'
    keys = {fault.split(":")[0] for fault in faults(text)}
    assert keys >= {"mode", "defaults.stale", "groups.a", "rule[0].apps", "rule[0].phases", "exemption[0].expires"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"schema = 1\nrule = [", "is not TOML: Invalid value (at end of document)"),
        (b"schema = 1\n\na b", "is not TOML: Expected '=' after a key in a key/value pair (at line 3, column 3)"),
        (b"schema = 1\n# \xff", "is not UTF-8 (at line 2)"),
        (b"x = " + b"[" * 50_000, "is nested too deeply"),
        (b"x = " + b"9" * 5000, "is not TOML: Exceeds the limit"),
        (b"x = 2020-13-45", "is not TOML"),
        (b"#" * (MAX_POLICY_OCTETS + 1), f"larger than {MAX_POLICY_OCTETS} octets"),
    ],
)
def test_what_is_no_toml_is_one_fault_of_the_file(data: bytes, reason: str) -> None:
    """The place is the line, since there are no keys yet."""
    with pytest.raises(DocumentError) as caught:
        parse_policy(data, source="policy.toml")
    (fault,) = caught.value.faults
    assert fault.source == "policy.toml"
    assert fault.key == ""
    assert reason in fault.reason


def test_accounts_are_named_as_configured() -> None:
    """Groups, scopes and exemptions mean the accounts that log in."""
    text = (
        RULE
        + """
scope = { users = ["Bob"], not_users = ["Kim+x"] }
[groups]
press = ["Ann"]
[[exemption]]
id = "e"
rule = "no-tiktok"
users = ["Bob"]
expires = "2099-01-01"
reason = "r"
approved_by = ["boss@example.com"]
"""
    )
    names = IdentitySettings(default_domain="example.com", plus=Plus.STRIP)
    found = parse_policy(f"schema = 1\n{text}".encode(), source="p", names=names)
    assert found.groups["press"] == {"ann@example.com"}
    assert found.exemptions[0].users == {"bob@example.com"}
    assert found.rules[0].scope.users == {"bob@example.com"}
    assert found.rules[0].scope.not_users == {"kim@example.com"}
