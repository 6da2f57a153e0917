"""A record as a document of the Elastic Common Schema 9.4.

Our own facts stand under `gatekeeper`, which is no field set of ECS. What the schema has words for stands under them:
`event.category` with the types that it allows for that category, outcome, reason, rule.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from gatekeeper.audit.codes import COMPLIANCE_FINDING, Word
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.pseudonyms import PSEUDONYM
from gatekeeper.audit.stored import StoredRecord, stamp

VERSION = "9.4.0"


class Placed(NamedTuple):
    """Where ECS puts an event."""

    category: tuple[str, ...]
    type: tuple[str, ...]


# `authentication` has no type for a verdict, `network` has.
_LET_IN = Placed(("authentication", "network"), ("start", "allowed"))
_REFUSED = Placed(("authentication", "network"), ("start", "denied"))
_CHANGED = Placed(("configuration",), ("change",))
_TOLD = Placed(("host",), ("info",))

BY_WORD: Mapping[str, Placed] = MappingProxyType(
    {
        Word.ALLOW: _LET_IN,
        Word.WARN: _LET_IN,
        Word.WOULD_BLOCK: _LET_IN,
        Word.BLOCK: _REFUSED,
        Word.UNAVAILABLE: _REFUSED,
        Word.REFUSED: _REFUSED,
        Word.REVOKED: Placed(("session", "network"), ("end", "denied")),
        Word.ENDED: Placed(("session", "network"), ("end",)),
        Word.CLOSED: Placed(("network",), ("connection", "end")),
        Word.CONFIG: _CHANGED,
        Word.POLICY: _CHANGED,
        Word.DEVICE: _TOLD,
        Word.EVIDENCE: _TOLD,
        Word.LOG: Placed(("process",), ("info",)),
    }
)
BY_CODE: Mapping[str, Placed] = MappingProxyType(
    {
        EventCode.INVENTORY_IMPORTED: _CHANGED,
        EventCode.INVENTORY_REJECTED: _CHANGED,
        EventCode.DEVICE_FORGOTTEN: _CHANGED,
        EventCode.LOG_OPENED: Placed(("process",), ("start",)),
        EventCode.LOG_CLOSED: Placed(("process",), ("end",)),
        EventCode.WORKER_DIED: Placed(("process",), ("end",)),
    }
)
"""Where an event does not stand as its word does."""

_UNKNOWN = Placed((), ("info",))
_OUTCOMES = {1: "success", 2: "failure"}
_NOT_FACTS = ("prev", "log", "v")


def line(record: StoredRecord, sha256: str) -> bytes:
    """The document, with a newline; `sha256` is the digest (hex) of the record's line."""
    return (
        json.dumps(document(record, sha256), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        + b"\n"
    )


def document(record: StoredRecord, sha256: str) -> dict[str, object]:
    """The document."""
    placed = BY_CODE.get(record.code) or BY_WORD.get(record.word, _UNKNOWN)
    found: dict[str, object] = {
        "@timestamp": stamp(record.time_ms),
        "ecs": {"version": VERSION},
        "message": record.message,
        "event": _some(
            kind="alert" if record.at("is_alert") is True else "event",
            category=list(placed.category) or None,
            type=list(placed.type),
            outcome=_outcome(record),
            action=record.word,
            code=record.code,
            reason=record.text_at("status_code"),
            sequence=record.sequence,
            hash=sha256,
            id=record.text_at("metadata", "uid"),
            severity=record.number_at("severity_id"),
            provider="gatekeeper",
            module="gatekeeper",
            dataset="gatekeeper.audit",
            start=stamp(record.number_at("start_time")),
            end=stamp(record.number_at("end_time")),
        ),
        "user": _user(record.account),
        "device": _some(id=record.device),
        "source": _some(ip=record.address, port=record.number_at("src_endpoint", "port")),
        "destination": _some(port=record.number_at("dst_endpoint", "port")),
        "network": _some(protocol=record.protocol),
        "observer": _some(
            vendor=record.text_at("metadata", "product", "vendor_name"),
            product=record.text_at("metadata", "product", "name"),
            version=record.text_at("metadata", "product", "version"),
            type="proxy",
            name=record.log,
        ),
        "rule": _some(id=next(iter(record.texts("rules")), None), ruleset=record.text("policy_sha256")),
        "related": _some(
            user=[record.account] if record.account else None, ip=[record.address] if record.address else None
        ),
        "gatekeeper": {
            **{name: value for name, value in record.facts.items() if name not in _NOT_FACTS and value is not None},
            **_some(count=record.count, listener=record.text_at("dst_endpoint", "name")),
        },
    }
    return {name: value for name, value in found.items() if value not in ({}, None)}


def _user(account: str | None) -> dict[str, object]:
    """A pseudonym is what ECS calls a hash of the user, for what is anonymised."""
    is_hidden = account is not None and PSEUDONYM.fullmatch(account) is not None
    return _some(hash=account) if is_hidden else _some(name=account)


def _some(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _outcome(record: StoredRecord) -> str | None:
    """None: the class has no outcome; a finding's status is whether it is new."""
    if record.number_at("class_uid") == COMPLIANCE_FINDING:
        return None
    return _OUTCOMES.get(record.number_at("status_id") or 0, "unknown")
