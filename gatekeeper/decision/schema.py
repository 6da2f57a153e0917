"""Policy text (TOML) to `Policy`: everything that is wrong is reported at once, with its key and the reason.

`parse_policy` is total: any bytes give a policy or a `DocumentError`. A policy with one fault is no policy.
"""

import hashlib
import re
import tomllib
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from gatekeeper.decision.lint import warnings
from gatekeeper.decision.policy import ByOwnership, Defaults, Exemption, Policy, Rule, Stale, UnknownDevice
from gatekeeper.decision.schema_rules import accounts, end_of_day_or_instant, identifier, known_groups, read_rule
from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.device import DeviceClass, Ownership
from gatekeeper.domain.document import DocumentError, Fault, Table, parse_duration
from gatekeeper.domain.identity import DEFAULT, IdentitySettings, canonical_account
from gatekeeper.domain.request import MailProtocol

__all__ = ["MAX_POLICY_OCTETS", "parse_policy", "warnings"]

MAX_POLICY_OCTETS = 4 * 1024 * 1024
"""Ten thousand app matchers need about 1 MiB."""

_SCHEMA = 1
_MAX_AGE = timedelta(days=3650)
_GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)


class _Action(StrEnum):
    """The verdicts that a default can name."""

    ALLOW = "allow"
    WARN = "warn"
    BLOCK = "block"


def parse_policy(data: bytes, *, source: str, names: IdentitySettings = DEFAULT) -> Policy:
    """The policy in `data`; `source` names the file in faults, `names` say what its accounts are.

    Raises `DocumentError` with every fault.
    """
    faults: list[Fault] = []
    root = Table(_toml(data, source), source=source, faults=faults)
    if root.integer("schema", high=2**31) != _SCHEMA and not faults:
        root.fault("schema", f"must be {_SCHEMA}, the only version of the language there is")
    defaults = _defaults(root.table("defaults"))
    groups = _groups(root.table("groups"), names)
    rules = _rules(root, frozenset(groups), names)
    exemptions = _exemptions(root, names, frozenset(groups), frozenset(rule.id for rule in rules))
    root.done()
    if faults:
        raise DocumentError(faults)
    return Policy(
        sha256=hashlib.sha256(data).hexdigest(),
        source=source,
        defaults=defaults,
        rules=rules,
        exemptions=exemptions,
        groups=MappingProxyType(groups),
    )


def _toml(data: bytes, source: str) -> dict[str, object]:
    if len(data) > MAX_POLICY_OCTETS:
        raise DocumentError([Fault(source, "", f"larger than {MAX_POLICY_OCTETS} octets")])
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise DocumentError([Fault(source, "", f"is not UTF-8 (at line {line})")]) from exc
    except tomllib.TOMLDecodeError as exc:
        raise DocumentError([Fault(source, "", f"is not TOML: {exc}")]) from exc
    except RecursionError as exc:
        raise DocumentError([Fault(source, "", "is nested too deeply")]) from exc
    except (ValueError, OverflowError) as exc:  # a number too long for int(), a date out of the calendar
        raise DocumentError([Fault(source, "", f"is not TOML: {exc}")]) from exc


def _defaults(table: Table) -> Defaults:
    defaults = Defaults(
        unknown_device=_unknown_device(table),
        evidence_max_age=_age(table, "evidence_max_age", "24h"),
        stale=_stale(table),
        insufficient=_by_ownership(table, "insufficient") or ByOwnership(),
        no_evidence=_by_ownership(table, "no_evidence"),
    )
    if parse_duration(str(table.raw("evidence_max_age"))) == timedelta(0):
        table.fault("evidence_max_age", "must be longer than nothing: all evidence would be stale")
    table.done()
    return defaults


def _age(table: Table, name: str, default: str) -> timedelta:
    age = table.duration(name, default)
    if age > _MAX_AGE:
        table.fault(name, f"must not be longer than {_MAX_AGE.days}d")
    return min(age, _MAX_AGE)


def _action(table: Table, name: str, default: _Action | None = None) -> Verdict:
    return Verdict(table.choice(name, _Action, default).value)


def _unknown_device(table: Table) -> UnknownDevice:
    name = "unknown_device"
    if not isinstance(table.raw(name), dict):
        return UnknownDevice(default=_action(table, name, _Action.BLOCK))
    entries = table.table(name)
    found = UnknownDevice(
        default=_action(entries, "default", _Action.BLOCK),
        by_protocol={each: _action(entries, each.value) for each in MailProtocol if entries.has(each.value)},
        by_class={each: _action(entries, each.value) for each in DeviceClass if entries.has(each.value)},
    )
    entries.done()
    return found


def _by_ownership(table: Table, name: str) -> ByOwnership | None:
    value = table.raw(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        action = _action(table, name, _Action.BLOCK)
        return ByOwnership(company=action, personal=action)
    entries = table.table(name)
    default = entries.choice("default", _Action, _Action.BLOCK)
    found = ByOwnership(
        company=_action(entries, Ownership.COMPANY.value, default),
        personal=_action(entries, Ownership.PERSONAL.value, default),
    )
    entries.done()
    return found


def _stale(table: Table) -> Stale:
    if not isinstance(table.raw("stale"), dict):
        action = _action(table, "stale", _Action.BLOCK)
        return Stale(action=action, then=action)
    entries = table.table("stale")
    action = _action(entries, "action")
    if entries.has("then") != entries.has("after"):
        missing, given = ("after", "then") if entries.has("then") else ("then", "after")
        entries.fault(missing, f"is required beside `{given}`")
    then = _action(entries, "then", _Action(action.value))
    if then.strength < action.strength:
        entries.fault("then", f"`{then}` is weaker than `{action}`: evidence does not get better with age")
    found = Stale(action=action, then=then, after=_age(entries, "after", "0s"))
    entries.done()
    return found


def _groups(table: Table, names: IdentitySettings) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for name in list(table.names()):
        if _GROUP_NAME.fullmatch(name) is None:
            table.fault(name, "a group's name is made of letters, digits, `.`, `_`, `@`, `-` (at most 64)")
        found[name] = frozenset(accounts(table, name, names, may_be_empty=True))
    return found


def _rules(root: Table, groups: frozenset[str], names: IdentitySettings) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    places: dict[str, str] = {}
    for index, table in enumerate(root.tables("rule")):
        rule = read_rule(table, groups, names)
        if rule.id and places.setdefault(rule.id, f"rule[{index}]") != f"rule[{index}]":
            table.fault("id", f"`{rule.id}` is already the id of {places[rule.id]}")
        rules.append(rule)
    return tuple(rules)


def _exemptions(
    root: Table, names: IdentitySettings, groups: frozenset[str], rule_ids: frozenset[str]
) -> tuple[Exemption, ...]:
    exemptions: list[Exemption] = []
    places: dict[str, str] = {}
    for index, table in enumerate(root.tables("exemption")):
        exemption = _exemption(table, names, groups, rule_ids)
        if exemption.id and places.setdefault(exemption.id, f"exemption[{index}]") != f"exemption[{index}]":
            table.fault("id", f"`{exemption.id}` is already the id of {places[exemption.id]}")
        exemptions.append(exemption)
    return tuple(exemptions)


def _exemption(table: Table, names: IdentitySettings, groups: frozenset[str], rule_ids: frozenset[str]) -> Exemption:
    rule = table.text("rule", max_length=64)
    if rule and rule not in rule_ids:
        table.fault("rule", f"there is no rule `{rule}`")
    exemption = Exemption(
        id=identifier(table, "id"),
        rule=rule,
        users=frozenset(accounts(table, "users", names)),
        groups=known_groups(table, "groups", groups),
        devices=frozenset(_devices(table)),
        expires=end_of_day_or_instant(table, "expires"),
        reason=_said(table, "reason"),
        approved_by=_approvers(table, names),
    )
    if not any(table.has(name) for name in ("users", "groups", "devices")):
        table.fault("", "names nobody: give users, groups or devices")
    table.done()
    return exemption


def _devices(table: Table) -> tuple[str, ...]:
    devices = table.texts("devices")
    if table.has("devices") and (not devices or not all(device.strip() for device in devices)):
        table.fault("devices", "must list at least one device id, none of them empty")
    return devices


def _said(table: Table, name: str) -> str:
    text = table.text(name, max_length=1000)
    if table.has(name) and not text.strip():
        table.fault(name, "must not be empty")
    return text


def _approvers(table: Table, names: IdentitySettings) -> tuple[str, ...]:
    if not table.has("approved_by"):
        table.fault("approved_by", "is required")
        return ()
    approvers = table.texts("approved_by")
    if not approvers or not all(approver.strip() for approver in approvers):
        table.fault("approved_by", "must name at least one person, none of them empty")
    for index, approver in enumerate(approvers):
        if "@" in approver and canonical_account(approver, names) is None:
            table.fault(f"approved_by[{index}]", f"`{approver}` is not an account")
    return approvers
