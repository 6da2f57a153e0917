"""Where the names in the audit log come from: the identity map of a configuration, when it wants pseudonyms."""

from gatekeeper.adapters.sinks.identities import IdentityMap, open_identities
from gatekeeper.config.settings import AuditSettings


def open_names(audit: AuditSettings) -> IdentityMap | None:
    """The map that the log's writer makes pseudonyms with; None: records have names. Raises AuditLogError."""
    return open_identities(audit.identity_map, audit.identity_key) if audit.is_pseudonymous else None
