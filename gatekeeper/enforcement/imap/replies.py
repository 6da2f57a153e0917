"""Outcomes in IMAP's words (RFC 9051 §7.1, RFC 5530). One table, one place; nothing of the client's is ever echoed."""

from enum import StrEnum

from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.protocols.login import Rejected


class RefusalCode(StrEnum):
    """The response code of a refusal by policy.

    `UNAVAILABLE` is the default: desktop Thunderbird shows its text and does not ask for the password again, FairEmail
    shows every text, K-9 stays silent and keeps the account as it is.
    """

    UNAVAILABLE = "UNAVAILABLE"
    ALERT = "ALERT"
    CONTACTADMIN = "CONTACTADMIN"


WRONG_CREDENTIALS = b"NO [AUTHENTICATIONFAILED] Authentication failed."
FAULT = b"NO [UNAVAILABLE] Mail is temporarily unavailable; please try again later."
NEEDS_TLS = b"NO [PRIVACYREQUIRED] Start TLS before logging in."
NOT_ANOTHER = b"NO [AUTHORIZATIONFAILED] Acting as another user is not allowed."
UNKNOWN = b"BAD Not understood, or not allowed before logging in."
NOT_OFFERED = b"NO [CANNOT] This mechanism is not offered."
CANCELLED = b"BAD Cancelled."
BAD_RESPONSE = b"BAD Not a valid response."
TOO_BIG = b"* BYE [TOOBIG] Literal too large.\r\n"

_FAREWELLS = {
    Farewell.TIMEOUT: b"* BYE Too slow.\r\n",
    Farewell.SHUTTING_DOWN: b"* BYE The server is shutting down; please reconnect.\r\n",
    Farewell.TOO_MANY_ERRORS: b"* BYE Too many errors.\r\n",
    Farewell.TOO_MANY_ATTEMPTS: b"* BYE Too many attempts.\r\n",
    Farewell.FAULT: b"* BYE [UNAVAILABLE] Mail is temporarily unavailable; please try again later.\r\n",
}


def farewell(why: Farewell) -> bytes:
    """The last words of a connection."""
    return _FAREWELLS[why]


def refused(code: RefusalCode, text: str) -> bytes:
    """A refusal by policy; `text` is one clean line."""
    return f"NO [{code}] {text}".encode("ascii", "replace")


def rejected(outcome: Rejected) -> bytes:
    """The mail server's refusal: of credentials always in the same words, of anything else in its own."""
    if outcome.is_delegation:
        return NOT_ANOTHER
    if outcome.code is None and not outcome.is_temporary:
        return WRONG_CREDENTIALS
    return f"NO [{outcome.code or 'UNAVAILABLE'}] {outcome.text}".encode("ascii", "replace")
