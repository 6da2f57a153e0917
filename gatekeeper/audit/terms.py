"""What an index of the log remembers of a line: the words that it can be found by.

Inside holds: the terms of a line are those that `Wanted.fits` compares; a line that is a record for `stored.read` has
terms, whatever else is wrong with it.
"""

from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import msgspec

from gatekeeper.audit.stored import LATEST_MS, StoredRecord, read
from gatekeeper.audit.wanted import Network, recorded_network


class Kind(IntEnum):
    """What a term is; the numbers stand in indexes."""

    ACCOUNT = 1
    DEVICE = 2
    CODE = 3
    RULE = 4
    APP = 5
    ADDRESS_4 = 6
    ADDRESS_6 = 7
    CONN = 8


class Terms(NamedTuple):
    """Of one line."""

    time_ms: int
    words: tuple[tuple[int, bytes], ...]
    """Kind and key."""


def terms_of(line: bytes) -> Terms:
    """The terms of a line.

    Raises:
        ValueError: it is no record.
    """
    try:
        record = _DECODER.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return _terms_of_odd(read(line))  # a field of a wrong type, which reads as absent
    if not 0 <= record.time <= LATEST_MS:
        raise ValueError("`time` is out of range")
    facts = record.unmapped.gatekeeper
    device = record.device.uid if record.device else None
    account = _named(record.user)
    if account is None:
        account = _elsewhere(record)
    return Terms(
        record.time,
        _words(
            account,
            device or facts.claimed_device,
            record.metadata.event_code,
            facts.rules,
            facts.matched,
            (record.src_endpoint.ip if record.src_endpoint else None, facts.src_prefix),
            facts.conn,
        ),
    )


def network_key(network: Network) -> tuple[Kind, bytes]:
    """Kind and key of a network: networks in it have keys that follow on it, up to `last_key`."""
    kind = Kind.ADDRESS_4 if network.version == 4 else Kind.ADDRESS_6
    return kind, network.network_address.packed + bytes([network.prefixlen])


def last_key(network: Network) -> bytes:
    """No key of a network in this one is greater."""
    return network.broadcast_address.packed + b"\xff"


def _terms_of_odd(record: StoredRecord) -> Terms:
    return Terms(
        record.time_ms,
        _words(
            record.account,
            record.device,
            record.code,
            record.texts("rules"),
            record.texts("matched"),
            (record.address, record.address_bits),
            record.text("conn"),
        ),
    )


def _elsewhere(record: "_Record") -> str | None:
    """The account of a record whose class has no place for it at the top."""
    actor = _named(record.actor.user)
    return actor if actor is not None else _named(record.device.owner if record.device else None)


def _named(user: "_User | None") -> str | None:
    if user is None:
        return None
    return user.uid if user.name is None else user.name


def _words(  # noqa: PLR0913, PLR0917  one argument a kind
    account: str | None,
    device: str | None,
    code: str,
    rules: list[str] | tuple[str, ...],
    apps: list[str] | tuple[str, ...],
    address: tuple[str | None, int | None],
    conn: str | None,
) -> tuple[tuple[int, bytes], ...]:
    words: list[tuple[int, bytes]] = [(3, _key(code))]
    if account is not None:
        words.append((1, _key(account)))
    if device is not None:
        words.append((2, _key(device)))
    if conn is not None:
        words.append((8, _key(conn)))
    words += [(4, _key(rule)) for rule in rules]
    words += [(5, _key(app)) for app in apps]
    if address[0] is not None:
        key = _address_key(*address)
        if key is not None:
            words.append(key)
    return tuple(words)


@lru_cache(maxsize=65_536)
def _address_key(address: str, prefix: int | None) -> tuple[int, bytes] | None:
    """Of a recorded address; remembered, for phones come back from the same networks all day."""
    network = recorded_network(address, prefix)
    return None if network is None else network_key(network)


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class _User(msgspec.Struct, gc=False):
    name: str | None = None
    uid: str | None = None


class _Actor(msgspec.Struct, gc=False, frozen=True):
    user: _User | None = None


class _Device(msgspec.Struct, gc=False):
    uid: str | None = None
    owner: _User | None = None


class _Endpoint(msgspec.Struct, gc=False):
    ip: str | None = None


class _Metadata(msgspec.Struct, gc=False):
    event_code: str


class _Facts(msgspec.Struct, gc=False):
    conn: str | None = None
    rules: list[str] = []
    matched: list[str] = []
    claimed_device: str | None = None
    src_prefix: int | None = None


class _Unmapped(msgspec.Struct, gc=False):
    gatekeeper: _Facts


class _Record(msgspec.Struct, gc=False):
    time: int
    metadata: _Metadata
    unmapped: _Unmapped
    user: _User | None = None
    actor: _Actor = _Actor()
    device: _Device | None = None
    src_endpoint: _Endpoint | None = None


_DECODER = msgspec.json.Decoder(_Record)
