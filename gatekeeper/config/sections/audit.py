"""`[audit]`: the audit log."""

from enum import StrEnum
from pathlib import Path

from gatekeeper.config.settings import AuditSettings
from gatekeeper.domain.document import Table


def read_audit(table: Table, notes: list[str]) -> AuditSettings:
    """What the audit log is opened with."""

    class Addresses(StrEnum):
        NETWORK = "network"
        FULL = "full"

    if table.optional_text("signing_key") is not None:
        notes.append("audit.signing_key: has no effect yet; records are chained, not signed, in this version")
    settings = AuditSettings(
        directory=Path(table.text("directory", "var/audit")),
        origin=table.text("origin", "gatekeeper.example/audit/1", max_length=128),
        full_addresses=table.choice("client_address", Addresses, Addresses.NETWORK) is Addresses.FULL,
        fold=table.duration("fold", "1m"),
    )
    table.done()
    return settings
