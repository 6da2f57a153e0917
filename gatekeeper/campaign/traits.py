"""What policies ask of people and devices by name or by date: whatever has equal traits is treated alike."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from gatekeeper.decision.policy import Policy, Rule


def circles(policies: Sequence[Policy]) -> dict[str, tuple[int, ...]]:
    """For everybody whom a policy names, in which of its groups and lists: who is in the same ones is treated alike."""
    lists: dict[frozenset[str], None] = {}
    for policy in policies:
        lists.update(dict.fromkeys(policy.groups.values()))
        for rule in policy.rules:
            lists.update(dict.fromkeys((rule.scope.users, rule.scope.not_users)))
        lists.update(dict.fromkeys(exemption.users for exemption in policy.exemptions))
    found: dict[str, list[int]] = {}
    for number, members in enumerate(lists):
        for account in members:
            found.setdefault(account, []).append(number)
    return {account: tuple(numbers) for account, numbers in found.items()}


def named_devices(policies: Iterable[Policy]) -> frozenset[str]:
    """The devices that an exemption names."""
    return frozenset(device for policy in policies for exemption in policy.exemptions for device in exemption.devices)


def staged_rules(policies: Iterable[Policy]) -> tuple[Rule, ...]:
    """The rules whose phases are not the same for every device."""
    return tuple(rule for policy in policies for rule in policy.rules if not rule.is_for_all_at_once)


def ages(policies: Iterable[Policy]) -> tuple[timedelta, ...]:
    """The ages of evidence at which any of the policies can change its mind."""
    found: set[timedelta] = set()
    for policy in policies:
        stale_at = policy.defaults.evidence_max_age
        found |= {stale_at, stale_at + policy.defaults.stale.after}
    return tuple(sorted(found))
