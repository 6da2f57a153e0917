"""What a phone may try before an SMTP log-in, and every answer: attacks by the ids of their collection, and oddities.

One table for two places: fed to the dialogue by hand, and sent over a socket to a running gate.
"""

import base64

from gatekeeper.enforcement.smtp.dialogue import MAX_COMMANDS, MAX_ERRORS

GREETING = b"220 gate.example.com ESMTP\r\n"
AUTHED = b"235 2.7.0 Authentication successful\r\n"
WRONG = b"535 5.7.8 Authentication credentials invalid\r\n"
FAULT = b"454 4.7.0 Temporary authentication failure\r\n"
NEEDS_LOGIN = b"530 5.7.0 Authentication required\r\n"
NEEDS_STARTTLS = b"530 5.7.0 Must issue a STARTTLS command first\r\n"
NEEDS_TLS = b"538 5.7.11 Encryption required for authentication\r\n"
EHLO_FIRST = b"503 5.5.1 Send EHLO first\r\n"
UNKNOWN = b"500 5.5.2 Not understood, or not allowed before authentication\r\n"
BAD_ARGUMENTS = b"501 5.5.4 Syntax error in arguments\r\n"
BAD_RESPONSE = b"501 5.5.2 Not a valid response\r\n"
OFFER = b"250-gate.example.com\r\n250-8BITMIME\r\n250-SIZE 35882577\r\n250 AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER\r\n"
PLAIN_OFFER = b"250-gate.example.com\r\n250-8BITMIME\r\n250-SIZE 35882577\r\n250 STARTTLS\r\n"
UPSTREAM = frozenset({"SIZE 35882577", "8BITMIME", "AUTH=PLAIN", "AUTH=XOAUTH2", "AUTH=OAUTHBEARER"})

EHLO = (b"EHLO phone.example.com\r\n", OFFER)


def b64(text: str | bytes) -> bytes:
    """Return the base64 of a response."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text)


PLAIN = b64("\0alice\0wonderland")

TALKS: dict[str, list[tuple[bytes, bytes]]] = {
    "S01 AUTH before EHLO": [(b"AUTH PLAIN " + PLAIN + b"\r\n", EHLO_FIRST), EHLO],
    "AUTH after HELO": [(b"HELO x\r\n", b"250 gate.example.com\r\n"), (b"AUTH PLAIN\r\n", EHLO_FIRST)],
    "S02 cancelled": [
        EHLO,
        (b"AUTH PLAIN\r\n", b"334 \r\n"),
        (b"*\r\n", b"501 5.7.0 Authentication cancelled\r\n"),
        (b"NOOP\r\n", b"250 2.0.0 OK\r\n"),
    ],
    "S03 empty response": [EHLO, (b"AUTH PLAIN =\r\n", WRONG), (b"AUTH PLAIN\r\n", b"334 \r\n"), (b"\r\n", WRONG)],
    "S04 not base64": [EHLO, (b"AUTH PLAIN !!!!\r\n", BAD_RESPONSE), (b"AUTH PLAIN \xfc\r\n", BAD_RESPONSE)],
    "not base64 after 334": [EHLO, (b"AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n"), (b"YQ\r\n", BAD_RESPONSE)],
    "S05 unknown mechanism": [EHLO, (b"AUTH FOO\r\n", b"504 5.5.4 This mechanism is not offered\r\n")],
    "too many words": [EHLO, (b"AUTH PLAIN a b\r\n", BAD_ARGUMENTS), (b"AUTH\r\n", BAD_ARGUMENTS)],
    "another user": [
        EHLO,
        (b"AUTH PLAIN " + b64("bob\0alice\0x") + b"\r\n", b"535 5.7.8 Acting as another user is not allowed\r\n"),
    ],
    "S14 control octets in a name": [EHLO, (b"AUTH PLAIN " + b64("\0a\r\nMAIL FROM:<e@v>\0x") + b"\r\n", WRONG)],
    "token without a name": [EHLO, (b"AUTH XOAUTH2 " + b64("user=\x01auth=Bearer t\x01\x01") + b"\r\n", WRONG)],
    "S10 mail commands": [
        EHLO,
        *(
            (command + b"\r\n", NEEDS_LOGIN)
            for command in (b"MAIL FROM:<a@b>", b"rcpt TO:<a@b>", b"DATA", b"VRFY a", b"EXPN a", b"ETRN a", b"TURN")
        ),
    ],
    "mail before EHLO": [(b"MAIL FROM:<a@b>\r\n", EHLO_FIRST)],
    "pleasantries": [
        (b"NOOP\r\nRSET\r\n", b"250 2.0.0 OK\r\n250 2.0.0 OK\r\n"),
        (b"HELP AUTH\r\n", b"214 2.0.0 See RFC 6409\r\n"),
        (b"EHLO\r\n", BAD_ARGUMENTS),
        (b"HELO\r\n", BAD_ARGUMENTS),
        (b"NOOP x\r\n", b"250 2.0.0 OK\r\n"),
        (b"RSET x\r\n", BAD_ARGUMENTS),
    ],
    "nonsense is not echoed": [
        (b"\r\n", UNKNOWN),
        (b"d29uZGVybGFuZA==\r\n", UNKNOWN),
        (b"\xff\xfe\r\n", UNKNOWN),
        EHLO,
        (b"<x>\r\n", UNKNOWN),
    ],
    "a host name with an umlaut": [(b"EHLO b\xc3\xbcro\r\n", OFFER), (b"EHLO b\xfcro\r\n", OFFER)],
    "STARTTLS under TLS": [EHLO, (b"STARTTLS\r\n", b"503 5.5.1 TLS is on already\r\n")],
    "S16 PROXY": [(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 587\r\n", UNKNOWN), EHLO],
    "XCLIENT": [(b"XCLIENT ADDR=1.2.3.4\r\n", UNKNOWN), EHLO],
}

ENDINGS = {
    "QUIT": (b"QUIT\r\nNOOP\r\n", b"221 2.0.0 Goodbye\r\n"),
    "QUIT with an argument": (b"quit now\r\n", b"221 2.0.0 Goodbye\r\n"),
    "S12 BDAT": (b"BDAT 18446744073709551616 LAST\r\nNOOP\r\n", NEEDS_LOGIN),
    "BDAT with data": (b"BDAT 6\r\nQUIT\r\nNOOP\r\n", NEEDS_LOGIN),
    "S17 bare LF": (b"EHLO x\nMAIL FROM:<a@b>\n", b"500 5.5.2 Lines must end in CRLF, without bare CR, LF or NUL\r\n"),
    "S19 long line": (b"EHLO " + b"x" * 100_000 + b"\r\n", b"500 5.5.6 Line too long\r\n"),
    "a browser": (b"POST / HTTP/1.1\r\nAUTH: PLAIN\r\nNOOP\r\n", UNKNOWN),
    "errors": (b"FOO\r\n" * MAX_ERRORS + b"NOOP\r\n", UNKNOWN * MAX_ERRORS + b"421 4.7.0 Too many errors\r\n"),
    "commands": (
        b"NOOP\r\n" * (MAX_COMMANDS + 2),
        b"250 2.0.0 OK\r\n" * MAX_COMMANDS + b"421 4.7.0 Too many errors\r\n",
    ),
}
