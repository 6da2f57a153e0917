"""What somebody looks for in the log: filters that a record has to fit, all of them.

Inside holds: `fits` alone decides; what narrows the search before (`needles`, an index) only ever leaves out what does
not fit.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

from gatekeeper.audit.stored import StoredRecord

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Filters; None: anything."""

    account: str | None = None
    device: str | None = None
    also: frozenset[str] = frozenset()
    """Pseudonyms of that account and that device: records fit that have one in the place of the name."""
    codes: frozenset[str] | None = None
    rule: str | None = None
    app: str | None = None
    """Id of a denied app, with or without its platform, case aside; `*` and `?` stand for what they do in a shell."""
    protocol: str | None = None
    conn: str | None = None
    network: Network | None = None
    """An address, or a network: records fit whose (cut) address overlaps it."""
    since: datetime | None = None
    until: datetime | None = None
    """Both inclusive."""

    def fits(self, record: StoredRecord) -> bool:
        """Whether a record fits every filter."""
        return all(self._checks(record))

    def _checks(self, record: StoredRecord) -> Iterator[bool]:
        yield self.since is None or record.time >= self.since
        yield self.until is None or record.time <= self.until
        yield self.codes is None or record.code in self.codes
        yield self.account is None or record.account == self.account or record.account in self.also
        yield self.device is None or record.device == self.device or record.device in self.also
        yield self.protocol is None or record.protocol == self.protocol
        yield self.conn is None or record.text("conn") == self.conn
        yield self.rule is None or self.rule in record.texts("rules")
        yield self.app is None or any(is_app(found, self.app) for found in record.texts("matched"))
        yield self.network is None or overlaps(record.address, record.address_bits, self.network)

    @property
    def is_indexed(self) -> bool:
        """Whether there is a filter that an index knows; time is none, for segments are named by it."""
        by_index = (self.account, self.device, self.codes, self.rule, self.app, self.conn, self.network)
        return any(filtered is not None for filtered in by_index)

    @property
    def needles(self) -> tuple[tuple[bytes, ...], ...]:
        """Octets of which, in each group, one stands in every line that fits.

        A line that lacks one is not worth parsing: ten times faster over a large log.
        """
        groups = [(self.account, *self.also) if self.account else (), (self.device, *self.also) if self.device else ()]
        groups += [(text,) for text in (self.protocol, self.conn, self.rule) if text]
        if self.codes is not None and len(self.codes) == 1:
            groups.append(tuple(self.codes))
        return tuple(tuple(map(_needle, group)) for group in groups if group)


def _needle(text: str | None) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")


def is_app(found: str, pattern: str) -> bool:
    """Whether the denied app `found` (`platform:id`) is one that `pattern` names."""
    name, wanted = found.casefold(), pattern.casefold()
    return fnmatchcase(name, wanted) or fnmatchcase(name.partition(":")[2], wanted)


def overlaps(address: str | None, prefix: int | None, network: Network) -> bool:
    """Whether a recorded address, of which `prefix` bits were kept, may be one of `network`."""
    recorded = None if address is None else recorded_network(address, prefix)
    if isinstance(recorded, IPv4Network) and isinstance(network, IPv4Network):
        return recorded.overlaps(network)
    return isinstance(recorded, IPv6Network) and isinstance(network, IPv6Network) and recorded.overlaps(network)


@lru_cache(maxsize=4096)
def recorded_network(address: str, prefix: int | None) -> Network | None:
    """The network that a recorded address stands for; without `prefix` it is whole. None: it is no address."""
    try:
        return ip_network(address if prefix is None else f"{address}/{prefix}", strict=False)
    except ValueError:
        return None
