"""Outcomes in ManageSieve's words (RFC 5804 §1.3), and the capability list. One table, one place.

Nothing of the client's is ever echoed but NOOP's tag, as a string. Every text is a string of RFC 5804 §4.
"""

from collections.abc import Collection, Iterable

from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.protocols.login import Rejected
from gatekeeper.protocols.sieve.strings import from_server

READY = b'OK "Ready."\r\n'
DONE = b'OK "Done."\r\n'
GOODBYE = b'OK "Goodbye."\r\n'
START_TLS = b'OK "Begin TLS now."\r\n'
TLS_IS_ON = b'OK "TLS is on."\r\n'
WRONG_CREDENTIALS = b'NO "Authentication failed."\r\n'
NOT_ANOTHER = b'NO "Acting as another user is not allowed."\r\n'
FAULT = b'NO (TRYLATER) "Temporarily unavailable; please try again later."\r\n'
NEEDS_TLS = b'NO (ENCRYPT-NEEDED) "Start TLS before logging in."\r\n'
UNKNOWN = b'NO "Not understood, or not allowed before logging in."\r\n'
NOT_OFFERED = b'NO "This mechanism is not offered."\r\n'
CANCELLED = b'NO "Cancelled."\r\n'
BAD_RESPONSE = b'NO "Not a valid response."\r\n'

_FAREWELLS = {
    Farewell.TIMEOUT: b'BYE "Too slow."\r\n',
    Farewell.SHUTTING_DOWN: b'BYE (TRYLATER) "The server is shutting down; please reconnect."\r\n',
    Farewell.TOO_MANY_ERRORS: b'BYE "Too many errors."\r\n',
    Farewell.TOO_MANY_ATTEMPTS: b'BYE "Too many attempts."\r\n',
    Farewell.FAULT: b'BYE (TRYLATER) "Temporarily unavailable; please try again later."\r\n',
}

_PASSED_ON = ("SIEVE", "NOTIFY", "MAXREDIRECTS", "EXTLISTS", "LANGUAGE", "VERSION")
"""What the mail server can do once logged in (RFC 5804 §1.7, RFC 6134 §2.8), in the order in which it is offered.

Not among them: STARTTLS and SASL, which are ours; OWNER, which is nobody before the log-in; XCLIENT, ours to tell the
mail server who connects; UNAUTHENTICATE, which such a server is not used for.
"""
_UNKNOWN_YET = {"IMPLEMENTATION": "ManageSieve", "SIEVE": "", "VERSION": "1.0"}
"""What must be there (RFC 5804 §1.7), as long as the mail server has not been heard: nothing is promised for it."""


def capabilities(upstream_offers: Collection[str], mechanisms: Iterable[str], *, starttls: bool) -> bytes:
    """The capability list, without the OK behind it."""
    named = _UNKNOWN_YET | dict(_split(offer) for offer in sorted(upstream_offers))
    lines = [("IMPLEMENTATION", named["IMPLEMENTATION"]), ("SASL", " ".join(mechanisms))]
    lines += [(name, named[name]) for name in _PASSED_ON if name in named]
    text = b"".join(from_server(name.encode()) + b" " + from_server(value.encode()) + b"\r\n" for name, value in lines)
    return text + b'"STARTTLS"\r\n' if starttls else text


def farewell(why: Farewell) -> bytes:
    """The last words of a connection."""
    return _FAREWELLS[why]


def noop(tag: bytes | None) -> bytes:
    """The answer to NOOP, with the client's tag (RFC 5804 §2.13)."""
    return DONE if tag is None else b"OK (TAG " + from_server(tag) + b') "Done."\r\n'


def challenge(octets: bytes) -> bytes:
    """What a mechanism says, in base64 already (RFC 5804 §2.1)."""
    return from_server(octets) + b"\r\n"


def logged_in(text: str) -> bytes:
    """The log-in succeeded; the text is the mail server's, cleaned."""
    return b"OK " + from_server(text.encode()) + b"\r\n"


def refused(text: str) -> bytes:
    """A refusal by policy, never worded as a wrong password; `text` is one clean line, in UTF-8 as strings are here."""
    return b"NO " + from_server(text.encode()) + b"\r\n"


def rejected(outcome: Rejected) -> bytes:
    """The mail server's refusal: of credentials always in the same words, of anything else in its own."""
    if outcome.is_delegation:
        return NOT_ANOTHER
    if outcome.code is None and not outcome.is_temporary:
        return WRONG_CREDENTIALS
    code = "TRYLATER" if outcome.is_temporary else outcome.code
    return f"NO ({code}) ".encode("ascii") + from_server(outcome.text.encode()) + b"\r\n"


def _split(offer: str) -> tuple[str, str]:
    name, _, value = offer.partition(" ")
    return name, value
