"""Inventories: what an MDM server says about its devices, as JSON lines (one device a line) or CSV (one app a line).

INVARIANT: a file is read whole or not at all. Every bad line is reported with its number and reason, and then nothing
of the file comes out.
"""

import csv
import io
import math
import re
from collections.abc import Iterator
from datetime import datetime

from gatekeeper.attestation.record import read_report
from gatekeeper.attestation.strict_json import Json, NotStrictJson, loads, shown
from gatekeeper.domain.document import DocumentError, Fault
from gatekeeper.domain.identity import DEFAULT, IdentitySettings
from gatekeeper.domain.posture import Report

MAX_FILE_OCTETS = 256 * 1024 * 1024
MAX_LINE_OCTETS = 1024 * 1024
"""2,000 apps of 500 octets."""
MAX_FAULTS = 1_000
"""Faults that are told one by one; who has more has the wrong file."""

_LINE = re.compile(r"line (\d+)")
_BOM = b"\xef\xbb\xbf"
_CSV_DEVICE_COLUMNS = ("device_id", "user", "platform", "collected_at")
_CSV_APP_COLUMNS = {"app_id": "id", "app_name": "name", "version": "version"}
_CSV_COLUMNS = (*_CSV_DEVICE_COLUMNS, *_CSV_APP_COLUMNS)
_SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""What spreadsheets write in some countries, and on request."""
_CSV_OPTIONAL_COLUMNS = frozenset({"app_name", "version"})


def parse(data: bytes, *, source: str, now: datetime, names: IdentitySettings = DEFAULT) -> tuple[Report, ...]:
    """Read an inventory in the form that its name says, or else its first character. Raises `DocumentError`.

    Args:
        data: The file.
        source: Its name as the user gave it, for the faults.
        now: Reports from the future are refused.
        names: How their accounts are made canonical.
    """
    name = source.lower()
    if name.endswith(".csv"):
        return parse_csv(data, source=source, now=now, names=names)
    if name.endswith((".jsonl", ".ndjson", ".json")) or data.removeprefix(_BOM).lstrip()[:1] in (b"{", b"[", b""):
        return parse_jsonl(data, source=source, now=now, names=names)
    return parse_csv(data, source=source, now=now, names=names)


def parse_jsonl(data: bytes, *, source: str, now: datetime, names: IdentitySettings = DEFAULT) -> tuple[Report, ...]:
    """Read JSON lines. Raises `DocumentError`."""
    inventory = _Inventory(source, now, names)
    inventory.check_size(data)
    for number, raw in enumerate(io.BytesIO(data.removeprefix(_BOM)), start=1):
        line = raw.strip()
        if not line:
            continue
        if len(line) > MAX_LINE_OCTETS:
            inventory.fault(f"line {number}", f"longer than {MAX_LINE_OCTETS} octets")
            continue
        try:
            value = loads(line)
        except NotStrictJson as exc:
            inventory.fault(f"line {number}", str(exc))
            continue
        if not isinstance(value, dict):
            inventory.fault(f"line {number}", "must be one JSON object, one device a line")
            continue
        inventory.add(value, _JsonPlaces(number))
    return inventory.reports()


def parse_csv(data: bytes, *, source: str, now: datetime, names: IdentitySettings = DEFAULT) -> tuple[Report, ...]:
    """Read CSV with the columns `device_id,user,platform,collected_at,app_id,app_name,version`.

    The lines of a device need not stand together but must agree. A device without apps has one line with an empty
    `app_id`. Raises `DocumentError`.
    """
    inventory = _Inventory(source, now, names)
    inventory.check_size(data)
    groups: dict[str, _CsvDevice] = {}
    for number, row in _csv_rows(data, inventory):
        group = groups.setdefault(row["device_id"], _CsvDevice(number, row))
        reason = group.add(number, row)
        if reason:
            inventory.fault(f"line {number}", reason)
    for group in groups.values():
        inventory.add(group.members(), group)
    return inventory.reports()


class _Inventory:
    """The devices of one file, and what is wrong with it."""

    def __init__(self, source: str, now: datetime, names: IdentitySettings) -> None:
        self._source = source
        self._now = now
        self._names = names
        self._faults: list[Fault] = []
        self._unlisted = 0
        self._reports: dict[str, Report] = {}
        self._is_empty = True

    def fault(self, key: str, reason: str) -> None:
        self._is_empty = False
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(self._source, key, reason))
        else:
            self._unlisted += 1

    def check_size(self, data: bytes) -> None:
        """Raises `DocumentError` at once: a file that large is not looked into."""
        if len(data) > MAX_FILE_OCTETS:
            raise DocumentError([Fault(self._source, "", f"larger than {MAX_FILE_OCTETS} octets")])

    def add(self, members: dict[str, Json], places: "_JsonPlaces | _CsvDevice") -> None:
        self._is_empty = False
        report = read_report(
            members,
            now=self._now,
            names=self._names,
            fault=lambda path, reason: self.fault(places.place_of(path), reason),
        )
        if report is None:
            return
        known = self._reports.setdefault(report.device.device_id, report)
        if known.result.evidence_sha256 != report.result.evidence_sha256:
            self.fault(places.place_of("device_id"), "the same device stands in this file with different content")

    def reports(self) -> tuple[Report, ...]:
        if self._is_empty:
            self.fault("", "holds no device")
        if self._unlisted:
            self._faults.append(Fault(self._source, "", f"{self._unlisted} more faults are not listed"))
        if self._faults:
            raise DocumentError(sorted(self._faults, key=_line_of))
        return tuple(self._reports.values())


def _line_of(fault: Fault) -> float:
    """Faults are told in the order of the file; what is about all of it comes last."""
    found = _LINE.match(fault.key)
    return int(found[1]) if found else math.inf


class _JsonPlaces:
    """Where in a file the members of a JSON line stand."""

    def __init__(self, number: int) -> None:
        self._number = number

    def place_of(self, path: str) -> str:
        return f"line {self._number}: {path}" if path else f"line {self._number}"


class _CsvDevice:
    """The lines of one device in a CSV file, made into the members that a JSON line would have."""

    def __init__(self, number: int, row: dict[str, str]) -> None:
        self._first_line = number
        self._facts = {name: row[name] for name in _CSV_DEVICE_COLUMNS}
        self._apps: list[Json] = []
        self._lines: list[int] = []

    def add(self, number: int, row: dict[str, str]) -> str | None:
        """Take over the app of a line; a reason when the line contradicts the device's first one."""
        differing = [name for name, value in self._facts.items() if row[name] != value]
        if differing:
            return f"{', '.join(differing)} differs from line {self._first_line}, which is about the same device"
        if row["app_id"]:
            self._lines.append(number)
            self._apps.append({member: row[name] for name, member in _CSV_APP_COLUMNS.items() if row.get(name)})
        elif row.get("app_name") or row.get("version"):
            return "app_id is missing"
        return None

    def members(self) -> dict[str, Json]:
        return {**self._facts, "apps": self._apps}

    def place_of(self, path: str) -> str:
        index, _, member = path.removeprefix("apps[").partition("].")
        if path.startswith("apps[") and member:
            column = next((name for name, known in _CSV_APP_COLUMNS.items() if known == member), member)
            return f"line {self._lines[int(index)]}: {column}"
        return f"line {self._first_line}: {path}"


def _csv_rows(data: bytes, inventory: _Inventory) -> Iterator[tuple[int, dict[str, str]]]:
    """The well-formed lines after the header, with their numbers."""
    try:
        text = data.removeprefix(_BOM).decode("utf-8", "strict")
    except UnicodeDecodeError as exc:
        number = data.count(b"\n", 0, exc.start) + 1
        inventory.fault(f"line {number}", "is not UTF-8")
        return
    title = text[: text.find("\n")]
    other = next((said for separator, said in _SEPARATORS.items() if separator in title and "," not in title), None)
    if other is not None:
        inventory.fault("line 1", f"the columns are to be separated by commas, not by {other}")
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    first_line = 1  # of the row that is read next, which may have several
    try:
        for row in reader:
            first_line = reader.line_num + 1
            if not any(row):
                continue
            if header is None:
                header = [name.strip() for name in row]
                if not _is_usable(header, reader.line_num, inventory):
                    return
            elif len(row) != len(header):
                inventory.fault(f"line {reader.line_num}", f"has {len(row)} fields where the header has {len(header)}")
            else:
                yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as exc:
        to = f" (in line {reader.line_num}, to which its quotes go on)" if reader.line_num > first_line else ""
        inventory.fault(f"line {first_line}", f"not CSV: {exc}{to}")


def _is_usable(header: list[str], number: int, inventory: _Inventory) -> bool:
    missing = [name for name in _CSV_COLUMNS if name not in header and name not in _CSV_OPTIONAL_COLUMNS]
    unknown = [name for name in header if name not in _CSV_COLUMNS]
    if missing:
        inventory.fault(f"line {number}", f"the header lacks {', '.join(missing)}")
    if unknown:
        columns = ",".join(_CSV_COLUMNS)
        inventory.fault(f"line {number}", f"unknown column `{shown(unknown[0])}`; the columns are {columns}")
    if len(set(header)) != len(header):
        inventory.fault(f"line {number}", "the header names a column twice")
    return not missing and not unknown and len(set(header)) == len(header)
