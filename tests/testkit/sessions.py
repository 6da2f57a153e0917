"""Log-ins in one call, for tests whose matter is what follows: raw IMAP, SMTP and POP3 over implicit TLS."""

import base64
import ssl
from contextlib import closing

from testkit.dovecot import User
from testkit.wire import Wire


def quoted(text: str) -> bytes:
    """Return an IMAP quoted string."""
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def plain(user: User, authzid: str = "") -> bytes:
    """Return the encoded initial response of SASL PLAIN (RFC 4616)."""
    return base64.b64encode(f"{authzid}\0{user.login}\0{user.password}".encode())


def login_command(user: User) -> bytes:
    """Return `LOGIN` with its arguments, without tag and line end."""
    return b"LOGIN " + quoted(user.login) + b" " + quoted(user.password)


def imap_greeted(port: int, context: ssl.SSLContext) -> Wire:
    """Connect and read the greeting."""
    wire = Wire(port, context)
    _expect([wire.line()], b"* OK")
    return wire


def imap_session(port: int, context: ssl.SSLContext, user: User) -> Wire:
    """Return a connection that is logged in and has INBOX selected."""
    wire = imap_greeted(port, context)
    for command in (b"in " + login_command(user), b"sel SELECT INBOX"):
        _expect(wire.imap(command), command.split(b" ")[0] + b" OK")
    return wire


def imap_login_reply(port: int, context: ssl.SSLContext, user: User) -> bytes:
    """Return the tagged answer to LOGIN without its tag; b"" when the connection was ended instead."""
    with closing(imap_greeted(port, context)) as wire:
        reply = wire.imap(b"in " + login_command(user))
        return reply[-1].removeprefix(b"in ") if reply else b""


def smtp_greeted(port: int, context: ssl.SSLContext) -> Wire:
    """Connect, read the greeting and say EHLO."""
    wire = Wire(port, context)
    _expect(wire.smtp_reply(), b"220")
    _expect(wire.smtp(b"EHLO phone.example.com"), b"250")
    return wire


def smtp_session(port: int, context: ssl.SSLContext, user: User) -> Wire:
    """Return a connection that is logged in."""
    wire = smtp_greeted(port, context)
    _expect(wire.smtp(b"AUTH PLAIN " + plain(user)), b"235")
    return wire


def smtp_login_reply(port: int, context: ssl.SSLContext, user: User) -> bytes:
    """Return the last line of the answer to AUTH PLAIN."""
    with closing(smtp_greeted(port, context)) as wire:
        return wire.smtp(b"AUTH PLAIN " + plain(user))[-1]


def pop3_greeted(port: int, context: ssl.SSLContext) -> Wire:
    """Connect and read the greeting."""
    wire = Wire(port, context)
    _expect([wire.line()], b"+OK")
    return wire


def pop3_login_reply(port: int, context: ssl.SSLContext, user: User) -> bytes:
    """Return the answer to PASS."""
    with closing(pop3_greeted(port, context)) as wire:
        _expect(wire.pop3(b"USER " + user.login.encode()), b"+OK")
        return wire.pop3(b"PASS " + user.password.encode())[0]


def _expect(reply: list[bytes], beginning: bytes) -> None:
    """Fail when the last line of `reply` begins otherwise."""
    assert reply, "the connection was ended"
    assert reply[-1].startswith(beginning), reply
