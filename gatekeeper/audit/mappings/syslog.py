"""A record as a syslog message (RFC 5424) in an octet-counted frame (RFC 5425 section 4.3).

Inside holds: MSG is the record's line, octet by octet, so that what a receiver stores of it is the leaf that was
signed; no header field takes anything from outside but what was checked. Log and number stand in the structured data
too, so that receivers tell repeats apart without reading JSON.
"""

import json
from datetime import UTC, datetime, timedelta

import msgspec

APP_NAME = "gatekeeper"
HEAD_MSGID = "checkpoint"
"""MSGID of a message that holds a signed head; those of records are event codes."""
_FACILITY = 13  # log audit
_NOTICE = 5
_SEVERITIES = {"I": _NOTICE, "W": 4, "E": 3}  # notice, warning, error: by the last letter of the event code
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_HOSTNAME = 255
_NIL = "-"


class _Metadata(msgspec.Struct):
    sequence: int
    event_code: str


class _Head(msgspec.Struct):
    """What the header needs of a record."""

    time: int
    metadata: _Metadata


_read = msgspec.json.Decoder(_Head).decode


def framed(message: bytes) -> bytes:
    """The frame of a message."""
    return b"%d %b" % (len(message), message)


def message(line: bytes, *, log: str, hostname: str, sd_id: str) -> bytes:
    """The message of a record; `line` without its newline. Raises ValueError for what is no record."""
    try:
        head = _read(line)
    except msgspec.MsgspecError as error:
        raise ValueError("is no audit record") from error
    code = head.metadata.event_code
    facts = (("log", log), ("sequence", str(head.metadata.sequence)))
    return _header(_SEVERITIES.get(code[-1:], _NOTICE), head.time, hostname, code, _element(sd_id, facts)) + line


def head_message(note: bytes, *, log: str, records: int, time_ms: int, hostname: str, sd_id: str) -> bytes:
    """The message of a signed head: a JSON object with the whole note as `checkpoint`."""
    body = json.dumps({"log": log, "records": records, "checkpoint": note.decode("utf-8", "replace")})
    element = _element(sd_id, (("log", log), ("records", str(records))))
    return _header(_NOTICE, time_ms, hostname, HEAD_MSGID, element) + body.encode()


def _header(severity: int, time_ms: int, hostname: str, msgid: str, element: str) -> bytes:
    instant = _EPOCH + timedelta(milliseconds=time_ms)
    stamp = f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"
    fields = f"<{_FACILITY * 8 + severity}>1 {stamp} {_printable(hostname)} {APP_NAME} {_NIL} {msgid} {element} "
    return fields.encode("ascii", "replace")


def _printable(text: str) -> str:
    """A field: printable ASCII without spaces, or that there is none."""
    kept = "".join(character for character in text if "!" <= character <= "~")
    return kept[:_MAX_HOSTNAME] or _NIL


def _element(sd_id: str, facts: tuple[tuple[str, str], ...]) -> str:
    parameters = " ".join(f'{name}="{_escaped(value)}"' for name, value in facts)
    return f"[{sd_id} {parameters}]"


def _escaped(value: str) -> str:
    """RFC 5424 section 6.3.3."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
