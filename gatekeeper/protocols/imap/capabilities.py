"""Which of a mail server's capabilities phones never see: what would lead around the gate, or is over after log-in.

A server says the same list at every log-in, so what is found of a list is remembered for the next one.
"""

import re
from collections.abc import Callable
from functools import lru_cache

_HIDDEN = frozenset(
    {"STARTTLS", "LOGINDISABLED", "UNAUTHENTICATE", "LOGIN-REFERRALS", "MAILBOX-REFERRALS", "PROXYAUTH"}
)
_LISTS = 64
"""Remembered; of several mail servers, before and after the log-in."""
WAYS_ROUND = frozenset({"UNAUTHENTICATE", "PROXYAUTH", "STARTTLS"})
"""After log-in: commands by which a session may become another account's."""
_PRINTABLE = re.compile(r"[!-\[^-~]+")
"""A capability that can stand in a response code."""


def is_hidden(name: str) -> bool:
    """Whether phones do not see this capability; `name` in any case."""
    upper = name.upper()
    return upper in _HIDDEN or upper.startswith("AUTH=")


@lru_cache(maxsize=_LISTS)
def spelt(offered: tuple[str, ...]) -> frozenset[str]:
    """What a list offers, in upper case, without what is no capability's name: it may be shown on a terminal."""
    return frozenset(name.upper() for name in offered if _PRINTABLE.fullmatch(name))


def is_hidden_where_commands_are_read(name: str) -> bool:
    """The same for a session whose commands are read: they must stay readable (RFC 4978)."""
    return is_hidden(name) or name.upper().startswith("COMPRESS=")


@lru_cache(maxsize=_LISTS)
def visible(offered: tuple[str, ...], hides: Callable[[str], bool] = is_hidden) -> tuple[str, ...]:
    """What may be told of a list, in its order."""
    return tuple(name for name in offered if _PRINTABLE.fullmatch(name) and not hides(name))


@lru_cache(maxsize=_LISTS)
def has_hidden(offered: tuple[str, ...]) -> bool:
    """Whether a list has something that phones do not see."""
    return any(map(is_hidden, offered))
