"""Who may open whose mailbox."""

import pytest

from gatekeeper.domain.delegation import Delegation, allowed

RULES = (
    Delegation(authcid="assistant@example.com", authzid="boss@example.com", reason="reads for her"),
    Delegation(authcid="backup-?@example.com", authzid="*@example.com", reason="backups"),
    Delegation(authcid="*@help.example", authzid="team.a@example.com", reason="a shared mailbox"),
)


@pytest.mark.parametrize(
    ("authcid", "authzid"),
    [
        ("alice", "alice"),
        ("nobody@evil.example", "nobody@evil.example"),
        ("assistant@example.com", "boss@example.com"),
        ("backup-1@example.com", "anybody.at.all@example.com"),
        ("kim@help.example", "team.a@example.com"),
    ],
)
def test_what_is_allowed(authcid: str, authzid: str) -> None:
    """One's own mailbox, and what a rule says."""
    assert allowed(RULES, authcid, authzid)


@pytest.mark.parametrize(
    ("authcid", "authzid"),
    [
        ("boss@example.com", "assistant@example.com"),
        ("assistant@example.com", "other@example.com"),
        ("backup-12@example.com", "boss@example.com"),
        ("backup-1@example.com", "boss@example.com.evil"),
        ("backup-1@example.com", "boss@sub.example.com"),
        ("backup-1@example.com", "boss"),
        ("kim@evil@help.example", "team.a@example.com"),
        ("kim@help.example", "teamXa@example.com"),
        ("kim@help.example\n", "team.a@example.com"),
    ],
)
def test_what_is_not(authcid: str, authzid: str) -> None:
    """Rules have a direction, dots are dots, and no wildcard crosses the `@`."""
    assert not allowed(RULES, authcid, authzid)


def test_without_rules_nobody_opens_anothers() -> None:
    """Not even a name that looks much the same."""
    assert not allowed((), "alice", "alice@example.com")
