"""`[policy.bundles]`: who approves a policy, and how it comes into force. Without it the policy is a single file."""

from datetime import timedelta
from pathlib import Path

from gatekeeper.config.sections.values import at_least
from gatekeeper.config.settings import BundleSettings
from gatekeeper.domain.document import Table
from gatekeeper.domain.identity import IdentitySettings, canonical_account
from gatekeeper.publishing.approval import Approvers
from gatekeeper.publishing.break_glass import MAX_LENGTH, BreakGlassSettings
from gatekeeper.publishing.breaker import BreakerSettings
from gatekeeper.publishing.rollout import RolloutSettings
from gatekeeper.signing.note import NoteError, VerifierKey

_MAX_KEYS = 64


def read_bundles(policy: Table, names: IdentitySettings) -> BundleSettings | None:
    """How bundles are approved; None when the policy is a file."""
    breaker = _breaker(policy.table("breaker"), names)
    canary = _canary(policy.table("canary")) if policy.has("canary") else None
    if not policy.has("bundles"):
        for name in ("breaker", "canary"):
            if policy.has(name):
                policy.fault(name, "has no effect without [policy.bundles]: a file is not published")
        return None
    table = policy.table("bundles")
    approvers = _keys(table, "approvers")
    authors = _keys(table, "authors")
    threshold = table.integer("threshold", 2, low=1, high=_MAX_KEYS)
    origin = table.text("origin", max_length=128)
    if not approvers:
        table.fault("approvers", "is required: verifier keys, as `gatekeeper policy key show` prints them")
    elif threshold > len(approvers):
        table.fault("threshold", f"is {threshold}, but there are only {len(approvers)} approvers")
    if table.has("origin") and (not origin.isprintable() or " " in origin or not origin):
        table.fault("origin", "must be one word, such as gatekeeper.example/policy")
    settings = BundleSettings(
        directory=Path(table.text("directory", "var/policy")),
        approvers=Approvers(origin=origin, threshold=threshold, keys=approvers, authors=authors),
        breaker=breaker,
        canary=canary,
    )
    table.done()
    return settings


def read_break_glass(policy: Table, origin: str) -> BreakGlassSettings | None:
    """Who may open break-glass, for the gate whose audit log has that origin; None: nobody."""
    if not policy.has("break_glass"):
        return None
    table = policy.table("break_glass")
    key = None
    try:
        key = VerifierKey.parse(table.text("key"))
    except NoteError as error:
        table.fault("key", str(error))
    length = table.duration("max_length", "60m")
    if not timedelta(minutes=1) <= length <= MAX_LENGTH:
        table.fault("max_length", "must lie between 1m and 60m")
    if not origin or not origin.isprintable() or " " in origin:
        table.fault("", "needs an audit.origin of one word: it names the gate in the note")
    table.done()
    return None if key is None else BreakGlassSettings(key=key, origin=origin, max_length=length)


def _breaker(table: Table, names: IdentitySettings) -> BreakerSettings:
    default = BreakerSettings()
    protected = set()
    for index, text in enumerate(table.texts("protected")):
        account = canonical_account(text, names)
        if account is None:
            table.fault(f"protected[{index}]", f"`{text}` is no mail login that the gate would accept")
        else:
            protected.add(account)
    settings = BreakerSettings(
        max_percent=table.integer("max_percent", default.max_percent, low=0, high=100),
        max_people=table.integer("max_people", low=0) if table.has("max_people") else None,
        protected=frozenset(protected),
    )
    table.done()
    return settings


def _canary(table: Table) -> RolloutSettings:
    default = RolloutSettings()
    settings = RolloutSettings(
        steps=_steps(table, default.steps),
        step_time=table.duration("step_time", "15m"),
        window=at_least(table, "window", "30m", timedelta(seconds=1)),
        min_sample=table.integer("min_sample", default.min_sample, low=5, high=10_000),
        band=table.integer("band", default.band, low=1, high=100),
        patience=table.duration("patience", "24h"),
    )
    table.done()
    return settings


def _steps(table: Table, default: tuple[int, ...]) -> tuple[int, ...]:
    value = table.raw("steps")
    if value is None:
        return default
    steps = value if isinstance(value, list) else []
    percents = tuple(step for step in steps if isinstance(step, int) and not isinstance(step, bool) and 1 <= step < 100)
    if not percents or len(percents) != len(steps) or list(percents) != sorted(set(percents)):
        table.fault("steps", "must be rising percentages below 100, such as [5, 25, 50]; after the last one everybody")
        return default
    return percents


def _keys(table: Table, name: str) -> tuple[VerifierKey, ...]:
    found: list[VerifierKey] = []
    texts = table.texts(name)
    if len(texts) > _MAX_KEYS:
        table.fault(name, f"has more than {_MAX_KEYS} keys")
    for index, text in enumerate(texts[:_MAX_KEYS]):
        try:
            key = VerifierKey.parse(text)
        except NoteError as error:
            table.fault(f"{name}[{index}]", str(error))
            continue
        # One person with two keys, or one key under two names, would count as two people.
        if any(key.name == other.name or key.public == other.public for other in found):
            table.fault(f"{name}[{index}]", f"`{key.name}` has the name or the key of another one")
        found.append(key)
    return tuple(found)
