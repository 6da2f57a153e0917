"""One canonical form of a mail login, so that policy and the mail server mean the same mailbox.

The canonical form is also what goes upstream: whatever is done to a name here is done for the mail server too.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

SEPARATORS = "*%/\\"
"""Characters that mail servers give a meaning of their own: `*` and `%` are master-user separators of Dovecot, `/` and
`\\` select a mailbox or domain on Exchange."""

# Letters, digits and the characters that occur in addr-specs people really have (RFC 5322 atext without separators;
# quotes and braces belong to the protocols).
_LOCAL = r"[A-Za-z0-9_.+&'=~^!#*%/\\-]{1,64}"
_DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?"
_ACCOUNT = re.compile(rf"{_LOCAL}(?:@{_DOMAIN})?", re.ASCII)
_IS_DOMAIN = re.compile(_DOMAIN, re.ASCII)


class Case(StrEnum):
    """What becomes of capital letters before the `@`; a domain is always in lower case (RFC 4343)."""

    LOWER = "lower"
    PRESERVE = "preserve"


class Plus(StrEnum):
    """What becomes of a `+` before the `@` (RFC 5233's subaddress)."""

    KEEP = "keep"
    """A letter like any other: `bob+news` is another account than `bob`."""
    REFUSE = "refuse"
    STRIP = "strip"
    """`bob+news` is `bob`, to policy and to the mail server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """How log-in names are brought into their canonical form."""

    case: Case = Case.LOWER
    """Dovecot lower-cases by default, and so do we."""
    default_domain: str = ""
    """Appended to a name without `@`; empty: such a name stays as it is."""
    refused_separators: str = SEPARATORS
    """Those of `SEPARATORS` that no name may have."""
    plus: Plus = Plus.KEEP


DEFAULT = IdentitySettings()


def canonical_account(login: str, settings: IdentitySettings = DEFAULT) -> str | None:
    """Return the canonical form of `login`, or None when it has none and must be refused.

    ASCII only: Unicode look-alikes, controls and separators that could open another mailbox than the one policy saw
    are refused rather than guessed at. The canonical form of a canonical form is itself.
    """
    if not login.isascii() or not _ACCOUNT.fullmatch(login):  # asked first: lower() turns the Kelvin sign into a `k`
        return None
    local, at, domain = login.partition("@")
    if any(separator in local for separator in settings.refused_separators):
        return None
    if "+" in local and settings.plus is not Plus.KEEP:
        local = "" if settings.plus is Plus.REFUSE else local.partition("+")[0]
        if not local:
            return None
    if settings.case is Case.LOWER:
        local = local.lower()
    if not at and settings.default_domain:
        domain = settings.default_domain
    return f"{local}@{domain.lower()}" if domain else local


def is_domain(text: str) -> bool:
    """Whether `text` can stand behind an `@`."""
    return _IS_DOMAIN.fullmatch(text) is not None
