"""A record as a row of typed columns, for programs that analyse many; the record itself goes along as JSON."""

import json

from gatekeeper.audit.mappings import table
from gatekeeper.audit.stored import LATEST_MS, StoredRecord

_TYPES = {
    "time": "TIMESTAMPTZ",
    **dict.fromkeys(("sequence", "count", "address_bits", "evidence_age_s"), "BIGINT"),
    **dict.fromkeys(("rules", "matched", "exemptions"), "VARCHAR[]"),
}
_LARGEST = 2**63 - 1

COLUMNS = {name: _TYPES.get(name, "VARCHAR") for name in (*table.COLUMNS, "record")}
"""Those of the CSV with their types in SQL, and `record`, the line as it stands in the log."""


def row(record: StoredRecord, line: bytes, sha256: str) -> bytes:
    """The row of a record as a line of JSON; `sha256` is that of its line (hex) without the newline."""
    age = record.facts.get("evidence_age_s")
    values = {
        "time": min(record.time_ms, LATEST_MS),
        "log": record.log,
        "sequence": record.sequence,
        "code": record.code,
        "word": record.word,
        "status": record.text_at("status_code"),
        "message": record.message,
        "count": record.count,
        "user": record.account,
        "device": record.device,
        "protocol": record.protocol,
        "listener": record.text_at("dst_endpoint", "name"),
        "address": record.address,
        "address_bits": record.address_bits,
        "conn": record.text("conn"),
        "rules": record.texts("rules"),
        "matched": record.texts("matched"),
        "phase": record.text("phase"),
        "posture": record.text("posture"),
        "binding": record.text("binding"),
        "exemptions": record.texts("exemptions"),
        "policy_sha256": record.text("policy_sha256"),
        "evidence_sha256": record.text("evidence_sha256"),
        "evidence_age_s": age if isinstance(age, int) and abs(age) <= _LARGEST else None,
        "evidence_source": record.text("evidence_src"),
        "sha256": sha256,
        "record": line.removesuffix(b"\n").decode("utf-8", "replace"),
    }
    return json.dumps(values, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
