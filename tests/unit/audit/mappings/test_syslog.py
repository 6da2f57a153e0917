"""Records as syslog messages, read back by a parser that follows RFC 5424 letter by letter."""

import json
import re

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.audit.mappings.syslog import framed, head_message, message
from testkit.audit_log import ORIGIN, event, line

_MESSAGE = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<time>\S+) (?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<proc>[!-~]{1,128}) "
    rb"(?P<msgid>[!-~]{1,32}) \[(?P<sd>[!#-<>-\\^-~]{1,32})(?P<params>(?: [a-z]+=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*)\] "
    rb"(?P<msg>.*)",
    re.DOTALL,
)


def parsed(octets: bytes) -> re.Match[bytes]:
    match = _MESSAGE.fullmatch(octets)
    assert match is not None, octets
    return match


@pytest.mark.parametrize(
    ("code", "priority"),
    [
        (EventCode.SESSION_ALLOWED, 13 * 8 + 5),
        (EventCode.BLOCKED_APP, 13 * 8 + 4),
        (EventCode.GATE_FAULT, 13 * 8 + 3),
    ],
)
def test_the_message_is_the_line_under_a_header_of_its_own(code: EventCode, priority: int) -> None:
    """Severity by the last letter of the code, facility log audit, the code as MSGID, log and number apart."""
    made = line(event("zoë", code=code, message="Ж"), sequence=41)
    match = parsed(message(made, log=ORIGIN, hostname="gate-1.example.com", sd_id="gatekeeper@32473"))
    assert match["msg"] == made
    assert int(match["pri"]) == priority
    assert match["time"] == b"2020-07-10T17:00:00.000Z"
    assert (match["host"], match["app"], match["msgid"]) == (b"gate-1.example.com", b"gatekeeper", code.encode())
    assert match["params"] == f' log="{ORIGIN}" sequence="41"'.encode()


def test_what_would_break_the_structured_data_is_escaped() -> None:
    """RFC 5424 section 6.3.3."""
    match = parsed(message(line(event()), log='a"b]c\\d', hostname="-", sd_id="x"))
    assert match["params"] == rb' log="a\"b\]c\\d" sequence="0"'


@pytest.mark.parametrize(
    ("hostname", "shown"), [("gate one\n", b"gateone"), ("", b"-"), ("ж", b"-"), ("h" * 300, b"h" * 255)]
)
def test_a_host_name_is_a_field_whatever_it_is(hostname: str, shown: bytes) -> None:
    """Spaces and line ends would be another field."""
    assert parsed(message(line(event()), log=ORIGIN, hostname=hostname, sd_id="x"))["host"] == shown


def test_a_frame_counts_octets() -> None:
    """RFC 5425 section 4.3: not characters."""
    assert framed("ж!".encode()) == "3 ж!".encode()


@pytest.mark.parametrize("octets", [b"", b"{}", b"\xff", b'{"time": 1, "metadata": {"sequence": "1"}}'])
def test_what_is_no_record_is_refused(octets: bytes) -> None:
    """A damaged log is not passed on as if it were whole."""
    with pytest.raises(ValueError, match="no audit record"):
        message(octets, log=ORIGIN, hostname="-", sd_id="x")


def test_a_head_is_one_line_that_holds_the_whole_note() -> None:
    """Receivers that write lines keep it whole."""
    note = b"origin\n3\nAAAA\n\n\xe2\x80\x94 origin sig\n"
    octets = head_message(note, log=ORIGIN, records=3, time_ms=1_594_400_400_123, hostname="-", sd_id="x")
    match = parsed(octets)
    assert match["msgid"] == b"checkpoint"
    assert match["time"] == b"2020-07-10T17:00:00.123Z"
    assert b"\n" not in match["msg"]
    assert json.loads(match["msg"]) == {"log": ORIGIN, "records": 3, "checkpoint": note.decode()}
