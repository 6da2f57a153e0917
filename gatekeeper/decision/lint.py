"""What a policy may say but probably does not mean; never a reason to refuse it."""

from datetime import datetime

from gatekeeper.decision.policy import Policy, Rule
from gatekeeper.domain.document import Fault

_SATURDAY = 5


def warnings(policy: Policy, now: datetime) -> tuple[Fault, ...]:
    """Expired exemptions, enforcement that begins on a weekend, matchers that are broad. In the file's order."""
    found: list[Fault] = []
    for index, rule in enumerate(policy.rules):
        found.extend(_of_rule(policy.source, f"rule[{index}]", rule, now))
    for index, exemption in enumerate(policy.exemptions):
        if exemption.expires <= now:
            reason = f"`{exemption.id}` has expired: rule `{exemption.rule}` is for everybody it named again"
            found.append(Fault(policy.source, f"exemption[{index}].expires", reason))
    return tuple(found)


def _of_rule(source: str, key: str, rule: Rule, now: datetime) -> list[Fault]:
    found: list[Fault] = []
    for index, matcher in enumerate(rule.apps):
        if matcher.id is None:
            asked = ", ".join(sorted(matcher.blind_without))
            reason = f"names no app id: a list in which an app lacks its {asked} cannot answer it and is insufficient"
            found.append(Fault(source, f"{key}.apps[{index}]", reason))
        elif matcher.id.head is None:
            reason = f"`{matcher.id}` is broad: it does not begin with two whole labels such as `com.example.`"
            found.append(Fault(source, f"{key}.apps[{index}].id", reason))
    enforce, weekday = rule.phases.enforce, rule.phases.enforce_weekday
    if enforce is not None and enforce > now and weekday is not None and weekday >= _SATURDAY:
        found.append(Fault(source, f"{key}.phases.enforce", "begins on a weekend, when no help desk answers"))
    return found
