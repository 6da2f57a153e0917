"""The `[[rule]]` tables: what they may say, and every fault."""

import pytest

from gatekeeper.domain.decision import Message
from gatekeeper.domain.device import DeviceClass, Ownership, Platform
from gatekeeper.domain.request import MailProtocol

from .samples import SIGNER, at, faults, policy, rule


def test_reads_everything_a_rule_can_say() -> None:
    """Every key arrives."""
    parsed = policy(
        '[groups]\nstaff = ["a@example.com"]\nlab = []\n'
        '[[rule]]\nid = "r"\ntitle = "Title"\nreason = "Reason"\n'
        "apps = [{ platform = 'ios', id = 'Com.Foo.*', version = '<2', name = 'Foo', publisher = 'Bar*',"
        f" signer_sha256 = ['{SIGNER}', '{':'.join(['CD'] * 32)}'] }}]\n"
        'phases = { observe = 2020-01-01, warn = "2020-02-01", enforce = "2020-03-01T09:00:00+01:00" }\n'
        'scope = { device_class = ["mobile", "laptop"], ownership = ["company"], protocols = ["imap", "smtp"],'
        ' users = ["A@example.com"], not_users = ["b@example.com"], groups = ["staff"], not_groups = ["lab"] }\n'
        '[rule.message.en]\nshort = "S {app}"\nfix = "F {check_url} {deadline}"\n'
        '[rule.message.de]\nshort = "K ä"\nfix = "B"\n'
    )
    (found,) = parsed.rules
    (matcher,) = found.apps
    assert (found.id, found.title, found.reason) == ("r", "Title", "Reason")
    assert matcher.platform is Platform.IOS
    assert (str(matcher.id), str(matcher.version)) == ("com.foo.*", "<2")
    assert (str(matcher.name), str(matcher.publisher)) == ("foo", "bar*")
    assert matcher.signer_sha256 == {SIGNER, "cd" * 32}
    assert found.phases.boundaries == (
        at("2020-01-01T00:00:00+00:00"),
        at("2020-02-01T00:00:00+00:00"),
        at("2020-03-01T08:00:00+00:00"),
    )
    assert found.scope.device_class == set(DeviceClass)
    assert found.scope.ownership == {Ownership.COMPANY}
    assert found.scope.protocols == {MailProtocol.IMAP, MailProtocol.SMTP}
    assert (found.scope.users, found.scope.not_users) == ({"a@example.com"}, {"b@example.com"})
    assert (found.scope.groups, found.scope.not_groups) == ({"staff"}, {"lab"})
    assert found.messages["de"] == Message(short="K ä", fix="B", language="de")
    assert found.messages["en"] == Message(short="S {app}", fix="F {check_url} {deadline}")


def test_a_rule_without_title_is_called_by_its_id_and_one_signer_may_be_a_text() -> None:
    """The short forms."""
    (found,) = policy(rule(f"{{ signer_sha256 = '{SIGNER.upper()}' }}")).rules
    assert found.title == "r"
    assert found.apps[0].signer_sha256 == {SIGNER}
    assert found.messages == {}


@pytest.mark.parametrize(
    ("apps", "expected"),
    [
        ("", "apps: must not be empty: the rule would mean no app"),
        ("1", "apps[0]: must be a table"),
        ("{ }", "apps[0]: names no app: give id, name, publisher, signer_sha256, installer or"),
        (
            "{ platform = 'ios', version = '<2' }",
            "apps[0]: names no app: give id, name, publisher, signer_sha256, installer or",
        ),
        ("{ platform = 'andriod', id = 'a' }", "apps[0].platform: `andriod` is not one of android, ios"),
        ("{ platform = 'andriod', id = 'a' }", "(did you mean `android`?)"),
        ("{ id = 'a', bundle = 'b' }", "apps[0].bundle: unknown key"),
        ("{ id = 1 }", "apps[0].id: must be a text"),
        ("{ id = '' }", "apps[0].id: must not be empty"),
        ("{ id = '*' }", "apps[0].id: `*`: only wildcards: it would match every app"),
        ("{ id = 'com.[ab].*' }", "`com.[ab].*` is not an app id: letters, digits, `.`, `_`, `-`, and the wildcards"),
        ("{ id = 'com.foo.(a|b)' }", "`com.foo.(a|b)` is not an app id"),
        ("{ id = 'com foo' }", "`com foo` is not an app id"),
        ("{ name = '??*' }", "apps[0].name: `??*`: only wildcards"),
        ('{ publisher = "a\\u0007" }', "apps[0].publisher: `a\x07`: contains a control character"),
        ("{ id = 'a', version = '1.0' }", 'apps[0].version: `1.0`: `1.0` is not a comparison such as ">=1.0"'),
        ("{ signer_sha256 = 'abc' }", "apps[0].signer_sha256: `abc` is not a SHA-256 in 64 hexadecimal digits"),
        ("{ signer_sha256 = [] }", "apps[0].signer_sha256: must not be empty"),
        ("{ signer_sha256 = 7 }", "apps[0].signer_sha256: must be a list of texts"),
    ],
)
def test_faults_of_matchers(apps: str, expected: str) -> None:
    """Each says what a matcher may be."""
    (fault,) = faults("schema = 1\n" + rule(apps))
    assert expected in fault


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ("", ["rule[0].phases: needs at least one of observe, warn, enforce"]),
        (
            'warn = "2020-07-10", enforce = "2020-07-09"',
            ["rule[0].phases.enforce: begins before `warn`: the order is observe, warn, enforce"],
        ),
        (
            'observe = "2020-07-11", enforce = "2020-07-09"',
            ["rule[0].phases.enforce: begins before `observe`: the order is observe, warn, enforce"],
        ),
        ('enforce = "tomorrow"', ["rule[0].phases.enforce: `tomorrow` is not a date"]),
        ("enforce = 5", ["rule[0].phases.enforce: `5` is not a date"]),
        (
            'enforced = "2020-01-01"',
            ["needs at least one of", "rule[0].phases.enforced: unknown key (did you mean `enforce`?)"],
        ),
    ],
)
def test_faults_of_phases(phases: str, expected: list[str]) -> None:
    """Phases come in order and there is at least one."""
    found = faults("schema = 1\n" + rule("{ id = 'a' }", phases=phases))
    assert len(found) == len(expected), found
    for part, fault in zip(sorted(expected), sorted(found), strict=True):
        assert part in fault or any(part in other for other in found)


def test_phases_may_begin_together() -> None:
    """Equal instants are in order."""
    same = '"2020-07-10"'
    assert faults("schema = 1\n" + rule("{ id = 'a' }", phases=f"warn = {same}, enforce = {same}")) == []


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ('device_class = ["phone"]', "scope.device_class[0]: `phone` is not one of mobile, laptop"),
        ('device_class = "mobile"', "scope.device_class: must be a list of texts"),
        ('ownership = ["companie"]', "`companie` is not one of company, personal (did you mean `company`?)"),
        ('protocols = ["imaps"]', "scope.protocols[0]: `imaps` is not one of imap, smtp, pop3, sieve, http"),
        ('users = ["ok@example.com", "a*"]', "scope.users[1]: `a*` is not an account that a mail log-in can have"),
        ('not_users = ["ü@example.com"]', "scope.not_users[0]: `ü@example.com` is not an account"),
        ("users = []", "scope.users: must not be empty: leave the key out instead"),
        ('groups = ["staf"]', "scope.groups[0]: group `staf` is not defined in [groups] (did you mean `staff`?)"),
        ('not_groups = ["lab"]', "scope.not_groups[0]: group `lab` is not defined in [groups]"),
        ('class = ["mobile"]', "scope.class: unknown key"),
    ],
)
def test_faults_of_scopes(scope: str, expected: str) -> None:
    """A scope that is not understood would be a hole."""
    text = "schema = 1\n[groups]\nstaff = []\n" + rule("{ id = 'a' }", f"scope = {{ {scope} }}")
    (fault,) = faults(text)
    assert expected in fault


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('[rule.message.en]\nshort = "s"', "message.en.fix: is required"),
        ('[rule.message.en]\nshort = " "\nfix = "f"', "message.en.short: must not be empty"),
        ('[rule.message.en]\nshort = "a\\nb"\nfix = "f"', "contains the control character U+000A"),
        ('[rule.message.en]\nshort = "a\\u202eb"\nfix = "f"', "contains the control character U+202E"),
        (
            '[rule.message.en]\nshort = "s {ap}"\nfix = "f"',
            "message.en.short: unknown placeholder {ap}: there are {app}, {check_url}, {deadline}",
        ),
        ('[rule.message.en]\nshort = "s {app"\nfix = "f"', "message.en.short: has a brace without its partner"),
        (
            '[rule.message.en]\nshort = "' + "s" * 100 + '"\nfix = "' + "ä" * 150 + '"',
            "message.en: `short` and `fix` need 401 octets with their placeholders filled; a reply has 400",
        ),
        ('[rule.message.en]\nshort = "s"\nfix = "f"\nurl = "u"', "message.en.url: unknown key"),
        ('[rule.message.english]\nshort = "s"\nfix = "f"', "message.english: is not a language tag"),
        ('[rule.message]\nen = "s"', "message.en: must be a table with `short` and `fix`"),
    ],
)
def test_faults_of_messages(message: str, expected: str) -> None:
    """A text that could not be told to a phone is refused before it is needed."""
    (fault,) = faults("schema = 1\n" + rule("{ id = 'a' }", message))
    assert expected in fault


@pytest.mark.parametrize(
    ("rule_id", "expected"),
    [
        ("", "rule[0].id: must not be empty"),
        ("a b", "rule[0].id: an id is made of letters, digits, `.`, `_`, `-` (at most 64)"),
        ("x" * 65, "rule[0].id: an id is made of"),
    ],
)
def test_faults_of_ids(rule_id: str, expected: str) -> None:
    """An id goes into audit records and is a word."""
    (fault,) = faults("schema = 1\n" + rule("{ id = 'a' }", rule_id=rule_id))
    assert expected in fault


def test_a_title_is_one_line() -> None:
    """Titles are shown in tables and logs."""
    (fault,) = faults("schema = 1\n" + rule("{ id = 'a' }", 'title = "a\\tb"'))
    assert "rule[0].title: contains a control character" in fault


def test_a_bare_rule_lacks_three_things() -> None:
    """id, apps and phases are required."""
    assert faults("schema = 1\n[[rule]]") == [
        "rule[0].id: is required",
        "rule[0].apps: is required, or another of only_apps, required_apps, min_os, flags",
        "rule[0].phases: needs at least one of observe, warn, enforce",
    ]
