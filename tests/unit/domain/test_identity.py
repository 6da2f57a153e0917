"""Which mail logins have a canonical form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.identity import SEPARATORS, Case, IdentitySettings, Plus, canonical_account, is_domain


@pytest.mark.parametrize(
    ("login", "account"),
    [
        ("alice@example.com", "alice@example.com"),
        ("Alice@EXAMPLE.com", "alice@example.com"),
        ("alice", "alice"),
        ("o'neil+news=x~y^z!#&_-.@a-b.example", "o'neil+news=x~y^z!#&_-.@a-b.example"),
        ("a" * 64, "a" * 64),
        ("a@b", "a@b"),
        ("a@" + "b" * 254, "a@" + "b" * 254),
        ("x" * 64 + "@example.com", "x" * 64 + "@example.com"),
    ],
)
def test_logins_that_people_have(login: str, account: str) -> None:
    """Lower case, and otherwise as they are."""
    assert canonical_account(login) == account
    assert canonical_account(account) == account


@pytest.mark.parametrize(
    "login",
    [
        pytest.param("", id="empty"),
        pytest.param("@example.com", id="no local part"),
        pytest.param("alice@", id="no domain"),
        pytest.param("alice@example.com@evil.example", id="two domains"),
        pytest.param("alice@example.com*admin", id="Dovecot's master user"),
        pytest.param("alice%example.com", id="percent"),
        pytest.param("alice/shared", id="slash"),
        pytest.param("DOMAIN\\alice", id="backslash"),
        pytest.param('"alice"@example.com', id="quotes"),
        pytest.param("{alice}", id="braces"),
        pytest.param("alice bob", id="space"),
        pytest.param(" alice", id="leading space"),
        pytest.param("alice@example.com\n", id="line end"),
        pytest.param("alice\r\nx", id="CR LF"),
        pytest.param("alice\0", id="NUL"),
        pytest.param("alice\x7f", id="DEL"),
        pytest.param("\u0430lice@example.com", id="Cyrillic a"),
        pytest.param("\u212aevin@example.com", id="Kelvin sign, lower case k"),
        pytest.param("al\u0130ce@example.com", id="dotted capital I"),
        pytest.param("\uff41lice@example.com", id="full width"),
        pytest.param("alice\u200b@example.com", id="zero width space"),
        pytest.param("alice@exämple.com", id="umlaut domain"),
        pytest.param("alice\ud800", id="lone surrogate"),
        pytest.param("a" * 65, id="local part too long"),
        pytest.param("a@" + "b" * 255, id="domain too long"),
        pytest.param("a@.example", id="domain begins with a dot"),
        pytest.param("a@example-", id="domain ends with a hyphen"),
    ],
)
def test_logins_that_are_refused(login: str) -> None:
    """Rather than guessed at: they could open another mailbox than the one that policy saw."""
    assert canonical_account(login) is None


@pytest.mark.parametrize(
    ("settings", "login", "account"),
    [
        (IdentitySettings(default_domain="example.com"), "Bob", "bob@example.com"),
        (IdentitySettings(default_domain="example.com"), "bob@example.com", "bob@example.com"),
        (IdentitySettings(default_domain="example.com"), "bob@other.example", "bob@other.example"),
        (IdentitySettings(default_domain="example.com"), "bob@", None),
        (IdentitySettings(case=Case.PRESERVE), "Bob@EXAMPLE.com", "Bob@example.com"),
        (IdentitySettings(case=Case.PRESERVE), "\u212aevin", None),
        (IdentitySettings(plus=Plus.KEEP), "bob+news@example.com", "bob+news@example.com"),
        (IdentitySettings(plus=Plus.REFUSE), "bob+news@example.com", None),
        (IdentitySettings(plus=Plus.REFUSE), "bob@example.com", "bob@example.com"),
        (IdentitySettings(plus=Plus.STRIP), "bob+news+x@example.com", "bob@example.com"),
        (IdentitySettings(plus=Plus.STRIP, default_domain="example.com"), "bob+x", "bob@example.com"),
        (IdentitySettings(plus=Plus.STRIP), "+news@example.com", None),
        (IdentitySettings(refused_separators="*%/"), "CORP\\Bob", "corp\\bob"),
        (IdentitySettings(refused_separators="*%/"), "bob*admin", None),
        (IdentitySettings(refused_separators=""), "a*b%c/d", "a*b%c/d"),
        (IdentitySettings(refused_separators=""), "bob@exa/mple", None),
    ],
)
def test_names_as_configured(settings: IdentitySettings, login: str, account: str | None) -> None:
    """Case, domain, separators and subaddresses."""
    assert canonical_account(login, settings) == account


SETTINGS = st.builds(
    IdentitySettings,
    case=st.sampled_from(Case),
    default_domain=st.sampled_from(["", "example.com"]),
    refused_separators=st.sets(st.sampled_from(SEPARATORS)).map("".join),
    plus=st.sampled_from(Plus),
)


@given(login=st.one_of(st.text(max_size=30), st.text("aB1.+*%/\\@-", max_size=12)), settings=SETTINGS)
def test_a_canonical_form_is_its_own(login: str, settings: IdentitySettings) -> None:
    """Whatever is written: it has no canonical form, or one that is stable, in ASCII, and without what is refused."""
    account = canonical_account(login, settings)
    if account is None:
        return
    assert canonical_account(account, settings) == account
    assert account.isascii()
    assert account.isprintable()
    assert account.count("@") <= 1
    assert not set(account) & set(settings.refused_separators)
    assert not (settings.default_domain and "@" not in account)


@pytest.mark.parametrize(
    ("text", "fits"), [("example.com", True), ("a", True), ("", False), ("-a", False), ("a@b", False)]
)
def test_what_a_domain_is(text: str, fits: bool) -> None:
    """Letters, digits, dots and hyphens."""
    assert is_domain(text) is fits
