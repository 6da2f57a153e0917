"""The `[[rule]]` tables of a policy, and the readers of single values that exemptions and groups share.

Faults go into the `Table`; every function returns a stand-in then, so that reading goes on to the next fault.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import TypeVar

from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.decision.message import MAX_LINE_OCTETS, octets_needed, template_fault
from gatekeeper.decision.patterns import Pattern
from gatekeeper.decision.policy import Phases, Rule, RuleScope
from gatekeeper.decision.versions import VersionRange
from gatekeeper.domain.decision import Message
from gatekeeper.domain.device import DeviceClass, Ownership, Platform
from gatekeeper.domain.document import Table
from gatekeeper.domain.identity import DEFAULT, IdentitySettings, canonical_account
from gatekeeper.domain.request import MailProtocol

E = TypeVar("E", bound=StrEnum)
V = TypeVar("V")

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_APP_ID = re.compile(r"[A-Za-z0-9._*?-]+", re.ASCII)  # what Android and Apple allow in identifiers, and the wildcards
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NEVER = datetime.max.replace(tzinfo=UTC)


def read_rule(table: Table, groups: frozenset[str], names: IdentitySettings = DEFAULT) -> Rule:
    """One rule."""
    rule_id = identifier(table, "id")
    rule = Rule(
        id=rule_id,
        title=_plain(table, "title") or rule_id,
        reason=_plain(table, "reason"),
        apps=_apps(table),
        scope=_scope(table.table("scope"), groups, names),
        phases=_phases(table),
        messages=MappingProxyType(_messages(table.table("message"))),
    )
    table.done()
    return rule


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
    for index, text in enumerate(_listed(table, name, may_be_empty=may_be_empty)):
        account = canonical_account(text, names)
        if account is None:
            table.fault(f"{name}[{index}]", f"`{text}` is not an account that a mail log-in can have")
        else:
            found.append(account)
    return tuple(found)


def known_groups(table: Table, name: str, groups: frozenset[str]) -> frozenset[str]:
    """A list of names of defined groups."""
    found = _listed(table, name)
    for index, group in enumerate(found):
        if group not in groups:
            table.fault(f"{name}[{index}]", f"group `{group}` is not defined in [groups]{_near(group, groups)}")
    return frozenset(found)


def end_of_day_or_instant(table: Table, name: str) -> datetime:
    """The first instant after an expiry: a date alone means through the end of that day, UTC."""
    instant = table.instant(name, required=True)
    if instant is None:
        return _NEVER
    value = table.raw(name)
    is_date = isinstance(value, str) and _DATE.fullmatch(value)
    if not is_date and (isinstance(value, datetime) or not isinstance(value, date)):
        return instant
    try:
        return instant + timedelta(days=1)
    except OverflowError:
        return _NEVER


def _plain(table: Table, name: str) -> str:
    text = table.text(name, "", max_length=1000)
    if not text.isprintable():
        table.fault(name, "contains a control character; it must be one line of plain text")
    return text


def _listed(table: Table, name: str, *, may_be_empty: bool = False) -> tuple[str, ...]:
    """A list of texts; an empty one would read as `nobody` to some and as `everybody` to others."""
    found = table.texts(name)
    if table.raw(name) == [] and not may_be_empty:
        table.fault(name, "must not be empty: leave the key out instead")
    return found


def _choices(table: Table, name: str, choices: type[E]) -> frozenset[E]:
    known = [choice.value for choice in choices]
    found = set()
    for index, text in enumerate(_listed(table, name)):
        if text in known:
            found.add(choices(text))
        else:
            table.fault(f"{name}[{index}]", f"`{text}` is not one of {', '.join(known)}{_near(text, known)}")
    return frozenset(found)


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _apps(table: Table) -> tuple[AppMatcher, ...]:
    tables = table.tables("apps")
    if not table.has("apps"):
        table.fault("apps", "is required")
    elif table.raw("apps") == []:
        table.fault("apps", "must not be empty: the rule would mean no app")
    return tuple(matcher for matcher in map(_app, tables) if matcher is not None)


def _app(table: Table) -> AppMatcher | None:
    has_identity = any(table.has(name) for name in ("id", "name", "publisher", "signer_sha256"))
    platform = table.choice("platform", Platform) if table.has("platform") else None
    app_id = _parsed(table, "id", Pattern.parse)
    if app_id is not None and _APP_ID.fullmatch(app_id.text) is None:
        table.fault("id", f"`{app_id}` is not an app id: letters, digits, `.`, `_`, `-`, and the wildcards `*` and `?`")
    name = _parsed(table, "name", Pattern.parse)
    publisher = _parsed(table, "publisher", Pattern.parse)
    signers = _signers(table)
    version = _parsed(table, "version", VersionRange.parse)
    table.done()
    if not has_identity:
        table.fault("", "names no app: give id, name, publisher or signer_sha256")
    if not (app_id or name or publisher or signers):
        return None
    return AppMatcher(
        platform=platform, id=app_id, name=name, publisher=publisher, signer_sha256=signers, version=version
    )


def _parsed(table: Table, name: str, parse: Callable[[str], V]) -> V | None:
    text = table.optional_text(name)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as exc:
        table.fault(name, f"`{text[:64]}`: {exc}" if text else str(exc))
        return None


def _signers(table: Table) -> frozenset[str]:
    """One digest or a list of them, as openssl (`AB:CD:...`) or Android's tools (`abcd...`) print them."""
    name = "signer_sha256"
    texts = (table.text(name),) if isinstance(table.raw(name), str) else _listed(table, name)
    found = set()
    for text in texts:
        digest = text.replace(":", "").lower()
        if _SHA256.fullmatch(digest):
            found.add(digest)
        else:
            table.fault(name, f"`{text[:80]}` is not a SHA-256 in 64 hexadecimal digits")
    return frozenset(found)


def _scope(table: Table, groups: frozenset[str], names: IdentitySettings) -> RuleScope:
    scope = RuleScope(
        device_class=_choices(table, "device_class", DeviceClass),
        ownership=_choices(table, "ownership", Ownership),
        protocols=_choices(table, "protocols", MailProtocol),
        users=frozenset(accounts(table, "users", names)),
        groups=known_groups(table, "groups", groups),
        not_users=frozenset(accounts(table, "not_users", names)),
        not_groups=known_groups(table, "not_groups", groups),
    )
    table.done()
    return scope


def _phases(parent: Table) -> Phases:
    table = parent.table("phases")
    phases = Phases(
        observe=table.instant("observe"),
        warn=table.instant("warn"),
        enforce=table.instant("enforce"),
        enforce_weekday=_weekday(table.raw("enforce")),
    )
    if not any(table.has(name) for name, _ in _named(phases)):
        parent.fault("phases", "needs at least one of observe, warn, enforce")
    given = [(name, begin) for name, begin in _named(phases) if begin is not None]
    for (earlier, first), (name, begin) in pairwise(given):
        if begin < first:
            table.fault(name, f"begins before `{earlier}`: the order is observe, warn, enforce")
    table.done()
    return phases


def _named(phases: Phases) -> tuple[tuple[str, datetime | None], ...]:
    return ("observe", phases.observe), ("warn", phases.warn), ("enforce", phases.enforce)


def _weekday(value: object) -> int | None:
    """Of a date as it was written: 17:00 on a Friday in California is Saturday in UTC."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).weekday()
        except ValueError:
            return None
    return value.weekday() if isinstance(value, date) else None


def _messages(table: Table) -> dict[str, Message]:
    messages: dict[str, Message] = {}
    for language in list(table.names()):
        if _LANGUAGE.fullmatch(language) is None:
            table.fault(language, "is not a language tag such as `en`, `de` or `pt-BR`")
        if isinstance(table.raw(language), dict):
            messages[language] = _message(table.table(language))
        else:
            table.fault(language, "must be a table with `short` and `fix`")
    return messages


def _message(table: Table) -> Message:
    message = Message(short=_template(table, "short"), fix=_template(table, "fix"))
    needed = octets_needed(message)
    if needed > MAX_LINE_OCTETS:
        table.fault(
            "", f"`short` and `fix` need {needed} octets with their placeholders filled; a reply has {MAX_LINE_OCTETS}"
        )
    table.done()
    return message


def _template(table: Table, name: str) -> str:
    text = table.text(name, max_length=4096)
    reason = template_fault(text)
    if reason is not None:
        table.fault(name, reason)
    elif table.has(name) and not text.strip():
        table.fault(name, "must not be empty")
    return text
