"""`[audit]`: the audit log."""

import re
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from gatekeeper.config.sections.audit_remotes import read_shipping
from gatekeeper.config.sections.values import at_least
from gatekeeper.config.settings import AuditSettings
from gatekeeper.domain.document import Table
from gatekeeper.gate.outage import Existing

_KEY_NAME = re.compile(r"[!-*,-~]+", re.ASCII)  # c2sp.org/signed-note
_MEBIBYTE = 1 << 20


def read_audit(table: Table, hostname: str, state: Path) -> AuditSettings:
    """What the audit log is opened with, and where it is sent."""

    class Addresses(StrEnum):
        NETWORK = "network"
        FULL = "full"

    class Privacy(StrEnum):
        NAMES = "names"
        PSEUDONYMS = "pseudonyms"

    class Archive(StrEnum):
        ENCRYPTED = "encrypted"
        DIGEST = "digest"

    directory = Path(table.text("directory", "var/audit"))
    origin = table.text("origin", "gatekeeper.example/audit/1", max_length=128)
    if not origin or not _KEY_NAME.fullmatch(origin):
        table.fault("origin", "names the key that signs the log: printable ASCII, no spaces, no `+`")
    retention = table.duration("retention", "400d")
    if retention < timedelta(days=1):
        table.fault("retention", "is less than a day: records would go that nobody has looked at")
    full_addresses = table.choice("client_address", Addresses, Addresses.NETWORK) is Addresses.FULL
    is_pseudonymous = table.choice("privacy", Privacy, Privacy.NAMES) is Privacy.PSEUDONYMS
    if is_pseudonymous and full_addresses:
        table.fault("client_address", '`full` tells who somebody is: with `privacy = "pseudonyms"` it is `network`')
    settings = AuditSettings(
        directory=directory,
        origin=origin,
        signing_key=Path(table.text("signing_key", str(directory / "signing.key"))),
        full_addresses=full_addresses,
        is_pseudonymous=is_pseudonymous,
        identity_map=Path(table.text("identity_map", str(state / "identities.sqlite3"))),
        identity_key=Path(table.text("identity_key", str(state / "identity.key"))),
        is_archived=table.choice("archive", Archive, Archive.ENCRYPTED) is Archive.ENCRYPTED,
        archive_file=Path(table.text("archive_file", str(state / "archive.sqlite3"))),
        archive_key=Path(table.text("archive_key", str(state / "archive.key"))),
        retention=retention,
        fold=table.duration("fold", "1m"),
        segment_octets=table.integer("segment_octets", 64 * _MEBIBYTE, low=_MEBIBYTE, high=1024 * _MEBIBYTE),
        segment_age=at_least(table, "segment_age", "24h", timedelta(minutes=1)),
        compress=table.boolean("compress", default=True),
        compress_after=table.duration("compress_after", "0s"),
        existing=table.choice("existing", Existing, Existing.KEEP),
        shipping=read_shipping(table, hostname),
    )
    table.done()
    return settings
