"""What a rule asks of a device besides the absence of apps, and in what the device fails it.

Three-valued: a required app that is not known to be the right one is not there, an app that is not known to be allowed
is not; of an operating system whose version, or a flag that, the evidence does not state, the rule is unanswered.
"""

from dataclasses import dataclass, field

from gatekeeper.decision.index import Match
from gatekeeper.decision.matcher import AppMatcher, Finding
from gatekeeper.decision.policy import Rule
from gatekeeper.domain.app import AppList
from gatekeeper.domain.decision import Reason
from gatekeeper.domain.device import Device
from gatekeeper.domain.posture import AttestationResult

Breach = tuple[Reason, tuple[Match, ...], str | None]
"""Why; the apps that are there and may not be; the app that is missing."""


@dataclass(slots=True)
class Breaches:
    """What one rule finds on one device."""

    hits: list[Breach] = field(default_factory=list)
    is_unanswered: bool = False


def breaches(rule: Rule, device: Device, result: AttestationResult) -> Breaches:
    """Weigh every demand of the rule, in the order of its keys."""
    found = Breaches()
    platform = device.platform
    if rule.only_apps:
        unlisted = rule.allow_lists[platform].unlisted(result.apps)
        if unlisted:
            found.hits.append((Reason.APP_NOT_LISTED, tuple(unlisted), None))
    for matcher in rule.required_apps:
        if matcher.covers(platform) and not has(result.apps, matcher):
            found.hits.append((Reason.APP_REQUIRED, (), str(matcher.name or matcher.id or rule.title)))
            break
    bound = rule.oldest_os(platform)
    if bound is not None:
        _note(found, Reason.OS_VERSION, bound.is_above(result.os_version))
    if rule.flags:
        _note(found, Reason.COMPROMISED, has_flag(rule, result))
    return found


def has(apps: AppList, matcher: AppMatcher) -> bool:
    """Whether an app that certainly fits is on the list."""
    candidates = apps.apps
    if matcher.id is not None and matcher.id.is_exact:
        candidates = apps.by_key.get(matcher.id.text, ())
    return any(matcher.judge(app) is Finding.CERTAIN for app in candidates)


def has_flag(rule: Rule, result: AttestationResult) -> bool | None:
    """Whether the evidence states any flag that the rule asks about; None: not of all of them, and none is set."""
    stated = [result.flags.get(flag) for flag in rule.flags]
    if True in stated:
        return True
    return None if None in stated else False


def _note(found: Breaches, reason: Reason, is_in_breach: bool | None) -> None:
    if is_in_breach:
        found.hits.append((reason, (), None))
    elif is_in_breach is None:
        found.is_unanswered = True
