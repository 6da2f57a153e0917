"""A record as a row of CSV (RFC 4180) for spreadsheets.

Inside holds: no cell begins with what a spreadsheet takes for a formula, whoever wrote into the log; every row has the
columns of `COLUMNS`.
"""

import csv
import io
from collections.abc import Iterable

from gatekeeper.audit.stored import StoredRecord, stamp

COLUMNS = (
    *("time", "log", "sequence", "code", "word", "status", "message", "count"),
    *("user", "device", "protocol", "listener", "address", "address_bits", "conn"),
    *("rules", "matched", "phase", "posture", "binding", "exemptions"),
    *("policy_sha256", "evidence_sha256", "evidence_age_s", "evidence_source", "sha256"),
)

# OWASP, "CSV Injection"; the full-width forms are taken for the same by some spreadsheets. A line feed as a tab.
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def harmless(cell: str) -> str:
    """The cell, behind an apostrophe where a spreadsheet could take it for a formula."""
    return f"'{cell}" if cell.startswith(_DANGEROUS) else cell


def row(cells: Iterable[str]) -> bytes:
    """One line of CSV, with its CRLF; every cell made harmless."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([harmless(cell) for cell in cells])
    return line.getvalue().encode("utf-8", "replace")


def header() -> bytes:
    """The first line."""
    return row(COLUMNS)


def record_row(record: StoredRecord, sha256: str) -> bytes:
    """The row of a record; `sha256` is its leaf's digest (hex of SHA-256 over the line)."""
    return row(
        [
            stamp(record.time_ms) or "",
            record.log,
            str(record.sequence),
            record.code,
            record.word,
            record.text_at("status_code") or "",
            record.message,
            str(record.count),
            record.account or "",
            record.device or "",
            record.protocol or "",
            record.text_at("dst_endpoint", "name") or "",
            record.address or "",
            _said(record.address_bits),
            record.text("conn") or "",
            " ".join(record.texts("rules")),
            " ".join(record.texts("matched")),
            record.text("phase") or "",
            record.text("posture") or "",
            record.text("binding") or "",
            " ".join(record.texts("exemptions")),
            record.text("policy_sha256") or "",
            record.text("evidence_sha256") or "",
            _said(record.facts.get("evidence_age_s")),
            record.text("evidence_src") or "",
            sha256,
        ]
    )


def _said(value: object) -> str:
    return str(value) if isinstance(value, int) else ""
