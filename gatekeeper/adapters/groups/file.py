"""The port `ports.groups` on a file that a directory exports: CSV (`group,user`, one membership a line) or TOML.

All or nothing: a file with one fault is not used at all, because a member who is left out could be one of whom a rule
holds, or one who is exempt.
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from os import stat_result
from pathlib import Path
from types import MappingProxyType

from gatekeeper.domain.document import DocumentError, Fault, Table, parse_toml
from gatekeeper.domain.identity import DEFAULT, IdentitySettings, canonical_account

MAX_OCTETS = 64 * 1024 * 1024
"""A million memberships."""
MAX_FAULTS = 1_000
_COLUMNS = ("group", "user")


class GroupFile:
    """Implements `ports.groups.Groups`."""

    def __init__(self, path: Path, names: IdentitySettings = DEFAULT) -> None:
        self._path = path
        self._names = names
        self._read_at: tuple[int, int, int] | None = None
        self._last: Mapping[str, frozenset[str]] | None = None
        """What it said when it was read, if it was good."""

    def has_changed(self) -> bool:
        """Whether the file is another than was read: replaced, written to, or gone."""
        return self._mark() != self._read_at

    def members(self) -> Mapping[str, frozenset[str]]:
        """Read the file, unless it is the one that was read last. Raises `DocumentError`."""
        mark = self._mark()
        if self._last is not None and mark is not None and mark == self._read_at:
            return self._last
        self._read_at, self._last = mark, None
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_OCTETS + 1)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise DocumentError([Fault(str(self._path), "", f"cannot be read: {reason}")]) from error
        self._last = read_groups(data, source=str(self._path), names=self._names)
        return self._last

    def learn(self, wanted: Collection[str]) -> tuple[str, ...]:
        """What the file does not have; what it has is known already."""
        try:
            known = self.members()
        except DocumentError as error:
            return (str(error.faults[0]),)
        return tuple(f"`{group}`: {self._path} has no such group" for group in sorted(wanted) if group not in known)

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found: stat_result = self._path.stat()
        except (OSError, ValueError):
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def read_groups(data: bytes, *, source: str, names: IdentitySettings = DEFAULT) -> Mapping[str, frozenset[str]]:
    """The members of each group; `source` ends in `.toml` or is CSV. Raises `DocumentError` with every fault."""
    faults: list[Fault] = []
    if len(data) > MAX_OCTETS:
        raise DocumentError([Fault(source, "", f"larger than {MAX_OCTETS} octets")])
    memberships = _toml(data, source, faults) if source.endswith(".toml") else _csv(data, source, faults)
    found: dict[str, set[str]] = {}
    for place, group, login in memberships:
        members = found.setdefault(group, set())
        if login is None:
            continue
        account = canonical_account(login, names)
        if account is None:
            faults.append(Fault(source, place, f"`{login[:80]}` is not an account that a mail log-in can have"))
        else:
            members.add(account)
    if faults:
        unlisted = len(faults) - MAX_FAULTS
        more = [Fault(source, "", f"{unlisted} more faults are not listed")] if unlisted > 0 else []
        raise DocumentError([*faults[:MAX_FAULTS], *more])
    return MappingProxyType({group: frozenset(members) for group, members in found.items()})


def _toml(data: bytes, source: str, faults: list[Fault]) -> Iterator[tuple[str, str, str | None]]:
    """`"CN=Sales" = ["alice@example.com"]`; a group without members is one."""
    table = Table(parse_toml(data, source, MAX_OCTETS), source=source, faults=faults)
    for group in list(table.names()):
        yield group, group, None
        for index, login in enumerate(table.texts(group)):
            yield f"{group}[{index}]", group, login


def _csv(data: bytes, source: str, faults: list[Fault]) -> Iterator[tuple[str, str, str | None]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        number = data.count(b"\n", 0, exc.start) + 1
        faults.append(Fault(source, f"line {number}", "is not UTF-8"))
        return
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for row in rows:
            place = f"line {rows.line_num}"
            if not any(row):
                continue
            if header is None:
                header = [name.strip() for name in row]
                if sorted(header) != sorted(_COLUMNS):
                    faults.append(Fault(source, place, f"the columns are {','.join(_COLUMNS)}"))
                    return
            elif len(row) != len(header) or not all(cell.strip() for cell in row):
                faults.append(Fault(source, place, "must have a group and a user"))
            else:
                cells = dict(zip(header, row, strict=True))
                yield place, cells["group"].strip(), cells["user"].strip()
    except csv.Error as exc:
        faults.append(Fault(source, f"line {rows.line_num}", f"not CSV: {exc}"))
