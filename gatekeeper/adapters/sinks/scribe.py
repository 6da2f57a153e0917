"""An event becomes the next line of a chain.

Inside holds: a chain moves on only when its line was made; where records have pseudonyms, no line has a name.
"""

import hashlib

from gatekeeper.adapters.sinks.identities import IdentityMap
from gatekeeper.adapters.sinks.writer import Chain
from gatekeeper.audit.event import Event
from gatekeeper.audit.record import encode


class Scribe:
    """Writes for one log."""

    def __init__(self, origin: str, *, address_prefix: tuple[int, int] | None, names: IdentityMap | None) -> None:
        self._origin = origin
        self._address_prefix = address_prefix
        self._names = names

    def line(self, event: Event, chain: Chain) -> tuple[bytes, str]:
        """The line, without its newline, and its SHA-256.

        Raises:
            AuditLogError: no pseudonym can be made.
        """
        return self._line(event, chain, self._origin)

    def line_of_known(self, event: Event, chain: Chain, origin: str) -> tuple[bytes, str]:
        """A line of another log, while the disk takes nothing, hence no names: only who is in the map gets one."""
        if self._names is None:
            return self._line(event, chain, origin)
        with self._names.nobody_new():
            return self._line(event, chain, origin)

    def _line(self, event: Event, chain: Chain, origin: str) -> tuple[bytes, str]:
        line = encode(
            event,
            sequence=chain.sequence,
            prev=chain.prev,
            origin=origin,
            address_prefix=self._address_prefix,
            names=self._names,
        )
        digest = hashlib.sha256(line).hexdigest()
        chain.sequence += 1
        chain.prev = digest
        return line, digest
