"""`[evidence]`: whose signed evidence is believed."""

from enum import StrEnum
from pathlib import Path

from gatekeeper.attestation.issuer import DEFAULT_DEVICE_URI_PREFIX, DEFAULT_EKU_OID, Issuer
from gatekeeper.config.settings import EvidenceSettings
from gatekeeper.domain.document import Table


class _IssuerKind(StrEnum):
    X5C = "x5c"
    KID = "kid"
    ANDROID_KEY = "android-key"


def read_evidence(root: Table) -> EvidenceSettings | None:
    """Issuers and audience; None when the section is not there."""
    table = root.table("evidence")
    tables = table.tables("issuer")
    if not tables and not table.has("audience"):
        table.done()
        return None
    issuers = []
    for item in tables:
        issuer = _issuer(item)
        item.done()
        if issuer is not None:
            issuers.append(issuer)
    settings = EvidenceSettings(audience=table.text("audience"), issuers=tuple(issuers))
    if not tables:
        table.fault("issuer", "at least one [[evidence.issuer]] is required")
    table.done()
    return settings


def _issuer(table: Table) -> Issuer | None:
    name = table.text("name", max_length=64)
    kind = table.choice("kind", _IssuerKind, _IssuerKind.X5C)
    if kind is not _IssuerKind.X5C:
        table.fault("kind", f"`{kind}` is not supported in this version (x5c)")
    ca = table.text("ca")
    eku_oid = table.text("eku_oid", DEFAULT_EKU_OID)
    prefix = table.text("device_uri_prefix", DEFAULT_DEVICE_URI_PREFIX)
    max_age = table.duration("max_age", "24h")
    if not ca:
        return None
    try:
        return Issuer(
            name=name,
            ca=Path(ca).read_bytes(),
            eku_oid=eku_oid,
            device_uri_prefix=prefix,
            max_age=max_age,
        )
    except OSError as error:
        table.fault("ca", f"`{ca}` cannot be read: {error.strerror}")
    except ValueError as error:
        table.fault("ca", f"`{ca}` or eku_oid cannot be used: {error}")
    return None
