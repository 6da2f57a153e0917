"""Policy text (TOML) to `Policy`: everything that is wrong is reported at once, with its key and the reason.

`parse_policy` is total: any bytes give a policy or a `DocumentError`. A policy with one fault is no policy.
"""

import hashlib
import re
from types import MappingProxyType

from gatekeeper.decision.lint import warnings
from gatekeeper.decision.policy import Exemption, Policy, Rule
from gatekeeper.decision.schema_defaults import read_defaults
from gatekeeper.decision.schema_rules import read_rule
from gatekeeper.decision.schema_values import (
    Context,
    accounts,
    end_of_day_or_instant,
    identifier,
    known_groups,
    time_zone,
)
from gatekeeper.domain.document import DocumentError, Fault, Table, parse_toml, suggestion
from gatekeeper.domain.identity import DEFAULT, IdentitySettings, canonical_account
from gatekeeper.domain.posture import EvidenceLevel

__all__ = ["MAX_POLICY_OCTETS", "parse_policy", "warnings"]

MAX_POLICY_OCTETS = 4 * 1024 * 1024
"""Ten thousand app matchers need about 1 MiB."""

_SCHEMA = 1
_GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)


def parse_policy(data: bytes, *, source: str, names: IdentitySettings = DEFAULT) -> Policy:
    """The policy in `data`; `source` names the file in faults, `names` say what its accounts are.

    Raises `DocumentError` with every fault.
    """
    faults: list[Fault] = []
    policy = read_policy(
        Table(parse_toml(data, source, MAX_POLICY_OCTETS), source=source, faults=faults),
        data,
        source=source,
        names=names,
    )
    if faults:
        raise DocumentError(faults)
    return policy


def read_policy(root: Table, data: bytes, *, source: str, names: IdentitySettings = DEFAULT) -> Policy:
    """The policy in a document that was read from `data`; it stands only when no fault was recorded."""
    if root.integer("schema", low=_SCHEMA, high=2**31) != _SCHEMA:
        root.fault("schema", f"must be {_SCHEMA}, the only version of the language there is")
    groups, directory_groups = _groups(root.table("groups"), names)
    known = frozenset(groups) | frozenset(directory_groups)
    own = root.table("defaults")
    context = Context(groups=known, names=names, zone=time_zone(own))
    defaults = read_defaults(own, known)
    sources = _sources(root.table("sources"))
    rules = _rules(root, context)
    exemptions = _exemptions(root, context, frozenset(rule.id for rule in rules))
    root.done()
    return Policy(
        sha256=hashlib.sha256(data).hexdigest(),
        source=source,
        text=data,
        defaults=defaults,
        rules=rules,
        exemptions=exemptions,
        groups=MappingProxyType(groups),
        directory_groups=MappingProxyType(directory_groups),
        sources=MappingProxyType(sources),
    )


def _groups(table: Table, names: IdentitySettings) -> tuple[dict[str, frozenset[str]], dict[str, str]]:
    """Groups with their members, and groups of the directory with the names that they have there."""
    found: dict[str, frozenset[str]] = {}
    elsewhere: dict[str, str] = {}
    for name in list(table.names()):
        if _GROUP_NAME.fullmatch(name) is None:
            table.fault(name, "a group's name is made of letters, digits, `.`, `_`, `@`, `-` (at most 64)")
        if isinstance(table.raw(name), dict):
            entry = table.table(name)
            elsewhere[name] = entry.text("directory", max_length=1000)
            if entry.has("directory") and not elsewhere[name].strip():
                entry.fault("directory", "must not be empty")
            entry.done()
        else:
            found[name] = frozenset(accounts(table, name, names, may_be_empty=True))
    return found, elsewhere


def _sources(table: Table) -> dict[str, EvidenceLevel]:
    return {name: table.choice(name, EvidenceLevel) for name in list(table.names())}


def _rules(root: Table, context: Context) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    places: dict[str, str] = {}
    for index, table in enumerate(root.tables("rule")):
        rule = read_rule(table, context)
        if rule.id and places.setdefault(rule.id, f"rule[{index}]") != f"rule[{index}]":
            table.fault("id", f"`{rule.id}` is already the id of {places[rule.id]}")
        rules.append(rule)
    return tuple(rules)


def _exemptions(root: Table, context: Context, rule_ids: frozenset[str]) -> tuple[Exemption, ...]:
    exemptions: list[Exemption] = []
    places: dict[str, str] = {}
    for index, table in enumerate(root.tables("exemption")):
        exemption = _exemption(table, context, rule_ids)
        if exemption.id and places.setdefault(exemption.id, f"exemption[{index}]") != f"exemption[{index}]":
            table.fault("id", f"`{exemption.id}` is already the id of {places[exemption.id]}")
        exemptions.append(exemption)
    return tuple(exemptions)


def _exemption(table: Table, context: Context, rule_ids: frozenset[str]) -> Exemption:
    rule = table.text("rule", max_length=64)
    if rule and rule not in rule_ids:
        table.fault("rule", f"there is no rule `{rule}`{suggestion(rule, sorted(rule_ids))}")
    exemption = Exemption(
        id=identifier(table, "id"),
        rule=rule,
        users=frozenset(accounts(table, "users", context.names)),
        groups=known_groups(table, "groups", context.groups),
        devices=frozenset(_devices(table)),
        expires=end_of_day_or_instant(table, "expires", context.zone),
        reason=_said(table, "reason"),
        approved_by=_approvers(table, context.names),
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
