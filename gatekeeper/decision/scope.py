"""The predicates of rules and exemptions, three-valued: true, false, or None for not known.

Not known counts as in scope of a rule, but never makes a `not_` condition or an exemption true.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from gatekeeper.decision.policy import Exemption, Network, Policy, Rule, RuleScope
from gatekeeper.domain.device import Device
from gatekeeper.domain.request import Request

Term = tuple[str, bool | None]
"""Name of a condition as the policy spells it, and whether it holds."""


def in_scope(policy: Policy, rule: Rule, device: Device, request: Request) -> bool:
    """Whether a rule is for this device and session; what is not known counts as yes.

    INVARIANT: no term of `scope_terms` is false. Not computed from those, because every decision asks this.
    """
    scope, account = rule.scope, request.account
    return (
        (not scope.device_class or device.device_class in scope.device_class)
        and (not scope.ownership or device.ownership is None or device.ownership in scope.ownership)
        and (not scope.platforms or device.platform in scope.platforms)
        and (not scope.protocols or request.protocol in scope.protocols)
        and (not scope.listeners or request.listener in scope.listeners)
        and (not scope.networks or _lies_in(request.client_address, scope.networks) is not False)
        and (not scope.not_networks or _lies_in(request.client_address, scope.not_networks) is not True)
        and account not in scope.not_users
        and (not (scope.users or scope.groups) or _is_one_of(policy, scope.users, scope.groups, account) is not False)
        and (not scope.not_groups or _is_one_of(policy, frozenset(), scope.not_groups, account) is not True)
    )


def scope_terms(policy: Policy, scope: RuleScope, device: Device, request: Request) -> list[Term]:
    """Every condition that the scope gives, in the order of the policy's keys."""
    account, address = request.account, request.client_address
    owned = None if device.ownership is None else device.ownership in scope.ownership
    who = " or ".join(name for name, given in (("users", scope.users), ("groups", scope.groups)) if given)
    every: tuple[tuple[str, object, bool | None], ...] = (
        ("device_class", scope.device_class, device.device_class in scope.device_class),
        ("ownership", scope.ownership, owned),
        ("platforms", scope.platforms, device.platform in scope.platforms),
        ("protocols", scope.protocols, request.protocol in scope.protocols),
        ("listeners", scope.listeners, request.listener in scope.listeners),
        ("networks", scope.networks, _lies_in(address, scope.networks)),
        ("not_networks", scope.not_networks, _negated(_lies_in(address, scope.not_networks))),
        (who, who, _is_one_of(policy, scope.users, scope.groups, account)),
        ("not_users", scope.not_users, account not in scope.not_users),
        ("not_groups", scope.not_groups, _negated(_is_one_of(policy, frozenset(), scope.not_groups, account))),
    )
    return [(name, holds) for name, given, holds in every if given]


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


def _negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def _lies_in(address: str, networks: Iterable[Network]) -> bool | None:
    """None when the address is not known."""
    parsed = _parsed(address)
    return None if parsed is None else any(parsed in network for network in networks)


@lru_cache(maxsize=4096)
def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    """Remembered: phones come back from the same addresses all day."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed
