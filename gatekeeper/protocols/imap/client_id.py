"""What a client says of itself by ID (RFC 2971): a hint that anybody can give, short and clean for the audit log."""

from collections.abc import Sequence

MAX_OCTETS = 256
"""Of the whole hint; Dovecot keeps as much of a client's ID."""


def described(fields: Sequence[bytes | None]) -> str:
    """`key=value; key=value` of an ID command's list, in printable ASCII and at most `MAX_OCTETS` long.

    Keys that begin with `x-` are left out: between proxy and mail server they say whose connection it is, and a client
    that sends them means to be believed.
    """
    pairs = zip(fields[::2], fields[1::2], strict=True)
    said = (f"{_clean(key)}={_clean(value)}" for key, value in pairs if key and value and not _is_private(key))
    return "; ".join(said)[:MAX_OCTETS]


def _is_private(key: bytes) -> bool:
    return key.strip().lower().startswith(b"x-")


def _clean(octets: bytes) -> str:
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else "?" for octet in octets[:MAX_OCTETS]).replace(";", ",")
