"""Which of a mail server's capabilities phones never see: what would lead around the gate, or is over after log-in."""

import re
from collections.abc import Iterable

_HIDDEN = frozenset(
    {"STARTTLS", "LOGINDISABLED", "UNAUTHENTICATE", "LOGIN-REFERRALS", "MAILBOX-REFERRALS", "PROXYAUTH"}
)
_PRINTABLE = re.compile(r"[!-\[^-~]+")
"""A capability that can stand in a response code."""


def is_hidden(name: str) -> bool:
    """Whether phones do not see this capability; `name` in any case."""
    upper = name.upper()
    return upper in _HIDDEN or upper.startswith("AUTH=")


def spelt(offered: Iterable[str]) -> frozenset[str]:
    """What a list offers, in upper case, without what is no capability's name: it may be shown on a terminal."""
    return frozenset(name.upper() for name in offered if _PRINTABLE.fullmatch(name))


def visible(offered: Iterable[str]) -> tuple[str, ...]:
    """What may be told of a list, in its order."""
    return tuple(name for name in offered if _PRINTABLE.fullmatch(name) and not is_hidden(name))
