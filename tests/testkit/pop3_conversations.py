"""What a phone may say over POP3, before and after the log-in, held with a mail server directly and through the gate.

A step is a command, or the pieces of one that wait for `+ ` in between, or what is sent in one piece (`Pipelined`).
"""

import base64
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pipelined:
    """Commands that are sent in one piece; each has its answer."""

    commands: tuple[str, ...]


Step = str | tuple[str, ...] | Pipelined

NAME, PASSWORD = "parity@example.com", "parity-password"
MESSAGES = (
    b"From: a@example.com\r\nSubject: dots\r\n\r\n.\r\n..\r\n.two\r\n...three\r\nbody \xe2\x82\xac\r\n.\r\n",
    b"From: b@example.com\r\nSubject: long\r\n\r\n" + b"x" * 2000 + b"\r\n" + b".line\r\n" * 20_000,
    b"From: c@example.com\nSubject: unix\n\nbare line feeds\n.\nand no end",
    b"Subject: head only\r\n\r\n",
    b"\xff\xfe no header at all\r\n",
)
"""Dots where they hurt, more than any buffer, bare LF, nothing, and rubbish."""


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_RIGHT = _base64(f"\0{NAME}\0{PASSWORD}")
_WRONG = _base64(f"\0{NAME}\0wrong")
_IN = (f"USER {NAME}", f"PASS {PASSWORD}")

CLEAR: dict[str, tuple[Step, ...]] = {
    "clear: capabilities": ("CAPA", "STAT", "QUIT"),
    "clear: starting TLS": ("CAPA", "STLS", "CAPA", *_IN, "STAT", "QUIT"),
    "clear: in small letters": ("stls", *_IN, "quit"),
}
"""Begin before TLS."""

BEFORE: dict[str, tuple[Step, ...]] = {
    "hello": ("CAPA", "capa", "QUIT"),
    "goodbye in small letters": ("quit",),
    "an argument too many": ("CAPA x", "QUIT"),
    "arguments to quit": ("QUIT now",),
    "not logged in": ("STAT", "LIST", "QUIT"),
    "unknown commands": ("XYZZY", "NOOP", "RETR 1"),
    "no command": ("", "QUIT"),
    "starttls under tls": ("STLS", "QUIT"),
    "http": ("GET /", "QUIT"),
    "apop": ("APOP parity c4c9334bac560ecc979e58001b3e22fb", "QUIT"),
    "the password first": (f"PASS {PASSWORD}", *_IN, "QUIT"),
    "no name": ("USER", "USER ", f"USER {NAME}", "QUIT"),
    "no password": (f"USER {NAME}", "PASS", "QUIT"),
    "an empty password": (f"USER {NAME}", "PASS ", "QUIT"),
    "another name": ("USER nobody@example.com", *_IN, "STAT", "QUIT"),
    "wrong passwords": (
        f"USER {NAME}",
        "PASS wrong",
        "USER nobody@example.com",
        "PASS wrong",
        f"USER {NAME}",
        f"PASS {PASSWORD} ",
        *_IN,
        "STAT",
        "QUIT",
    ),
    "the password twice": (f"USER {NAME}", "PASS wrong", f"PASS {PASSWORD}", "QUIT"),
    "small letters": (f"user {NAME}", f"pass {PASSWORD}", "stat", "quit"),
    "the mechanisms": ("AUTH", "QUIT"),
    "authenticate asked": (("AUTH PLAIN", _RIGHT), "STAT", "QUIT"),
    "authenticate at once": (f"AUTH PLAIN {_RIGHT}", "STAT", "QUIT"),
    "authenticate in small letters": (f"auth plain {_RIGHT}", "QUIT"),
    "authenticate by LOGIN": (("AUTH LOGIN", _base64(NAME), _base64(PASSWORD)), "STAT", "QUIT"),
    "authenticate by LOGIN with the name": ((f"AUTH LOGIN {_base64(NAME)}", _base64(PASSWORD)), "STAT", "QUIT"),
    "authenticate wrong": (("AUTH PLAIN", _WRONG), f"AUTH PLAIN {_WRONG}", f"AUTH PLAIN {_RIGHT}", "QUIT"),
    "authenticate cancelled": (("AUTH PLAIN", "*"), ("AUTH LOGIN", _base64(NAME), "*"), "QUIT"),
    "authenticate not base64": (("AUTH PLAIN", "???"), "QUIT"),
    "authenticate unknown": ("AUTH KERBEROS_V4", "QUIT"),
    "authenticate too much": (f"AUTH PLAIN {_RIGHT} x", "QUIT"),
    "an unfinished exchange": (("AUTH PLAIN", ""), "QUIT"),
    "pipelined": (Pipelined((*_IN, "STAT", "LIST", "RETR 1", "QUIT")),),
    "pipelined after a wrong password": (Pipelined((f"USER {NAME}", "PASS wrong", *_IN, "UIDL", "QUIT")),),
    "pipelined behind a response": (("AUTH PLAIN", f"{_RIGHT}\r\nSTAT"), "QUIT"),
}
"""Conversations whose beginning the gate answers itself."""

AFTER: dict[str, tuple[Step, ...]] = {
    "mailbox": (
        *_IN,
        "CAPA",
        "STAT",
        "STAT x",
        "LIST",
        "LIST 1",
        "LIST 9",
        "LIST 0",
        "LIST x",
        "LIST 1 2",
        "list",
        "UIDL",
        "UIDL 2",
        "UIDL 9",
        "NOOP",
        "NOOP x",
        "LAST",
        "QUIT",
    ),
    "messages": (
        *_IN,
        *(f"RETR {number}" for number in range(1, len(MESSAGES) + 1)),
        "RETR 9",
        "RETR",
        "RETR x",
        "RETR -1",
        "RETR 99999999999999999999",
        *(f"TOP {number} 2" for number in range(1, len(MESSAGES) + 1)),
        "TOP 1 0",
        "TOP 1",
        "TOP",
        "TOP 9 1",
        "TOP 1 x",
        "TOP 1 999999",
        "LAST",
        "QUIT",
    ),
    "deleting": (
        *_IN,
        "DELE 1",
        "DELE 1",
        "RETR 1",
        "LIST",
        "LIST 1",
        "STAT",
        "UIDL",
        "UIDL 1",
        "RSET",
        "STAT",
        "DELE 2",
        "DELE 9",
        "DELE",
        "DELE x",
        "RSET x",
        "DELE 3",
        "STAT",
        "QUIT",
    ),
    "not understood": (
        *_IN,
        "XYZZY",
        "",
        f"USER {NAME}",
        f"PASS {PASSWORD}",
        "AUTH",
        f"AUTH PLAIN {_RIGHT}",
        "STLS",
        "APOP x y",
        "x" * 300,
        "QUIT now",
        "QUIT",
    ),
    "pipelined once logged in": (
        *_IN,
        Pipelined(("STAT", "RETR 2", "UIDL", "TOP 1 1", "XYZZY", "RETR 1", "DELE 1", "NOOP", "LIST", "QUIT")),
    ),
    "pipelined from the log-in on": (
        Pipelined((*_IN, "CAPA", "RETR 2", "RETR 3", "DELE 2", "STAT", "RSET", "STAT", "QUIT")),
    ),
}
"""Conversations of which the gate answers the log-in only."""
