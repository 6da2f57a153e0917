"""ManageSieve as tests speak it on a raw connection (RFC 5804): replies, log-ins in one call."""

import re
import ssl
from contextlib import closing

from testkit.dovecot import User
from testkit.sessions import plain
from testkit.wire import Wire

_END = re.compile(rb"(?:OK|NO|BYE)(?: |\Z)")


def reply(wire: Wire) -> list[bytes]:
    """Return the lines up to OK, NO or BYE, or to the end of the connection."""
    lines: list[bytes] = []
    while line := wire.line():
        lines.append(line)
        if _END.match(line):
            break
    return lines


def ask(wire: Wire, command: bytes) -> list[bytes]:
    """Send one command line and return the reply's lines."""
    wire.send(command + b"\r\n")
    return reply(wire)


def exchange(wire: Wire, line: bytes) -> bytes:
    """Send one line of a SASL exchange and return the line that follows: a challenge, or the end."""
    wire.send(line + b"\r\n")
    return wire.line()


def greeted(port: int, context: ssl.SSLContext | None) -> Wire:
    """Connect and read the greeting."""
    wire = Wire(port, context)
    lines = reply(wire)
    assert lines, "the connection was ended"
    assert lines[-1].startswith(b"OK"), lines
    return wire


def authenticate(user: User) -> bytes:
    """Return AUTHENTICATE PLAIN with its response, without the line end."""
    return b'AUTHENTICATE "PLAIN" "' + plain(user) + b'"'


def login_reply(port: int, context: ssl.SSLContext, user: User) -> bytes:
    """Return the answer to AUTHENTICATE; b"" when the connection was ended instead."""
    with closing(greeted(port, context)) as wire:
        return b"".join(ask(wire, authenticate(user)))
