"""The predicates of rules and exemptions, three-valued: true, false, or None for not known.

Not known counts as in scope of a rule, but never makes a `not_` condition or an exemption true.
"""

from collections.abc import Iterable
from datetime import datetime

from gatekeeper.decision.policy import Exemption, Policy, Rule, RuleScope
from gatekeeper.domain.device import Device

Term = tuple[str, bool | None]
"""Name of a condition as the policy spells it, and whether it holds."""


def in_scope(policy: Policy, rule: Rule, account: str, device: Device, protocol: str) -> bool:
    """Whether a rule is for this device; what is not known counts as yes.

    INVARIANT: no term of `scope_terms` is false. Not computed from those, because every decision asks this.
    """
    scope = rule.scope
    return (
        (not scope.device_class or device.device_class in scope.device_class)
        and (not scope.ownership or device.ownership is None or device.ownership in scope.ownership)
        and (not scope.protocols or protocol in scope.protocols)
        and account not in scope.not_users
        and (not (scope.users or scope.groups) or _is_one_of(policy, scope.users, scope.groups, account) is not False)
        and (not scope.not_groups or _is_one_of(policy, frozenset(), scope.not_groups, account) is not True)
    )


def scope_terms(policy: Policy, scope: RuleScope, account: str, device: Device, protocol: str) -> list[Term]:
    """Every condition that the scope gives, in the order of the policy's keys."""
    terms: list[Term] = []
    if scope.device_class:
        terms.append(("device_class", device.device_class in scope.device_class))
    if scope.ownership:
        terms.append(("ownership", None if device.ownership is None else device.ownership in scope.ownership))
    if scope.protocols:
        terms.append(("protocols", protocol in scope.protocols))
    if scope.users or scope.groups:
        label = " or ".join(name for name, given in (("users", scope.users), ("groups", scope.groups)) if given)
        terms.append((label, _is_one_of(policy, scope.users, scope.groups, account)))
    if scope.not_users:
        terms.append(("not_users", account not in scope.not_users))
    if scope.not_groups:
        member = _is_one_of(policy, frozenset(), scope.not_groups, account)
        terms.append(("not_groups", None if member is None else not member))
    return terms


def exemptions_for(policy: Policy, rule: Rule, account: str, device: Device, now: datetime) -> tuple[Exemption, ...]:
    """The exemptions that take the rule away from this device now, in policy order."""
    given = policy.exemptions_of.get(rule.id)
    if given is None:
        return ()
    return tuple(
        exemption for exemption in given if now < exemption.expires and names(policy, exemption, account, device)
    )


def names(policy: Policy, exemption: Exemption, account: str, device: Device) -> bool:
    """Whether an exemption is for this device and account, expired or not. One that names nobody is for nobody."""
    who = exemption.users or exemption.groups
    if not who and not exemption.devices:
        return False
    if who and _is_one_of(policy, exemption.users, exemption.groups, account) is not True:
        return False
    return not exemption.devices or device.device_id in exemption.devices


def _is_one_of(policy: Policy, users: frozenset[str], groups: Iterable[str], account: str) -> bool | None:
    """None when one of the groups is not known and nothing else answers."""
    if account in users:
        return True
    members = [policy.groups.get(group) for group in groups]
    if any(known is not None and account in known for known in members):
        return True
    return None if None in members else False
