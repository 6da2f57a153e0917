"""Outcomes in SMTP's words (RFC 5321 §4.2, RFC 4954 §6, RFC 5248). One table, one place.

Nothing of the client's is ever echoed. Every reply here is one line without its CRLF (the offer is several), in ASCII
and at most 510 octets long (RFC 5321 §4.5.3.1.5).
"""

from collections.abc import Collection, Sequence

from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.protocols.login import Rejected

MAX_REPLY_OCTETS = 510

LOGGED_IN = b"235 2.7.0 Authentication successful"
WRONG_CREDENTIALS = b"535 5.7.8 Authentication credentials invalid"
NOT_ANOTHER = b"535 5.7.8 Acting as another user is not allowed"
FAULT = b"454 4.7.0 Temporary authentication failure"
CANCELLED = b"501 5.7.0 Authentication cancelled"
BAD_RESPONSE = b"501 5.5.2 Not a valid response"
BAD_ARGUMENTS = b"501 5.5.4 Syntax error in arguments"
NO_SUCH_MECHANISM = b"504 5.5.4 This mechanism is not offered"
EHLO_FIRST = b"503 5.5.1 Send EHLO first"
NEEDS_TLS = b"538 5.7.11 Encryption required for authentication"
NEEDS_STARTTLS = b"530 5.7.0 Must issue a STARTTLS command first"
NEEDS_LOGIN = b"530 5.7.0 Authentication required"
START_TLS = b"220 2.0.0 Ready to start TLS"
NO_TLS = b"454 4.7.0 TLS not available"
TLS_ALREADY = b"503 5.5.1 TLS is on already"
UNKNOWN = b"500 5.5.2 Not understood, or not allowed before authentication"
LINE_TOO_LONG = b"500 5.5.6 Line too long"
BAD_OCTETS = b"500 5.5.2 Lines must end in CRLF, without bare CR, LF or NUL"
OK = b"250 2.0.0 OK"
HELP = b"214 2.0.0 See RFC 6409"
GOODBYE = b"221 2.0.0 Goodbye"

_FAREWELLS = {
    Farewell.TIMEOUT: b"421 4.4.2 Too slow",
    Farewell.SHUTTING_DOWN: b"421 4.3.2 The server is shutting down, please reconnect",
    Farewell.TOO_MANY_ERRORS: b"421 4.7.0 Too many errors",
    Farewell.TOO_MANY_ATTEMPTS: b"421 4.7.0 Too many attempts",
    Farewell.FAULT: b"421 4.3.0 Mail is temporarily unavailable; please try again later",
}

_NOT_OFFERED = frozenset(
    {
        "AUTH",  # replaced by ours
        "STARTTLS",  # likewise
        "XCLIENT",  # ours to tell the mail server who connects, not the phone's
        "XFORWARD",
        "ATRN",  # these four are for mail servers among themselves
        "ETRN",
        "TURN",
        "XEXCH50",
        "VRFY",  # answered here before the log-in, and only to say no
        "EXPN",
        "BURL",  # lets the mail server fetch mail for a phone (RFC 4468): reading that no gate would see
    }
)


def farewell(why: Farewell) -> bytes:
    """The last words of a connection."""
    return _FAREWELLS[why]


def refused(text: str) -> bytes:
    """A refusal by policy: never worded as a wrong password."""
    return _line(f"535 5.7.1 {text}")


def rejected(outcome: Rejected) -> bytes:
    """The mail server's refusal: of credentials always in the same words, of anything else in its own.

    421 would announce that we close, and a client gives up on any other 4xx than 454: hence always 454.
    """
    if outcome.is_delegation:
        return NOT_ANOTHER
    code, _, enhanced = (outcome.code or "535").partition(" ")
    if outcome.is_temporary:
        return _line(f"454 {enhanced if enhanced.startswith('4.') else '4.7.0'} {outcome.text}")
    if code == "535" and enhanced in ("", "5.7.8"):
        return WRONG_CREDENTIALS
    return _line(f"{code} {enhanced if enhanced.startswith('5.') else '5.7.0'} {outcome.text}")


def ehlo(hostname: str, upstream_offers: Collection[str], own: Sequence[str]) -> bytes:
    """The offer: what the mail server can do once logged in, and our own way to get there.

    Before the first log-in at the mail server its offer is unknown, and nothing is promised in its place.
    """
    offered = [offer for offer in sorted(upstream_offers) if _is_passed_on(offer)]
    lines = [hostname, *offered, *own]
    return b"\r\n".join(
        b"250" + (b" " if number == len(lines) else b"-") + line.encode("ascii", "replace")
        for number, line in enumerate(lines, 1)
    )


def _is_passed_on(offer: str) -> bool:
    keyword = offer.partition(" ")[0].partition("=")[0]
    return keyword not in _NOT_OFFERED and len(offer) < MAX_REPLY_OCTETS - len("250 ")


def _line(reply: str) -> bytes:
    """One line of printable ASCII, whatever the text."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in reply)[:MAX_REPLY_OCTETS].encode("ascii")
