"""One canonical form of a mail login, so that policy and the mail server mean the same mailbox."""

import re

# Letters, digits and the characters that occur in addr-specs people really have (RFC 5322 atext without the ones that
# mail servers give a meaning of their own: `*` and `%` are master-user separators of Dovecot, `/` and `\` select a
# mailbox or domain on Exchange, quotes and braces belong to the protocols).
_ACCOUNT = re.compile(r"[a-z0-9_.+&'=~^!#-]{1,64}(?:@[a-z0-9](?:[a-z0-9.-]{0,252}[a-z0-9])?)?", re.ASCII)


def canonical_account(login: str) -> str | None:
    """Return the canonical form of `login` (lower case), or None when it has none and must be refused.

    ASCII only: Unicode look-alikes, controls and separators that could open another mailbox than the one policy saw
    are refused rather than guessed at. Dovecot lower-cases by default, and so do we.
    """
    if not login.isascii():  # asked first: lower() turns the Kelvin sign into a `k`
        return None
    account = login.lower()
    return account if _ACCOUNT.fullmatch(account) else None
