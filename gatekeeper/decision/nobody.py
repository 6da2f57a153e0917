"""Why a rule is for nobody: conditions of its scope that no session can meet together.

What is said here holds for every session; a group whose members are not known has somebody.
"""

from collections.abc import Collection

from gatekeeper.decision.policy import Policy, RuleScope
from gatekeeper.domain.document import suggestion
from gatekeeper.domain.request import MailProtocol

UNSPOKEN = frozenset({MailProtocol.HTTP})
"""The language has the word; no front of this version speaks it."""

Why = tuple[str, str]
"""The key of the scope, and the reason."""


def why_nobody(policy: Policy, scope: RuleScope) -> Why | None:
    """None: somebody can be meant."""
    if scope.protocols and scope.protocols <= UNSPOKEN:
        spoken = ", ".join(protocol.value for protocol in MailProtocol if protocol not in UNSPOKEN)
        return "protocols", f"no front of this version speaks it, so the rule is for nobody; there are {spoken}"
    if scope.networks and all(
        any(out.version == within.version and within.subnet_of(out) for out in scope.not_networks)  # type: ignore[arg-type]  # of one version
        for within in scope.networks
    ):
        return "not_networks", "leaves out all of `networks`, so the rule is for nobody"
    if not (scope.users or scope.groups) or not scope.groups <= policy.groups.keys():
        return None
    meant = scope.users.union(*(policy.groups[group] for group in scope.groups))
    if not meant:
        return "groups", "has no members, so the rule is for nobody"
    left_out = scope.not_users.union(*(policy.groups.get(group, frozenset()) for group in scope.not_groups))
    if meant <= left_out:
        key = "not_users" if meant <= scope.not_users else "not_groups"
        return key, "leaves out everybody whom the rule is for"
    return None


def unknown_listener(scope: RuleScope, names: Collection[str]) -> Why | None:
    """A listener of the scope that is not one of these."""
    for name in sorted(scope.listeners):
        if name not in names:
            near = suggestion(name, sorted(names)) or f"; there are {', '.join(sorted(names))}"
            return "listeners", f"no listener of the configuration is called `{name}`{near}"
    return None
