"""Which mail logins have a canonical form."""

import pytest

from gatekeeper.domain.identity import canonical_account


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
