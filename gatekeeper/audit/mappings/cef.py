"""A record as a line of CEF, the Common Event Format of ArcSight (version 0 of the format).

Inside holds: what stands in the log cannot add a field, a header or a line: backslash and pipe are escaped in the
header, backslash and equals sign in values, and there are no control characters; values are cut at the lengths that the
format gives its keys.
"""

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

from gatekeeper.audit.stored import StoredRecord

_SEVERITIES = {0: 0, 1: 1, 2: 3, 3: 6, 4: 8, 5: 9, 6: 10}  # OCSF's severity_id on CEF's scale from 0 to 10
_OUTCOMES = {1: "success", 2: "failure"}
_LONG, _SHORT = 4000, 1023


def line(record: StoredRecord, sha256: str) -> bytes:
    """The line, with its newline; `sha256` is the digest (hex) of the record's line."""
    header = [
        "CEF:0",
        _header(record.text_at("metadata", "product", "vendor_name") or "gatekeeper"),
        _header(record.text_at("metadata", "product", "name") or "gatekeeper"),
        _header(record.text_at("metadata", "product", "version") or "0"),
        _header(record.code),
        _header(record.message or record.word),
        str(_SEVERITIES.get(record.number_at("severity_id") or 0, 5)),
    ]
    extension = " ".join(f"{key}={_value(text)}" for key, text in _fields(record, sha256))
    return f"{'|'.join(header)}|{extension}\n".encode("utf-8", "replace")


def _fields(record: StoredRecord, sha256: str) -> Iterator[tuple[str, str]]:
    yield "rt", str(record.time_ms)
    yield "externalId", str(record.sequence)
    yield "deviceExternalId", record.log[:_SHORT]
    yield "act", record.word[:_SHORT]
    outcome = _OUTCOMES.get(record.number_at("status_id") or 0)
    yield from _named("outcome", outcome)
    yield from _named("reason", record.text_at("status_code"))
    yield from _named("suser", record.account)
    yield from _named("app", record.protocol)
    yield from _address(record.address)
    yield from _named("spt", _number(record.number_at("src_endpoint", "port")))
    yield from _named("dpt", _number(record.number_at("dst_endpoint", "port")))
    yield "cnt", str(record.count)
    yield from _named("start", _number(record.number_at("start_time")))
    yield from _named("end", _number(record.number_at("end_time")))
    labelled = (
        ("cs1", "rules", " ".join(record.texts("rules"))),
        ("cs2", "matched", " ".join(record.texts("matched"))),
        ("cs3", "device", record.device),
        ("cs4", "policySha256", record.text("policy_sha256")),
        ("cs5", "connection", record.text("conn")),
        ("cs6", "recordSha256", sha256),
    )
    for key, label, value in labelled:
        if value:
            yield key, value[:_LONG]
            yield f"{key}Label", label


def _named(key: str, value: str | None) -> Iterator[tuple[str, str]]:
    if value:
        yield key, value[:_SHORT]


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _address(address: str | None) -> Iterator[tuple[str, str]]:
    """CEF's `src` is an IPv4 address; one of version 6 has a key of its own."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return
    if isinstance(parsed, IPv6Address):
        yield "c6a2", str(parsed)
        yield "c6a2Label", "Source IPv6 Address"
    else:
        yield "src", str(parsed)


def _header(text: str) -> str:
    return _one_line(text.replace("\\", "\\\\").replace("|", "\\|"))


def _value(text: str) -> str:
    return _one_line(text.replace("\\", "\\\\").replace("=", "\\="))


def _one_line(text: str) -> str:
    """Without control characters: a record has none, but who knows who wrote into the log."""
    return "".join(character if character.isprintable() else " " for character in text)
