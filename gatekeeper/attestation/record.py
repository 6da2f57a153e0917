"""One device of an inventory: checked members in, a `Report` out.

INVARIANT: either a report comes back and no fault was reported, or none comes back and every fault was.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias, TypeVar

from gatekeeper.attestation.bounds import CLOCK_SKEW, MAX_APPS, MAX_NAME_LENGTH, MAX_VERSION_LENGTH, flaw, name_flaw
from gatekeeper.attestation.strict_json import Json, shown
from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.device import Device, DeviceClass, DeviceId, Ownership, Platform, default_device_class
from gatekeeper.domain.identity import DEFAULT, IdentitySettings, canonical_account
from gatekeeper.domain.posture import AttestationResult, DeviceFlag, Report, Scope

FaultSink: TypeAlias = Callable[[str, str], None]
"""Takes the path inside the record (`apps[3].id`, empty: the record) and the reason."""

E = TypeVar("E", bound=StrEnum)

DEFAULT_SOURCE = "inventory"
_REQUIRED = ("device_id", "user", "platform", "collected_at", "apps")
_MEMBERS = (
    *_REQUIRED,
    "device_class",
    "ownership",
    "source",
    "scope",
    "complete",
    "identifiers",
    "os_version",
    "flags",
)
_APP_MEMBERS = ("id", "name", "version", "version_code", "signer_sha256", "publisher", "installer")
_MAX_IDENTIFIERS = 32
_MAX_SIGNERS = 16
_MAX_DISPLAY_LENGTH = 1024
_MAX_VERSION_CODE = 2**63 - 1
"""Android's longVersionCode."""
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_IDENTIFIER_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?P<zone>[Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def read_report(
    members: dict[str, Json], *, now: datetime, fault: FaultSink, names: IdentitySettings = DEFAULT
) -> Report | None:
    """The report that the members of one record make; None after the last fault was reported."""
    faulty = False

    def note(path: str, reason: str) -> None:
        nonlocal faulty
        faulty = True
        fault(path, reason)

    record = _Record(members, "", note)
    report = _report(record, now, digest(members), names)
    record.refuse_unknown(_MEMBERS)
    return None if faulty else report


def digest(members: dict[str, Json]) -> str:
    """SHA-256 of the canonical octets of a record: neither spacing nor the order of members changes it."""
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _report(record: "_Record", now: datetime, evidence_sha256: str, names: IdentitySettings) -> Report | None:
    platform = record.choice("platform", Platform, required=True)
    device_id = record.name("device_id")
    account = _account(record, names)
    collected_at = _collected_at(record, now)
    device_class = record.choice("device_class", DeviceClass)
    ownership = record.choice("ownership", Ownership)
    source = record.name("source") if "source" in record.members else DEFAULT_SOURCE
    scope = record.choice("scope", Scope)
    complete = record.boolean("complete", default=True)
    identifiers = _identifiers(record)
    os_version = record.optional_text("os_version", MAX_VERSION_LENGTH) if "os_version" in record.members else None
    flags = _flags(record)
    apps = _apps(record)
    if platform is None or collected_at is None:
        return None
    return Report(
        device=Device(
            device_id=DeviceId(device_id),
            account=account,
            platform=platform,
            device_class=device_class or default_device_class(platform),
            ownership=ownership,
            identifiers=identifiers,
        ),
        result=AttestationResult(
            source=source,
            scope=scope or Scope.FULL,
            complete=complete,
            collected_at=collected_at,
            evidence_sha256=evidence_sha256,
            apps=apps,
            os_version=os_version,
            flags=flags,
        ),
    )


def _account(record: "_Record", names: IdentitySettings) -> str:
    login = record.name("user")
    account = canonical_account(login, names)
    if login and account is None:
        record.fault("user", "is not a mail login that can be compared safely (ASCII letters, digits and . _ - + @)")
    return account or ""


def _collected_at(record: "_Record", now: datetime) -> datetime | None:
    text = record.name("collected_at")
    match = _RFC3339.fullmatch(text)
    instant = _instant(text) if match else None
    if not text:
        return None
    if match is None or instant is None:
        record.fault("collected_at", "is not a date and time such as 2020-07-10T16:20:00Z")
        return None
    if match["zone"] is None:
        record.fault("collected_at", "has no time zone; end it with Z for UTC or with an offset such as -07:00")
        return None
    if instant > now + CLOCK_SKEW:
        record.fault("collected_at", "lies in the future")
        return None
    return instant


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text.upper())
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _identifiers(record: "_Record") -> dict[str, str]:
    values = record.members.get("identifiers", {})
    if not isinstance(values, dict):
        record.fault("identifiers", "must be an object")
        return {}
    if len(values) > _MAX_IDENTIFIERS:
        record.fault("identifiers", f"holds more than {_MAX_IDENTIFIERS} names")
        return {}
    table = _Record(values, "identifiers", record.report)
    for name in values:
        if not _IDENTIFIER_NAME.fullmatch(name):
            table.fault(shown(name), "must be a lower_snake name of at most 64 characters")
        elif name == "device_id":
            table.fault(name, "is the device's own id, not one of its other names")
    return {name: table.name(name) for name in values}


def _flags(record: "_Record") -> dict[DeviceFlag, bool]:
    """What is said of each flag; null: nothing."""
    values = record.members.get("flags", {})
    if not isinstance(values, dict):
        record.fault("flags", "must be an object")
        return {}
    table = _Record(values, "flags", record.report)
    known = tuple(flag.value for flag in DeviceFlag)
    table.refuse_unknown(known)
    said = [name for name in values if name in known and values[name] is not None]
    return {DeviceFlag(name): table.boolean(name, default=True) for name in said}


def _apps(record: "_Record") -> AppList:
    values = record.members.get("apps")
    if not isinstance(values, list):
        record.fault("apps", "must be a list" if "apps" in record.members else "is required")
        return AppList(())
    if len(values) > MAX_APPS:
        record.fault("apps", f"lists more than {MAX_APPS} apps")
        return AppList(())
    return AppList(_app(value, f"apps[{index}]", record.report) for index, value in enumerate(values))


def _app(value: Json, path: str, report: FaultSink) -> App:
    if not isinstance(value, dict):
        report(path, "must be an object")
        return App(id="")
    entry = _Record(value, path, report)
    entry.refuse_unknown(_APP_MEMBERS)
    return App(
        id=entry.name("id"),
        name=entry.optional_text("name", _MAX_DISPLAY_LENGTH),
        version=entry.optional_text("version", MAX_VERSION_LENGTH),
        version_code=_version_code(entry),
        signer_sha256=_signers(entry),
        publisher=entry.optional_text("publisher", _MAX_DISPLAY_LENGTH),
        installer=entry.optional_text("installer", MAX_NAME_LENGTH),
    )


def _version_code(entry: "_Record") -> int | None:
    value = entry.members.get("version_code")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_VERSION_CODE:
        entry.fault("version_code", "must be a whole number of at most 63 bits")
        return None
    return value


def _signers(entry: "_Record") -> tuple[str, ...]:
    value = entry.members.get("signer_sha256")
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    digests = tuple(item.lower() for item in values if isinstance(item, str) and _SHA256.fullmatch(item))
    if len(digests) != len(values) or len(digests) > _MAX_SIGNERS:
        entry.fault("signer_sha256", f"must be a SHA-256 of 64 hex digits, or a list of at most {_MAX_SIGNERS}")
        return ()
    return digests


class _Record:
    """The members of one object, read by name. A null in an optional fact of an app reads as absent, elsewhere not."""

    __slots__ = ("members", "path", "report")

    def __init__(self, members: dict[str, Json], path: str, report: FaultSink) -> None:
        self.members = members
        self.path = path
        self.report = report

    def fault(self, name: str, reason: str) -> None:
        self.report(f"{self.path}.{name}" if self.path else name, reason)

    def name(self, name: str) -> str:
        """A required text that names something; empty after a fault."""
        value = self.members.get(name)
        if not isinstance(value, str):
            self.fault(name, "must be a text" if name in self.members else "is required")
            return ""
        problem = name_flaw(value)
        if problem:
            self.fault(name, problem)
            return ""
        return value

    def optional_text(self, name: str, max_length: int) -> str | None:
        value = self.members.get(name)
        if value is None:
            return None
        problem = flaw(value, max_length) if isinstance(value, str) else "must be a text"
        if not isinstance(value, str) or problem:
            self.fault(name, problem or "")
            return None
        return value

    def choice(self, name: str, choices: type[E], *, required: bool = False) -> E | None:
        if name not in self.members:
            if required:
                self.fault(name, "is required")
            return None
        value = self.members[name]
        if not isinstance(value, str):
            self.fault(name, "must be a text")
            return None
        if value not in frozenset(choices):
            self.fault(name, f"`{shown(value)}` is not one of {', '.join(choices)}{_nearest(value, tuple(choices))}")
            return None
        return choices(value)

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.members.get(name, default)
        if not isinstance(value, bool):
            self.fault(name, "must be true or false")
            return default
        return value

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        for name in self.members:
            if name not in known:
                self.fault(shown(name), f"unknown key{_nearest(name, known)}")


def _nearest(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word[:MAX_NAME_LENGTH], known, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""
