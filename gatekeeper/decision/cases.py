"""Tests of a policy as text (`*.test.toml`): given devices, a session and a time, what is expected.

`read_cases` is total: any bytes give cases or a `DocumentError` with every fault.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import TypeVar

from gatekeeper.decision.schema_values import time_zone
from gatekeeper.decision.specimen import Specimen, account, read_device
from gatekeeper.domain.decision import Phase, Reason, Verdict
from gatekeeper.domain.document import DocumentError, Fault, Table, parse_toml, suggestion
from gatekeeper.domain.identity import DEFAULT, IdentitySettings
from gatekeeper.domain.posture import Assurance, Binding, PostureState, Subject
from gatekeeper.domain.request import MailProtocol, Request

MAX_OCTETS = 4 * 1024 * 1024
_SCHEMA = 1
_SOMETIME = datetime(2020, 1, 1, tzinfo=UTC)

E = TypeVar("E", bound=StrEnum)


class Tie(StrEnum):
    """What ties a session to its devices."""

    CLIENT_CERTIFICATE = "client_certificate"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a case expects; None: does not matter."""

    verdict: Verdict
    rules: tuple[str, ...] | None = None
    reasons: tuple[Reason, ...] | None = None
    posture: PostureState | None = None
    phase: Phase | None = None
    exemptions: tuple[str, ...] | None = None
    message: str | None = None
    """Stands in what the person is told."""
    deadline: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test."""

    name: str
    place: str
    """Where it stands: `policy.test.toml: test[3]`."""
    now: datetime
    subject: Subject
    request: Request
    expected: Expected
    groups: tuple[str, ...] | None = None
    """Groups of a directory that the person is in, by the policy's names, and in no other; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """The tests of one file."""

    source: str
    policy: str | None
    """The file that they test, relative to theirs; None: as its name says."""
    cases: tuple[Case, ...]


def read_cases(data: bytes, *, source: str, names: IdentitySettings = DEFAULT) -> Cases:
    """The tests in `data`; raises `DocumentError` with every fault."""
    faults: list[Fault] = []
    root = Table(parse_toml(data, source, MAX_OCTETS), source=source, faults=faults)
    cases = read_sheet(root, source=source, names=names)
    if faults:
        raise DocumentError(faults)
    return cases


def read_sheet(root: Table, *, source: str, names: IdentitySettings = DEFAULT) -> Cases:
    """The tests of a document; what is wrong with it goes to the faults of `root`."""
    if root.integer("schema", low=_SCHEMA, high=2**31) != _SCHEMA:
        root.fault("schema", f"must be {_SCHEMA}, the only version of these files there is")
    policy = root.optional_text("policy")
    zone = time_zone(root)
    shelf = root.table("device")
    devices = {name: read_device(shelf.table(name), name, names, zone) for name in list(shelf.names())}
    cases = tuple(
        _case(table, f"{source}: test[{index}]", devices, (names, zone))
        for index, table in enumerate(root.tables("test"))
    )
    if not root.has("test"):
        root.fault("test", "is required: at least one [[test]]")
    root.done()
    return Cases(source=source, policy=policy, cases=cases)


def _case(
    table: Table, place: str, devices: Mapping[str, Specimen], reading: tuple[IdentitySettings, tzinfo | None]
) -> Case:
    names, zone = reading
    now = table.instant("at", required=True, zone=zone or UTC) or _SOMETIME
    found = [devices[name] for name in _known(table, devices)]
    session = table.table("session")
    tie = session.choice("binding", Tie, Tie.CLIENT_CERTIFICATE if found else Tie.USER)
    owner = found[0].posture.device.account if found else ""
    protocol = session.choice("protocol", MailProtocol, MailProtocol.IMAP)
    request = Request(
        account=account(session, "user", names) if session.has("user") or not found else owner,
        protocol=protocol,
        listener=session.text("listener", protocol.value),
        client_address=session.text("address", ""),
        languages=session.texts("languages"),
    )
    groups = session.texts("groups") if session.has("groups") else None
    session.done()
    assurance = Assurance.USER if tie is Tie.USER else Assurance.PROVEN
    case = Case(
        name=table.text("name", max_length=1000),
        place=place,
        now=now,
        subject=Subject(
            binding=Binding(assurance=assurance, method=tie.value), postures=tuple(each.at(now) for each in found)
        ),
        request=request,
        expected=_expected(table.table("expect"), zone),
        groups=groups,
    )
    table.done()
    return case


def _known(table: Table, devices: Mapping[str, Specimen]) -> list[str]:
    """The names of the devices that count; none: a session of an unknown device."""
    found = []
    for index, name in enumerate(table.texts("devices")):
        if name in devices:
            found.append(name)
        else:
            near = suggestion(name, sorted(devices))
            table.fault(f"devices[{index}]", f"there is no [device.{name}]{near}")
    return found


def _expected(table: Table, zone: tzinfo | None) -> Expected:
    expected = Expected(
        verdict=table.choice("verdict", Verdict),
        rules=table.texts("rules") if table.has("rules") else None,
        reasons=_reasons(table) if table.has("reasons") else None,
        posture=_optional(table, "posture", PostureState),
        phase=_optional(table, "phase", Phase),
        exemptions=table.texts("exemptions") if table.has("exemptions") else None,
        message=table.optional_text("message"),
        deadline=table.instant("deadline", zone=zone or UTC),
        valid_until=table.instant("valid_until", zone=zone or UTC),
    )
    table.done()
    return expected


def _optional(table: Table, name: str, choices: type[E]) -> E | None:
    return table.choice(name, choices) if table.has(name) else None


def _reasons(table: Table) -> tuple[Reason, ...]:
    """In the order in which they stand."""
    given = table.texts("reasons")
    table.members("reasons", Reason)
    known = frozenset(reason.value for reason in Reason)
    return tuple(Reason(text) for text in given if text in known)
