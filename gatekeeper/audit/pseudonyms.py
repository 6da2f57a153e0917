"""Pseudonyms: what stands in records in the place of names, by a key for each quarter of a year.

    u2026q4:5f0c…   a person       d2026q4:…   a device       c2026q4:…   what a client says of itself

A pseudonym is the first 128 bits of an HMAC-SHA-256 of the name. Without the quarter's key nobody can tell whose it is,
not even by trying names; with it everybody can, so that it belongs to whoever may know names, and to nobody else.

Inside holds: pure functions; the kind, the quarter and the name are told apart in what is hashed, so that no device is
ever taken for a person, and nothing of one quarter for something of another.
"""

import hashlib
import hmac
import re
from datetime import datetime
from enum import StrEnum

PSEUDONYM = re.compile(r"(?<![0-9A-Za-z])[udc]\d{4}q[1-4]:[0-9a-f]{32}(?![0-9A-Za-z])", re.ASCII)
_QUARTER = re.compile(r"(\d{4})q([1-4])", re.ASCII)
_DOMAIN = b"gatekeeper audit pseudonym v1"


class Kind(StrEnum):
    """Whose name it is."""

    PERSON = "u"
    DEVICE = "d"
    CLIENT = "c"
    """What a client program says of itself, or what was quoted from a file: not known to be a name, not known to be
    none."""


def quarter_of(instant: datetime) -> str:
    """The quarter of an instant, in UTC: `2026q4`."""
    return f"{instant.year:04d}q{(instant.month + 2) // 3}"


def quarter_end_ms(quarter: str) -> int:
    """When it is over (the first instant of the next one), in milliseconds since 1970. Raises ValueError."""
    match = _QUARTER.fullmatch(quarter)
    if match is None:
        raise ValueError(f"`{quarter}` is no quarter such as 2026q4")
    year, number = int(match[1]), int(match[2])
    after = datetime.fromisoformat(f"{year + number // 4:04d}-{number % 4 * 3 + 1:02d}-01T00:00:00+00:00")
    return int(after.timestamp()) * 1000


def quarter_named(pseudonym: str) -> str:
    """The quarter that a pseudonym says it is of."""
    return pseudonym.partition(":")[0][1:]


def pseudonym(key: bytes, quarter: str, kind: Kind, name: str) -> str:
    """The pseudonym of a name."""
    text = b"\0".join([_DOMAIN, kind.encode(), quarter.encode(), name.encode("utf-8", "surrogatepass")])
    return f"{kind.value}{quarter}:{hmac.digest(key, text, hashlib.sha256).hex()[:32]}"
