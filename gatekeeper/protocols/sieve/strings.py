"""ManageSieve's strings (RFC 5804 §4): how they are read in a line, and how they are written."""

import re

MAX_QUOTED_OCTETS = 1024
"""Of a quoted string that is written; longer ones are literals. Longer ones are read, as servers do."""

QUOTED = rb'"((?:[^"\\\r\n\0]|\\["\\])*)"'
"""A quoted string as a pattern, with its content as the only group."""
_ESCAPED = re.compile(rb'\\(["\\])')
_SPECIAL = re.compile(rb'(["\\])')
_UNQUOTABLE = re.compile(rb"[\x00-\x1f\x7f]")


def unescape(content: bytes) -> bytes:
    """What a quoted string means."""
    return _ESCAPED.sub(rb"\1", content)


def from_client(octets: bytes) -> bytes:
    """A string as clients write it: quoted, or a literal that does not wait (`{n+}`)."""
    return _quoted(octets) or b"{%d+}\r\n" % len(octets) + octets


def from_server(octets: bytes) -> bytes:
    """A string as servers write it: quoted, or a literal (`{n}`)."""
    return _quoted(octets) or b"{%d}\r\n" % len(octets) + octets


def _quoted(octets: bytes) -> bytes | None:
    if len(octets) > MAX_QUOTED_OCTETS or _UNQUOTABLE.search(octets):
        return None
    return b'"' + _SPECIAL.sub(rb"\\\1", octets) + b'"'
