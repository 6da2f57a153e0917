"""What a client may say over ManageSieve, before and after the log-in, held with a mail server directly and the gate.

A step is a command with its literals, or the pieces of one that wait for a challenge in between, or what is sent in one
piece (`Pipelined`).
"""

import base64
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pipelined:
    """Commands that are sent in one piece; each has its answer."""

    commands: tuple[str, ...]


Step = str | tuple[str, ...] | Pipelined

NAME, PASSWORD = "parity@example.com", "parity-password"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def literal(command: str, data: str) -> str:
    """Return a command that ends in a literal."""
    return f"{command} {{{len(data.encode())}+}}\r\n{data}"


_RIGHT, _WRONG = _base64(f"\0{NAME}\0{PASSWORD}"), _base64(f"\0{NAME}\0wrong")
_IN = f'AUTHENTICATE "PLAIN" "{_RIGHT}"'
_KEEP = "keep;\r\n"
_LONG = 'require ["fileinto"];\r\n# OK "no answer"\r\n# {3+}\r\n# \u00fc \\ "\r\n' + 'fileinto "x";\r\n' * 3000
_BROKEN = 'require ["fileinto", "nonsense"];\r\nfileinto;\r\nif true { keep }\r\n'

CLEAR: dict[str, tuple[Step, ...]] = {
    "clear: capabilities": ("CAPABILITY", "NOOP", 'NOOP "tag"', "LOGOUT"),
    "clear: not logged in": ("LISTSCRIPTS", "LOGOUT"),
    "clear: starting TLS": ("CAPABILITY", "STARTTLS", "CAPABILITY", _IN, "LISTSCRIPTS", "LOGOUT"),
    "clear: in small letters": ("starttls", "noop", "logout"),
}
"""Begin before TLS."""

BEFORE: dict[str, tuple[Step, ...]] = {
    "hello": ("CAPABILITY", "capability", "NOOP", "LOGOUT"),
    "tags": ('NOOP "tag"', "NOOP {3+}\r\ntag", 'NOOP ""', 'NOOP "a\\"b"', "LOGOUT"),
    "arguments too many": ('CAPABILITY "x"', 'NOOP "x" "y"', "LOGOUT"),
    "arguments to log out": ('LOGOUT "now"', "LOGOUT"),
    "not logged in": ("LISTSCRIPTS", 'PUTSCRIPT "x" "keep;"', "LOGOUT"),
    "unknown commands": ("XYZZY", 'HAVESPACE "x" 1', "SETACTIVE"),
    "no command": ("", "LOGOUT"),
    "starttls under tls": ("STARTTLS", "LOGOUT"),
    "unauthenticate": ("UNAUTHENTICATE", "LOGOUT"),
    "at once": (_IN, "NOOP", "LOGOUT"),
    "in a literal": (literal('AUTHENTICATE "PLAIN"', _RIGHT), "NOOP", "LOGOUT"),
    "the mechanism in a literal": (f'AUTHENTICATE {{5+}}\r\nPLAIN "{_RIGHT}"', "LOGOUT"),
    "in small letters": (f'authenticate "plain" "{_RIGHT}"', "noop", "logout"),
    "asked": (('AUTHENTICATE "PLAIN"', f'"{_RIGHT}"'), "NOOP", "LOGOUT"),
    "asked, in a literal": (('AUTHENTICATE "PLAIN"', f"{{{len(_RIGHT)}+}}\r\n{_RIGHT}"), "NOOP", "LOGOUT"),
    "by LOGIN": (('AUTHENTICATE "LOGIN"', f'"{_base64(NAME)}"', f'"{_base64(PASSWORD)}"'), "NOOP", "LOGOUT"),
    "by LOGIN with the name": ((f'AUTHENTICATE "LOGIN" "{_base64(NAME)}"', f'"{_base64(PASSWORD)}"'), "LOGOUT"),
    "wrong passwords": (
        f'AUTHENTICATE "PLAIN" "{_WRONG}"',
        ('AUTHENTICATE "PLAIN"', f'"{_WRONG}"'),
        _IN,
        "NOOP",
        "LOGOUT",
    ),
    "cancelled": (('AUTHENTICATE "PLAIN"', '"*"'), "NOOP", "LOGOUT"),
    "not base64": (('AUTHENTICATE "PLAIN"', '"???"'), 'AUTHENTICATE "PLAIN" "???"', "LOGOUT"),
    "an empty response": (('AUTHENTICATE "PLAIN"', '""'), "LOGOUT"),
    "an unknown mechanism": ('AUTHENTICATE "KERBEROS_V4"', "LOGOUT"),
    "no mechanism": ("AUTHENTICATE", "LOGOUT"),
    "a mechanism that is no string": (f"AUTHENTICATE PLAIN {_RIGHT}", "LOGOUT"),
    "too many strings": (f'AUTHENTICATE "PLAIN" "{_WRONG}" "x"', "LOGOUT"),
    "pipelined": (Pipelined((_IN, "LISTSCRIPTS", literal('PUTSCRIPT "x"', _KEEP), 'GETSCRIPT "x"', "LOGOUT")),),
    "pipelined after a wrong password": (Pipelined((f'AUTHENTICATE "PLAIN" "{_WRONG}"', _IN, "NOOP", "LOGOUT")),),
}
"""Conversations whose beginning the gate answers itself."""

AFTER: dict[str, tuple[Step, ...]] = {
    "scripts": (
        _IN,
        "CAPABILITY",
        "LISTSCRIPTS",
        'HAVESPACE "main" 100',
        'HAVESPACE "main" 999999999',
        'HAVESPACE "main"',
        'HAVESPACE "a/b" 100',
        literal('PUTSCRIPT "main"', _LONG),
        literal('PUTSCRIPT "main"', _LONG),
        literal('PUTSCRIPT "a/b"', _KEEP),
        literal('PUTSCRIPT ""', _KEEP),
        literal('PUTSCRIPT "broken"', _BROKEN),
        'PUTSCRIPT "quoted" "keep;"',
        "PUTSCRIPT {7+}\r\nliteral {5+}\r\nkeep;",
        literal('PUTSCRIPT "\u00fcml"', _KEEP),
        literal('PUTSCRIPT "one too many"', _KEEP),
        literal('PUTSCRIPT "too long"', "# " + "x" * 150_000 + "\r\n"),
        literal('PUTSCRIPT "empty"', ""),
        "PUTSCRIPT",
        'PUTSCRIPT "main"',
        "LISTSCRIPTS",
        'SETACTIVE "main"',
        'SETACTIVE "nowhere"',
        'SETACTIVE "main"',
        "LISTSCRIPTS",
        'GETSCRIPT "main"',
        'GETSCRIPT "quoted"',
        "GETSCRIPT {4+}\r\n\u00fcml",
        'GETSCRIPT "nowhere"',
        "GETSCRIPT",
        literal("CHECKSCRIPT", _LONG),
        literal("CHECKSCRIPT", _BROKEN),
        literal("CHECKSCRIPT", ""),
        'CHECKSCRIPT "keep"',
        'RENAMESCRIPT "main" "renamed"',
        'RENAMESCRIPT "renamed" "quoted"',
        'RENAMESCRIPT "nowhere" "x"',
        "LISTSCRIPTS",
        'DELETESCRIPT "renamed"',
        'DELETESCRIPT "nowhere"',
        'DELETESCRIPT "quoted"',
        'SETACTIVE ""',
        'DELETESCRIPT "renamed"',
        "LISTSCRIPTS",
        "LOGOUT",
    ),
    "pleasantries": (
        _IN,
        "NOOP",
        'NOOP "tag"',
        "NOOP {3+}\r\nt\u00fc",
        'NOOP "x" "y"',
        "capability",
        'LOGOUT "now"',
        "LOGOUT",
    ),
    "not understood": (
        _IN,
        "XYZZY",
        "",
        "LISTSCRIPTS 1",
        _IN,
        "STARTTLS",
        "UNAUTHENTICATE",
        'XCLIENT "ADDR=1.2.3.4"',
        "GETSCRIPT main",
        'GETSCRIPT "unfinished',
        "NOOP",
        "LOGOUT",
    ),
    "pipelined once logged in": (
        _IN,
        Pipelined(
            (
                "NOOP",
                literal('PUTSCRIPT "one"', _LONG),
                'GETSCRIPT "one"',
                "XYZZY",
                literal('PUTSCRIPT "two"', _BROKEN),
                'SETACTIVE "one"',
                "LISTSCRIPTS",
                "LOGOUT",
            )
        ),
    ),
    "pipelined from the log-in on": (
        Pipelined(
            (_IN, literal('PUTSCRIPT "one"', _LONG), literal("CHECKSCRIPT", _BROKEN), 'GETSCRIPT "one"', "LOGOUT")
        ),
    ),
}
"""Conversations of which the gate answers the log-in only."""
