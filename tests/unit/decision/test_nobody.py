"""Scopes that no session is in."""

import pytest

from gatekeeper.decision.nobody import unknown_listener, why_nobody

from .samples import policy, rule

GROUPS = """
[groups]
none = []
staff = ["a@example.com", "b@example.com"]
board = ["a@example.com"]
far = { directory = "CN=Far" }
"""


def why(scope: str) -> tuple[str, str] | None:
    found = policy(GROUPS + rule("{ id = 'com.a.b' }", f"scope = {{ {scope} }}"))
    return why_nobody(found, found.rules[0].scope)


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        ('protocols = ["http"]', "protocols"),
        ('groups = ["none"]', "groups"),
        ('users = ["a@example.com"], not_users = ["a@example.com", "c@example.com"]', "not_users"),
        ('groups = ["board"], not_groups = ["staff"]', "not_groups"),
        (
            'users = ["b@example.com"], groups = ["board"], not_users = ["b@example.com"], not_groups = ["board"]',
            "not_groups",
        ),
        ('networks = ["192.0.2.0/25"], not_networks = ["192.0.2.0/24"]', "not_networks"),
    ],
)
def test_nobody(scope: str, key: str) -> None:
    """The key that is to blame is named."""
    found = why(scope)
    assert found is not None
    assert found[0] == key


@pytest.mark.parametrize(
    "scope",
    [
        "",
        'protocols = ["http", "imap"]',
        'groups = ["none", "board"]',
        'groups = ["far"]',
        'users = ["a@example.com"], not_groups = ["far"]',
        'groups = ["staff"], not_groups = ["board"]',
        'not_users = ["a@example.com"]',
        'networks = ["192.0.2.0/24"], not_networks = ["192.0.2.0/25"]',
        'networks = ["2001:db8::/32"], not_networks = ["0.0.0.0/0"]',
        'not_networks = ["0.0.0.0/0", "::/0"]',
    ],
)
def test_somebody(scope: str) -> None:
    """Also where it is not known who: then it may be anybody."""
    assert why(scope) is None


def test_a_listener_that_there_is_not() -> None:
    """With those that there are, when none is near."""
    scope = policy(rule("{ id = 'com.a.b' }", 'scope = { listeners = ["x"] }')).rules[0].scope
    assert unknown_listener(scope, ["x"]) is None
    found = unknown_listener(scope, ["imaps", "submission"])
    assert found == ("listeners", "no listener of the configuration is called `x`; there are imaps, submission")
