"""The decisions in the log, read back quickly and with all that deciding again needs.

Inside holds: nothing read here is believed further than its type; what a record does not say is None, never guessed.
"""

from typing import NamedTuple

import msgspec

from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.posture import Assurance
from gatekeeper.domain.request import MailProtocol

# Only decisions have a binding: whatever else stands in the log is passed over without being parsed.
_MARK = b'"binding":"'
# Evidence is recorded with what the policy says of the device as well, but nobody logged in.
_OF_SESSIONS = "GK1"


class _Metadata(msgspec.Struct):
    sequence: int
    event_code: str


class _User(msgspec.Struct):
    name: str | None = None
    uid: str | None = None


class _Device(msgspec.Struct):
    uid: str | None = None


class _Endpoint(msgspec.Struct):
    name: str | None = None
    svc_name: str | None = None
    ip: str | None = None


class _Facts(msgspec.Struct):
    binding: Assurance | None = None
    binding_method: str = ""
    claimed_device: str | None = None
    judged: list[str] | None = None
    rules: list[str] = []
    policy_sha256: str | None = None
    src_prefix: int | None = None
    valid_until: str | None = None
    engine: str | None = None
    groups: list[str] | None = None
    groups_unknown: list[str] = []
    break_glass: str | None = None


class _Unmapped(msgspec.Struct):
    gatekeeper: _Facts


class _Record(msgspec.Struct):
    time: int
    metadata: _Metadata
    unmapped: _Unmapped
    status_code: str = ""
    count: int = 1
    start_time: int | None = None
    user: _User | None = None
    device: _Device | None = None
    src_endpoint: _Endpoint | None = None
    dst_endpoint: _Endpoint | None = None


_DECODER = msgspec.json.Decoder(_Record)
_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_PROTOCOLS = {protocol.value: protocol for protocol in MailProtocol}


class Decided(NamedTuple):
    """One recorded decision, or several alike that one record counts."""

    sequence: int
    code: str
    time_ms: int
    """When it was decided, rounded down; of counted ones, the last."""
    start_ms: int | None
    """Of counted ones, the first."""
    times: int
    verdict: Verdict
    rules: tuple[str, ...]
    account: str
    """Or a pseudonym, as each name here."""
    protocol: MailProtocol
    listener: str
    address: str | None
    """Of the phone, cut to `prefix` bits."""
    prefix: int | None
    """None: it is whole."""
    assurance: Assurance
    method: str
    claimed_device: str | None
    device: str | None
    judged: tuple[tuple[str, int], ...] | None
    """The devices that counted, each with the revision of its posture; None: not recorded."""
    policy_sha256: str
    engine: str | None
    groups: tuple[str, ...] | None = None
    """Groups of a directory that the policy names and the person was in; None: not recorded, or it names none."""
    groups_unknown: tuple[str, ...] = ()
    """Those of them of which it was not known."""
    is_waived: bool = False
    """Break-glass was open: whom the policy refused was let through."""


def read_decided(line: bytes) -> Decided | None:
    """The decision in a line; None: it holds none.

    Raises ValueError for a line that holds one and is damaged.
    """
    if _MARK not in line:
        return None
    try:
        record = _DECODER.decode(line)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a record of a decision: {error}") from error
    facts = record.unmapped.gatekeeper
    where = record.dst_endpoint or _Endpoint()
    verdict = _VERDICTS.get(record.status_code.partition(".")[0])
    protocol = _PROTOCOLS.get(where.svc_name or "")
    account = (record.user.name or record.user.uid) if record.user else None
    is_of_a_session = record.metadata.event_code.startswith(_OF_SESSIONS)
    if facts.binding is None or facts.policy_sha256 is None or not is_of_a_session:
        return None
    if verdict is None or protocol is None or account is None:
        raise ValueError("a decision without verdict, protocol or account")
    return Decided(
        sequence=record.metadata.sequence,
        code=record.metadata.event_code,
        time_ms=record.time,
        start_ms=record.start_time,
        times=max(1, record.count),
        verdict=verdict,
        rules=tuple(facts.rules),
        account=account,
        protocol=protocol,
        listener=where.name or "",
        address=record.src_endpoint.ip if record.src_endpoint else None,
        prefix=facts.src_prefix,
        assurance=facts.binding,
        method=facts.binding_method,
        claimed_device=facts.claimed_device,
        device=record.device.uid if record.device else facts.claimed_device,
        judged=None if facts.judged is None else tuple(_judged(text) for text in facts.judged),
        policy_sha256=facts.policy_sha256,
        engine=facts.engine,
        groups=None if facts.groups is None else tuple(facts.groups),
        groups_unknown=tuple(facts.groups_unknown),
        is_waived=facts.break_glass is not None,
    )


def _judged(text: str) -> tuple[str, int]:
    device_id, _, revision = text.rpartition("@")
    return device_id, int(revision)
