"""What phones say and hear in the tests of the flow."""

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.net.dial import TlsMode
from testkit.flow_bed import Bed, Phone

LOGIN = b"a LOGIN alice@example.com wonderland\r\n"
LOGIN_BOB = b"a LOGIN bob@example.com wonderland\r\n"
WRONG_LOGIN = b"a LOGIN alice@example.com guess\r\n"
OK = b"a OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n"
WRONG = b"a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"
UNAVAILABLE = b"a NO [UNAVAILABLE] Mail is temporarily unavailable; please try again later.\r\n"
GONE = b"* BYE [UNAVAILABLE] Mail is temporarily unavailable; please try again later.\r\n"
PIPELINED = b"b NOOP\r\nc SELECT INBOX\r\nd APPEND x {3+}\r\nabc\r\n"

ADMITTED = [EventCode.SESSION_ALLOWED]
ENDED = [EventCode.SESSION_ALLOWED, EventCode.SESSION_ENDED]
CLOSED = EventCode.CONNECTION_CLOSED

WAYS = {"implicit": TlsMode.IMPLICIT, "starttls": TlsMode.STARTTLS}
every_listener = pytest.mark.parametrize("tls", WAYS.values(), ids=WAYS)


async def admitted(bed: Bed) -> Phone:
    """A phone whose session is relayed."""
    client = await bed.greeted()
    assert await client.ask(LOGIN) == OK
    return client
