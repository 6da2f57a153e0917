"""Outcomes in POP3's words (RFC 1939 §3, RFC 2449 §8, RFC 3206). One table, one place.

Nothing of the client's is ever echoed. Every reply is one line in ASCII and at most 512 octets long with its CRLF
(RFC 2449 §4); the lists are several.
"""

from collections.abc import Iterable

from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.protocols.login import Rejected

MAX_REPLY_OCTETS = 510

GREETING = b"+OK Ready."
DONE = b"+OK"
GOODBYE = b"+OK Goodbye."
START_TLS = b"+OK Begin TLS now."
WRONG_CREDENTIALS = b"-ERR [AUTH] Authentication failed."
FAULT = b"-ERR [SYS/TEMP] Mail is temporarily unavailable; please try again later."
NEEDS_TLS = b"-ERR [AUTH] Start TLS before logging in."
NOT_ANOTHER = b"-ERR [AUTH] Acting as another user is not allowed."
UNKNOWN = b"-ERR Not understood, or not allowed before logging in."
USER_FIRST = b"-ERR Send USER first."
NOT_OFFERED = b"-ERR This mechanism is not offered."
CANCELLED = b"-ERR Cancelled."
BAD_RESPONSE = b"-ERR Not a valid response."
BAD_NAME = b"-ERR Not a valid name."

_FAREWELLS = {
    # A client reads what comes unasked as the answer to its next command, so these two are only a close (RFC 1939 §3).
    Farewell.TIMEOUT: b"",
    Farewell.SHUTTING_DOWN: b"",
    Farewell.TOO_MANY_ERRORS: b"-ERR Too many errors.\r\n",
    Farewell.TOO_MANY_ATTEMPTS: b"-ERR [AUTH] Too many attempts.\r\n",
    Farewell.FAULT: FAULT + b"\r\n",
}

_PASSED_ON = ("TOP", "UIDL", "PIPELINING", "EXPIRE", "LOGIN-DELAY")
"""What the mail server can do once logged in and may say before, in the order of telling.

Left out are UTF8 and LANG (RFC 6856), which would have to be agreed before the log-in, IMPLEMENTATION, which helps
attackers only, and whatever else there is: what is not known may be a way around the gate.
"""


def farewell(why: Farewell) -> bytes:
    """The last words of a connection."""
    return _FAREWELLS[why]


def refused(text: str) -> bytes:
    """A refusal by policy: never worded as a wrong password."""
    return _line(f"-ERR [SYS/PERM] {text}")


def rejected(outcome: Rejected) -> bytes:
    """The mail server's refusal: of credentials always in the same words, of anything else in its own."""
    if outcome.is_delegation:
        return NOT_ANOTHER
    if outcome.code is None and not outcome.is_temporary:
        return WRONG_CREDENTIALS
    return _line(f"-ERR [{outcome.code or 'SYS/TEMP'}] {outcome.text}")


def logged_in(text: str) -> bytes:
    """The mail server's welcome."""
    return _line(f"+OK {text}")


def capabilities(upstream_offers: frozenset[str], own: Iterable[str]) -> bytes:
    """The answer to CAPA: our own, and what the mail server can do once logged in.

    Before the first log-in at the mail server its offer is unknown, and nothing is promised in its place.
    """
    order = {keyword: number for number, keyword in enumerate(_PASSED_ON)}
    offered = [offer for offer in upstream_offers if offer.partition(" ")[0] in order]
    return listed(["CAPA", *sorted(offered, key=lambda offer: order[offer.partition(" ")[0]]), *own])


def listed(items: Iterable[str]) -> bytes:
    """A multi-line answer without its last CRLF (RFC 1939 §3); no item begins with a dot."""
    return b"\r\n".join([DONE, *map(_line, items), b"."])


def _line(reply: str) -> bytes:
    """One line of printable ASCII, whatever the text."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in reply)[:MAX_REPLY_OCTETS].encode("ascii")
