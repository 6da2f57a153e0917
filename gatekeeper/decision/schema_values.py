"""Readers of single values that rules, exemptions and groups share.

Faults go into the `Table`; every function returns a stand-in then, so that reading goes on to the next fault.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TypeVar
from zoneinfo import ZoneInfo, available_timezones

from gatekeeper.domain.document import Table, suggestion
from gatekeeper.domain.identity import DEFAULT, IdentitySettings, canonical_account

V = TypeVar("V")

IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
LANGUAGE = r"[a-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}"
_IDENTIFIER = re.compile(IDENTIFIER, re.ASCII)
_LANGUAGE = re.compile(LANGUAGE, re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the rest of the document says that a rule or an exemption refers to."""

    groups: frozenset[str] = frozenset()
    names: IdentitySettings = DEFAULT
    zone: tzinfo | None = None
    """Of dates that name none; None: UTC."""


def identifier(table: Table, name: str) -> str:
    """A stable id."""
    text = table.text(name, max_length=1000)
    if text and _IDENTIFIER.fullmatch(text) is None:
        table.fault(name, "an id is made of letters, digits, `.`, `_`, `-` (at most 64)")
    elif table.has(name) and text == "" and isinstance(table.raw(name), str):
        table.fault(name, "must not be empty")
    return text


def accounts(
    table: Table, name: str, names: IdentitySettings = DEFAULT, *, may_be_empty: bool = False
) -> tuple[str, ...]:
    """A list of mail log-ins in canonical form."""
    found = []
    for index, text in enumerate(listed(table, name, may_be_empty=may_be_empty)):
        account = canonical_account(text, names)
        if account is None:
            table.fault(f"{name}[{index}]", f"`{text}` is not an account that a mail log-in can have")
        else:
            found.append(account)
    return tuple(found)


def known_groups(table: Table, name: str, groups: frozenset[str]) -> frozenset[str]:
    """A list of names of defined groups."""
    found = listed(table, name)
    for index, group in enumerate(found):
        check_group(table, f"{name}[{index}]", group, groups)
    return frozenset(found)


def check_group(table: Table, name: str, group: str, groups: frozenset[str]) -> None:
    """Note when a group is not defined."""
    if group not in groups:
        table.fault(name, f"group `{group}` is not defined in [groups]{suggestion(group, sorted(groups))}")


def end_of_day_or_instant(table: Table, name: str, zone: tzinfo | None = None) -> datetime:
    """The first instant after an expiry: a date alone means through the end of that day, in UTC or `zone`."""
    instant = table.instant(name, required=True, zone=zone or UTC)
    if instant is None:
        return _NEVER
    value = table.raw(name)
    if isinstance(value, str) and _DATE.fullmatch(value):
        value = date.fromisoformat(value)
    if isinstance(value, datetime) or not isinstance(value, date):
        return instant
    try:
        day_after = value + timedelta(days=1)
        return datetime(day_after.year, day_after.month, day_after.day, tzinfo=zone or UTC).astimezone(UTC)
    except OverflowError:
        return _NEVER


def time_zone(table: Table, name: str = "zone") -> tzinfo | None:
    """A zone of the IANA database, such as `Europe/Berlin`; None when absent."""
    key = table.optional_text(name)
    if key is None:
        return None
    try:
        return ZoneInfo(key)
    except (KeyError, ValueError, OSError):  # not found; a path; a folder of the database
        known = sorted(available_timezones())
        reason = f"`{key[:64]}` is no time zone such as Europe/Berlin{suggestion(key[:64], known)}"
        table.fault(name, reason if known else "this machine has no time zone database: install tzdata")
        return None


def local_instant(table: Table, name: str, zone: tzinfo | None, *, required: bool = False) -> datetime | None:
    """An instant; a local time that clocks skip is a fault, because nobody can tell which one is meant."""
    instant = table.instant(name, required=required, zone=zone or UTC)
    value = table.raw(name)
    if instant is None or zone is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return instant
    if isinstance(value, str):
        if _DATE.fullmatch(value):
            return instant
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is None and instant.astimezone(zone).replace(tzinfo=None) != value:
        table.fault(name, f"`{value.isoformat(sep=' ')}` does not exist in {zone}: the clocks skip it")
    return instant


def plain(table: Table, name: str) -> str:
    """One line of text, empty when absent."""
    text = table.text(name, "", max_length=1000)
    if not text.isprintable():
        table.fault(name, "contains a control character; it must be one line of plain text")
    return text


def listed(table: Table, name: str, *, may_be_empty: bool = False) -> tuple[str, ...]:
    """A list of texts; an empty one would read as `nobody` to some and as `everybody` to others."""
    found = table.texts(name)
    if table.raw(name) == [] and not may_be_empty:
        table.fault(name, "must not be empty: leave the key out instead")
    return found


def parsed(table: Table, name: str, parse: Callable[[str], V]) -> V | None:
    """A text as `parse` reads it, which raises ValueError with the reason; None when absent or wrong."""
    text = table.optional_text(name)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as exc:
        table.fault(name, f"`{text[:64]}`: {exc}" if text else str(exc))
        return None


def language(table: Table, name: str, tag: str) -> None:
    """Note when `tag`, which stands at `name`, is none."""
    if _LANGUAGE.fullmatch(tag) is None:
        table.fault(name, "is not a language tag such as `en`, `de` or `pt-BR`")
