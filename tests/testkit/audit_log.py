"""Audit events and chained lines as tests need them, and a clock that stands still until it is told."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gatekeeper.adapters.sinks.compressor import compress
from gatekeeper.adapters.sinks.directory import segment_paths
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.audit.event import Event, EventCode
from gatekeeper.audit.record import FIRST_PREV, encode
from gatekeeper.audit.report import Head
from gatekeeper.domain.decision import Decision, Phase, Reason, Verdict
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Assurance, Binding, PostureState
from gatekeeper.domain.request import Connection, LoadBalancer, MailProtocol, ReportedTls

NOW = datetime(2020, 7, 10, 17, tzinfo=UTC)
ORIGIN = "tests.example/audit/1"

BLOCKED = Decision(
    verdict=Verdict.BLOCK,
    reasons=(Reason.APP_MATCH,),
    posture=PostureState.DENIED,
    binding=Binding(assurance=Assurance.PROVEN, method="client_certificate"),
    policy_sha256="a" * 64,
    valid_until=NOW + timedelta(hours=1),
    device_id=DeviceId("ph-001"),
    rule_ids=("no-tiktok",),
    matched=("ios:com.zhiliaoapp.musically",),
    phase=Phase.ENFORCE,
    evidence_sha256="b" * 64,
    evidence_source="company-agents",
    collected_at=NOW - timedelta(seconds=412),
    apps_count=143,
)


class StandingClock:
    """A wall clock that tests set."""

    def __init__(self, instant: datetime = NOW) -> None:
        self.instant = instant

    def now(self) -> datetime:
        return self.instant


def connection(
    conn: str = "c0", address: str = "198.51.100.77", protocol: MailProtocol = MailProtocol.IMAP
) -> Connection:
    return Connection(conn, protocol, "imaps", address, 40000, 9993)


def balanced_connection() -> Connection:
    """One that a load balancer brought, which says all that it can."""
    tls = ReportedTls(version="TLSv1.3", is_certificate_verified=True, common_name="ph-001")
    return replace(connection(), load_balancer=LoadBalancer("203.0.113.9", tls=tls))


def event(conn: str = "c0", code: EventCode = EventCode.BLOCKED_APP, **changed: object) -> Event:
    """A refused log-in, or what `changed` makes of it."""
    facts: dict[str, object] = {
        "code": code,
        "time": NOW,
        "connection": connection(conn),
        "account": "alice@example.com",
        "mechanism": "PLAIN",
        "decision": BLOCKED,
        "message": "Mail sign-in refused: TikTok is installed",
    }
    return Event(**(facts | changed))  # type: ignore[arg-type]  # tests name fields by keyword


def line(of: Event, sequence: int = 0, prev: str = FIRST_PREV, prefix: tuple[int, int] | None = (24, 48)) -> bytes:
    """The line of one event, without newline."""
    return encode(of, sequence=sequence, prev=prev, origin=ORIGIN, address_prefix=prefix)


def chained(events: Iterable[Event], after: Head | None = None) -> list[bytes]:
    """Lines with newlines, each chained to the one before."""
    lines: list[bytes] = []
    sequence, prev = (0, FIRST_PREV) if after is None else (after.sequence + 1, after.sha256)
    for one in events:
        made = line(one, sequence, prev)
        lines.append(made + b"\n")
        sequence, prev = sequence + 1, hashlib.sha256(made).hexdigest()
    return lines


def log_of(count: int) -> list[bytes]:
    """A log: opened, refusals, closed."""
    between = [event(f"c{number}") for number in range(count - 2)]
    opened = event(code=EventCode.LOG_OPENED, connection=None, decision=None, account=None, message="")
    closed = event(code=EventCode.LOG_CLOSED, connection=None, decision=None, account=None, message="")
    return chained([opened, *between, closed])


def head_of(lines: Sequence[bytes]) -> Head:
    """The head of a log that begins with record 0."""
    return Head(len(lines) - 1, hashlib.sha256(lines[-1].removesuffix(b"\n")).hexdigest())


def write_segments(directory: Path, *segments: Sequence[bytes]) -> list[Path]:
    """Put lines into segment files, named as the writer names them."""
    (directory / "segments").mkdir(parents=True, exist_ok=True)
    paths = []
    first = 0
    for lines in segments:
        path = directory / "segments" / f"{first:020d}-20200710T170000Z.jsonl"
        path.write_bytes(b"".join(lines))
        paths.append(path)
        first += len(lines)
    return paths


def pack_segments(directory: Path) -> list[Path]:
    """Compress all segments of a log but the last, as the gate does; returns what they are called."""
    *closed, last = segment_paths(directory)
    for segment in closed:
        if segment.exists():
            compress(segment, FileOperations())
    return [*closed, last]
