"""The audit record: one event becomes one line of JSON, shaped as OCSF 1.8.0 plus `unmapped.gatekeeper`.

Inside holds: `encode` is a function of its arguments; a line is UTF-8 without a newline and never longer than
`MAX_RECORD`; no text in it has control or formatting characters; a client address is cut before anything else sees
it; only what `Event` and `Decision` carry can get in, so no credential and no app list beyond the denied matches.

It runs once or twice in every log-in, so it builds one dict and encodes it once. What the bytes of a line are is
final: the chain (`prev`), and later the leaves of the Merkle log, are taken over exactly these bytes.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import msgspec

from gatekeeper.audit.codes import (
    AUTHENTICATION,
    CLASSIFICATIONS,
    COMPLIANCE_FINDING,
    NETWORK_ACTIVITY,
    PRODUCT,
    SOFTWARE_INVENTORY,
)
from gatekeeper.audit.concealment import Concealment, Names
from gatekeeper.audit.event import Event
from gatekeeper.domain.decision import Decision
from gatekeeper.domain.posture import PostureState
from gatekeeper.domain.request import Connection, LoadBalancer

MAX_RECORD = 16 * 1024
"""Octets of a line without its newline; C2SP tlog-tiles gives an entry a 16-bit length, and syslog relays take less."""

FIRST_PREV = "0" * 64
"""`prev` of the first record of a log."""

ENGINE = "1"
"""Version of the decision procedure; raised when the same inputs would give another verdict."""

DEFAULT_ADDRESS_PREFIX = (24, 48)
"""Bits kept of an IPv4 and an IPv6 address: the usual cut of an anonymised address (one site, not one person)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)
_INT64 = 2**63

_JSON = msgspec.json.Encoder()  # the json module's octets, in a tenth of its time: a line is made twice a log-in

_PROFILES: dict[tuple[bool, bool], tuple[str, ...]] = {
    (False, False): (),
    (True, False): ("host",),
    (False, True): ("security_control",),
    (True, True): ("host", "security_control"),
}


_ABOUT_A_DEVICE = (COMPLIANCE_FINDING, SOFTWARE_INVENTORY)
_NOBODY = {"name": "unknown", "type_id": 0}
_NOWHERE = {"name": "unknown"}
_NO_DECISION: dict[str, object] = {
    "rules": [],
    "matched": [],
    "phase": None,
    "posture": None,
    "binding": None,
    "policy_sha256": None,
    "evidence_sha256": None,
    "evidence_age_s": None,
}


class _Caps(NamedTuple):
    """How much of what came from outside is kept."""

    text: int
    """Characters of one text."""
    items: int
    """Entries of one list."""
    details: int


_USUAL = _Caps(text=512, items=64, details=32)
# When the usual caps do not fit: about 60 texts of at most 48 characters of at most 4 octets stay below MAX_RECORD.
_TIGHT = _Caps(text=48, items=4, details=8)

RULES_KEPT = frozenset({_USUAL.items, _TIGHT.items})
"""A record with so many rules may have had more."""


def encode(
    event: Event,
    *,
    sequence: int,
    prev: str,
    origin: str,
    address_prefix: tuple[int, int] | None,
    names: Names | None = None,
) -> bytes:
    """The line of `event`, without newline.

    Args:
        event: what happened.
        sequence: index of the record in its log, from 0.
        prev: SHA-256 (hex) of the line before; `FIRST_PREV` for the first.
        origin: name of the log.
        address_prefix: bits kept of IPv4 and IPv6 client addresses; None keeps whole addresses.
        names: where pseudonyms come from; None keeps names.
    """
    hidden = None if names is None else Concealment(event, names)
    record = _record(event, (sequence, prev, origin), address_prefix, hidden, _USUAL)
    line = _JSON.encode(record)
    if len(line) > MAX_RECORD:
        record = _record(event, (sequence, prev, origin), address_prefix, hidden, _TIGHT)
        line = _JSON.encode(record)
    return line


def milliseconds(instant: datetime) -> int:
    """Milliseconds since 1970 (OCSF `timestamp_t`), rounded down."""
    return (instant - _EPOCH) // _MILLISECOND


def clean(text: str, limit: int = _USUAL.text) -> str:
    """`text` without control, formatting, separator and surrogate characters, at most `limit` characters long."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _record(
    event: Event,
    place: tuple[int, str, str],
    address_prefix: tuple[int, int] | None,
    hidden: Concealment | None,
    caps: _Caps,
) -> dict[str, object]:
    sequence, prev, origin = place
    row = CLASSIFICATIONS[event.code]
    decision = event.decision
    device = _device(event, hidden, caps)
    message = event.message if hidden is None else hidden.text(event.message)
    is_on_host = device is not None or event.account is not None
    record: dict[str, object] = {
        **row.fixed,
        "time": milliseconds(event.time),
        "message": clean(message, caps.text) or row.title,
        "metadata": {
            "version": "1.8.0",
            "uid": f"{origin}#{sequence}",
            "sequence": sequence,
            "event_code": event.code,
            "profiles": _PROFILES[is_on_host, row.is_security_control],
            "product": PRODUCT,
        },
    }
    if event.count != 1:
        record["count"] = event.count
    if event.start_time is not None:
        record["start_time"] = milliseconds(event.start_time)
        record["end_time"] = record["time"]
    if decision is not None:
        record["status_code"] = f"{decision.verdict}.{decision.reasons[0]}"
        if row.is_security_control:
            record["policy"] = {
                "uid": "gatekeeper",
                "version": clean(decision.policy_sha256, 64)[:12],
                "is_applied": True,
            }
    _add_people(record, event, device, (row.class_uid, hidden), caps)
    facts: dict[str, object] = {"v": 1, "log": origin, "prev": prev}
    _add_connection(record, facts, event.connection, (row.class_uid, hidden), address_prefix)
    _add_decision(facts, event, hidden, caps)
    if event.detail:
        _add_detail(facts, event, hidden, caps)
    record["unmapped"] = {"gatekeeper": facts}
    return record


def _device(event: Event, hidden: Concealment | None, caps: _Caps) -> dict[str, object] | None:
    """The device the event is about: the decision's, else the one that `detail["device_id"]` names."""
    decision = event.decision
    if decision is None:
        uid = event.detail.get("device_id")
        return None if uid is None else {"uid": _device_name(str(uid), hidden, caps), "type_id": 0}
    if decision.device_id is None:
        return None
    device: dict[str, object] = {"uid": _device_name(decision.device_id, hidden, caps), "type_id": 0}
    if decision.posture is PostureState.CLEAN:
        device["is_compliant"] = True
    elif decision.posture is PostureState.DENIED:
        device["is_compliant"] = False
    return device


def _device_name(device_id: str, hidden: Concealment | None, caps: _Caps) -> str:
    return clean(device_id, caps.text) if hidden is None else hidden.device(device_id)


def _user(account: str, hidden: Concealment | None, caps: _Caps) -> dict[str, object]:
    """A person: by name, or by a pseudonym, which OCSF calls a unique id."""
    if hidden is None:
        return {"name": clean(account, caps.text), "type_id": 1}
    return {"uid": hidden.person(account), "type_id": 1}


def _add_people(
    record: dict[str, object],
    event: Event,
    device: dict[str, object] | None,
    of: tuple[int, Concealment | None],
    caps: _Caps,
) -> None:
    """Who and on what device, where the class has a place for it."""
    class_uid, hidden = of
    user = None if event.account is None else _user(event.account, hidden, caps)
    if class_uid == AUTHENTICATION:
        record["user"] = user or _NOBODY  # the class asks for a user
        if event.mechanism is not None:
            record["auth_protocol_id"] = 99
            record["auth_protocol"] = clean(event.mechanism, 32)
    elif class_uid in _ABOUT_A_DEVICE:
        device = device or {"uid": "unknown", "type_id": 0}
        if user is not None:
            device["owner"] = user
        if class_uid == COMPLIANCE_FINDING:
            record["finding_info"] = {"uid": device["uid"], "title": record["message"]}
    elif user is not None:
        record["actor"] = {"user": user}
    if device is not None:
        record["device"] = device


def _add_connection(
    record: dict[str, object],
    facts: dict[str, object],
    connection: Connection | None,
    of: tuple[int, Concealment | None],
    address_prefix: tuple[int, int] | None,
) -> None:
    """Where it happened: our listener, the client's (cut) address, the id of the connection."""
    class_uid, hidden = of
    if connection is None:
        facts["conn"] = None
        if class_uid in (AUTHENTICATION, NETWORK_ACTIVITY):
            record["dst_endpoint"] = _NOWHERE  # the class asks for an endpoint
        return
    facts["conn"] = clean(connection.conn, 64)
    if class_uid == AUTHENTICATION:
        record["service"] = {"name": connection.protocol}
    if class_uid not in (AUTHENTICATION, NETWORK_ACTIVITY):
        return
    ip, kept = _cut_address(connection.client_address, address_prefix)
    if address_prefix is None:
        record["src_endpoint"] = {**ip, "port": connection.client_port}
    else:
        record["src_endpoint"] = ip
        if kept is not None:
            facts["src_prefix"] = kept
    record["dst_endpoint"] = {
        "name": clean(connection.listener, 64),
        "svc_name": connection.protocol,
        "port": connection.server_port,
    }
    if connection.load_balancer is not None:
        _add_load_balancer(facts, connection.load_balancer, hidden)


def _add_load_balancer(facts: dict[str, object], balancer: LoadBalancer, hidden: Concealment | None) -> None:
    """Who brought the connection, whole: no person's address. What it says of the phone's TLS session is hearsay."""
    facts["via"] = clean(balancer.address, 64)
    if balancer.tls is not None:
        facts["via_tls"] = clean(balancer.tls.version, 16)
        facts["via_certificate_verified"] = balancer.tls.is_certificate_verified
        if balancer.tls.common_name is not None:
            name = balancer.tls.common_name
            facts["via_common_name"] = clean(name, 64) if hidden is None else hidden.device(name)


@lru_cache(maxsize=4096)
def _cut_address(address: str, address_prefix: tuple[int, int] | None) -> tuple[dict[str, str], int | None]:
    """`address` with its host bits zeroed as an OCSF endpoint, and the bits kept.

    Remembered: phones come back from the same addresses all day. What is no address (a Unix socket) is not shown.
    """
    parsed: IPv4Address | IPv6Address
    try:
        parsed = IPv6Address(address.partition("%")[0]) if ":" in address else IPv4Address(address)
    except ValueError:
        return {"name": "unknown"}, None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if address_prefix is None:
        return {"ip": str(parsed)}, None
    bits = address_prefix[parsed.version == 6]
    host_bits = parsed.max_prefixlen - bits
    return {"ip": str(type(parsed)(int(parsed) >> host_bits << host_bits))}, bits


def _add_decision(facts: dict[str, object], event: Event, hidden: Concealment | None, caps: _Caps) -> None:
    """Why: the contract's keys stand in every record, the others where they are known."""
    decision = event.decision
    if decision is None:
        facts.update(_NO_DECISION)
        return
    binding = decision.binding
    facts["rules"] = _cleaned(decision.rule_ids, caps)
    facts["matched"] = _cleaned(decision.matched, caps)
    facts["phase"] = decision.phase
    facts["posture"] = decision.posture
    facts["binding"] = binding.assurance
    facts["binding_method"] = clean(binding.method, 64)
    facts["reasons"] = decision.reasons[: caps.items]
    facts["policy_sha256"] = clean(decision.policy_sha256, 64)
    facts["evidence_sha256"] = None if decision.evidence_sha256 is None else clean(decision.evidence_sha256, 64)
    facts["evidence_age_s"] = None if decision.collected_at is None else (event.time - decision.collected_at) // _SECOND
    if decision.evidence_source is not None:
        facts["evidence_src"] = clean(decision.evidence_source, caps.text)
    if decision.apps_count is not None:
        facts["apps_n"] = decision.apps_count
    if decision.exemptions:
        named = decision.exemptions if hidden is None else tuple(map(hidden.text, decision.exemptions))
        facts["exemptions"] = _cleaned(named, caps)
    if decision.valid_until is not None:
        facts["valid_until"] = decision.valid_until.isoformat()
    if binding.claimed_device is not None and binding.claimed_device != decision.device_id:
        facts["claimed_device"] = _device_name(binding.claimed_device, hidden, caps)
    if decision.groups is not None and _is_kept_whole((*decision.groups, *decision.groups_unknown), caps):
        facts["groups"] = decision.groups
        if decision.groups_unknown:
            facts["groups_unknown"] = decision.groups_unknown
    facts["judged"] = _judged(decision, hidden, caps)
    facts["engine"] = ENGINE


def _judged(decision: Decision, hidden: Concealment | None, caps: _Caps) -> list[str] | None:
    """Each device that counted, with the revision of its posture: `replay` finds there what was decided on.

    None rather than a part of it: a decision cannot be performed again on some of its devices.
    """
    if len(decision.judged) > caps.items or any(len(device_id) > caps.text for device_id, _ in decision.judged):
        return None
    return [f"{_device_name(device_id, hidden, caps)}@{revision}" for device_id, revision in decision.judged]


def _is_kept_whole(names: tuple[str, ...], caps: _Caps) -> bool:
    """As with devices: none rather than a part. A policy's names have letters, digits and `._@-` only."""
    return len(names) <= caps.items and all(len(name) <= caps.text for name in names)


def _cleaned(texts: tuple[str, ...], caps: _Caps) -> list[str]:
    return [clean(text, caps.text) for text in texts[: caps.items]]


def _add_detail(facts: dict[str, object], event: Event, hidden: Concealment | None, caps: _Caps) -> None:
    """The event's own facts; they never replace what is already said."""
    for count, (name, value) in enumerate(event.detail.items()):
        if count == caps.details:
            facts["cut"] = True
            return
        key = clean(name, 48)
        if facts.get(key) is not None:
            continue
        if isinstance(value, int):
            facts[key] = max(-_INT64, min(value, _INT64 - 1))
        else:
            facts[key] = clean(value if hidden is None else hidden.fact(name, value), caps.text)
