"""Who may open whose mailbox: rules for an authorization identity other than the authentication identity (RFC 4422 §2).

Without a rule nobody opens another account's mailbox through the gate, whatever the mail server would allow.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """One rule. In its patterns `*` stands for any characters but `@`, `?` for one, everything else for itself."""

    authcid: str
    """Who logs in, with their own password."""
    authzid: str
    """Whose mailbox they may open."""
    reason: str

    def allows(self, authcid: str, authzid: str) -> bool:
        """Whether the rule is about these two canonical accounts."""
        return _matches(self.authcid, authcid) and _matches(self.authzid, authzid)


def allowed(delegations: Iterable[Delegation], authcid: str, authzid: str) -> bool:
    """Whether `authcid` may open the mailbox of `authzid`: their own, or by a rule. Both are canonical accounts."""
    return authcid == authzid or any(rule.allows(authcid, authzid) for rule in delegations)


def _matches(pattern: str, account: str) -> bool:
    # A star does not cross the `@`: `*@example.com` is everybody there, and `bob*` nobody of another domain.
    pieces = ({"*": "[^@]*", "?": "[^@]"}.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch("".join(pieces), account) is not None
