"""The `[[rule]]` tables of a policy.

Faults go into the `Table`; every function returns a stand-in then, so that reading goes on to the next fault.
"""

from enum import StrEnum
from ipaddress import ip_network
from types import MappingProxyType

from gatekeeper.decision.message import MAX_LINE_OCTETS, octets_needed, template_fault
from gatekeeper.decision.policy import Network, Rule, RuleScope
from gatekeeper.decision.schema_apps import read_apps
from gatekeeper.decision.schema_phases import read_grace, read_phases, read_rollout
from gatekeeper.decision.schema_values import (
    Context,
    accounts,
    identifier,
    known_groups,
    language,
    listed,
    plain,
)
from gatekeeper.decision.versions import Bound
from gatekeeper.domain.decision import Message, Verdict
from gatekeeper.domain.device import DeviceClass, Ownership, Platform
from gatekeeper.domain.document import Table, suggestion
from gatekeeper.domain.posture import DeviceFlag
from gatekeeper.domain.request import MailProtocol

DEMANDS = ("apps", "only_apps", "required_apps", "min_os", "flags")
"""What a rule can ask; one of these is required."""


class Action(StrEnum):
    """The most that a rule does."""

    OBSERVE = "observe"
    WARN = "warn"
    QUARANTINE = "quarantine"
    BLOCK = "block"


_VERDICTS = {
    Action.OBSERVE: Verdict.ALLOW,
    Action.WARN: Verdict.WARN,
    Action.QUARANTINE: Verdict.QUARANTINE,
    Action.BLOCK: Verdict.BLOCK,
}


def read_rule(table: Table, context: Context) -> Rule:
    """One rule."""
    rule_id = identifier(table, "id")
    if not any(table.has(name) for name in DEMANDS):
        table.fault("apps", f"is required, or another of {', '.join(DEMANDS[1:])}")
    phases = read_phases(table, context.zone)
    scope = _scope(table.table("scope"), context)
    rule = Rule(
        id=rule_id,
        title=plain(table, "title") or rule_id,
        reason=plain(table, "reason"),
        apps=read_apps(table, "apps"),
        only_apps=read_apps(table, "only_apps"),
        required_apps=read_apps(table, "required_apps"),
        min_os=MappingProxyType(_min_os(table)),
        flags=table.members("flags", DeviceFlag),
        action=_action(table),
        scope=scope,
        phases=phases,
        grace=read_grace(table, phases),
        rollout=read_rollout(table, phases),
        messages=MappingProxyType(_messages(table.table("message"), in_zone=phases.zone is not None)),
    )
    table.done()
    return rule


def _action(table: Table) -> Verdict:
    action = table.choice("action", Action, Action.BLOCK)
    if action is Action.QUARANTINE:
        table.fault("action", "`quarantine` is not in this version: no front has an answer between `warn` and `block`")
    return _VERDICTS[action]


def _min_os(parent: Table) -> dict[Platform, Bound]:
    table = parent.table("min_os")
    known = [platform.value for platform in Platform]
    found = {}
    for name in list(table.names()):
        if name not in known:
            table.fault(name, f"is no platform{suggestion(name, known)}")
            continue
        text = table.text(name, max_length=64)
        try:
            found[Platform(name)] = Bound.parse(text)
        except ValueError as exc:
            table.fault(name, f"`{text}` {exc}")
    if parent.has("min_os") and parent.raw("min_os") == {}:
        parent.fault("min_os", "must not be empty: name a platform")
    return found


def _scope(table: Table, context: Context) -> RuleScope:
    scope = RuleScope(
        device_class=table.members("device_class", DeviceClass),
        ownership=table.members("ownership", Ownership),
        platforms=table.members("platforms", Platform),
        protocols=table.members("protocols", MailProtocol),
        listeners=frozenset(listed(table, "listeners")),
        networks=_networks(table, "networks"),
        not_networks=_networks(table, "not_networks"),
        users=frozenset(accounts(table, "users", context.names)),
        groups=known_groups(table, "groups", context.groups),
        not_users=frozenset(accounts(table, "not_users", context.names)),
        not_groups=known_groups(table, "not_groups", context.groups),
    )
    table.done()
    return scope


def _networks(table: Table, name: str) -> tuple[Network, ...]:
    found = []
    for index, text in enumerate(listed(table, name)):
        try:
            found.append(ip_network(text))
        except ValueError as exc:
            table.fault(f"{name}[{index}]", f"`{text[:64]}` is not a network such as 192.0.2.0/24: {exc}")
    return tuple(found)


def _messages(table: Table, *, in_zone: bool) -> dict[str, Message]:
    messages: dict[str, Message] = {}
    for tag in list(table.names()):
        language(table, tag, tag)
        if isinstance(table.raw(tag), dict):
            messages[tag] = _message(table.table(tag), tag, in_zone=in_zone)
        else:
            table.fault(tag, "must be a table with `short` and `fix`")
    return messages


def _message(table: Table, tag: str, *, in_zone: bool) -> Message:
    message = Message(short=_template(table, "short"), fix=_template(table, "fix"), language=tag)
    needed = octets_needed(message, in_zone=in_zone)
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
