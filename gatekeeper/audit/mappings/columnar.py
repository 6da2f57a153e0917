"""A record as a row of Apache Parquet, for programs that analyse many; the record itself goes along as JSON."""

from collections.abc import Sequence

from gatekeeper.audit.parquet import Column, Kind, Value
from gatekeeper.audit.stored import LATEST_MS, StoredRecord

COLUMNS = (
    Column("time", Kind.INSTANT),
    Column("log", Kind.TEXT),
    Column("sequence", Kind.NUMBER),
    *(Column(name, Kind.TEXT) for name in ("code", "word", "status", "message")),
    Column("count", Kind.NUMBER),
    *(Column(name, Kind.TEXT) for name in ("user", "device", "protocol", "listener", "address")),
    Column("address_bits", Kind.NUMBER),
    Column("conn", Kind.TEXT),
    Column("rules", Kind.TEXTS),
    Column("matched", Kind.TEXTS),
    *(Column(name, Kind.TEXT) for name in ("phase", "posture", "binding")),
    Column("exemptions", Kind.TEXTS),
    *(Column(name, Kind.TEXT) for name in ("policy_sha256", "evidence_sha256")),
    Column("evidence_age_s", Kind.NUMBER),
    *(Column(name, Kind.TEXT) for name in ("evidence_source", "sha256")),
    Column("record", Kind.JSON),
)
"""Those of the CSV, each with its type, and `record`, the line as it stands in the log."""


def row(record: StoredRecord, line: bytes, sha256: str) -> Sequence[Value]:
    """The row of a record; `sha256` is that of its line (hex), which has no newline."""
    age = record.facts.get("evidence_age_s")
    return (
        min(record.time_ms, LATEST_MS),
        record.log,
        record.sequence,
        record.code,
        record.word,
        record.text_at("status_code"),
        record.message,
        record.count,
        record.account,
        record.device,
        record.protocol,
        record.text_at("dst_endpoint", "name"),
        record.address,
        record.address_bits,
        record.text("conn"),
        record.texts("rules"),
        record.texts("matched"),
        record.text("phase"),
        record.text("posture"),
        record.text("binding"),
        record.texts("exemptions"),
        record.text("policy_sha256"),
        record.text("evidence_sha256"),
        age if isinstance(age, int) else None,
        record.text("evidence_src"),
        sha256,
        line.decode("utf-8", "replace"),
    )
