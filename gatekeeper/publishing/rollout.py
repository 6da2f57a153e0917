"""The rollout of a new version: a share of the devices first, then step by step everybody, or nobody.

Pure: a `Rollout` is a value, `next_rollout` what becomes of it, given what was seen and the time. It widens when it has
been long enough at a step and every rule blocks about as often as elsewhere; it halts when one does not, and the last
good version then rules for everybody. Which devices are first is a hash of version and device: always the same ones
within a rollout, others in the next.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

BUCKETS = 10_000
_Z = 2.58
"""Of the normal distribution: a halt by chance alone comes once in two hundred looks at independent figures."""


class Stage(StrEnum):
    """How far a rollout is."""

    WIDENING = "widening"
    DONE = "done"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """How a new version comes to everybody."""

    steps: tuple[int, ...] = (5, 25, 50)
    """Percent of the devices, rising; after the last one everybody."""
    step_time: timedelta = timedelta(minutes=15)
    """The least time at each step."""
    window: timedelta = timedelta(minutes=30)
    """How far back is looked."""
    min_sample: int = 20
    """Devices that must have been seen at a step."""
    band: int = 10
    """Percentage points by which a rule may block more, or less, often than elsewhere."""
    patience: timedelta = timedelta(hours=24)
    """After so long at a step it widens though fewer devices were seen, unless what was seen is out of the band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Where a version is on its way."""

    version: int
    base: int
    """The version that rules for everybody else; of the version itself when the rollout is done."""
    stage: Stage
    since: datetime
    """When the step, or the stage, began; aware UTC."""
    step: int = 0
    reason: str = ""
    """Why it was halted."""
    halted: tuple[int, ...] = ()
    """Versions that ever were: what they say is not brought back unseen."""

    @property
    def last_good(self) -> int:
        """The newest version that rules for everybody, or for all but a share."""
        return self.version if self.stage is Stage.DONE else self.base

    def percent(self, settings: RolloutSettings) -> int:
        """The share that the version rules for."""
        match self.stage:
            case Stage.DONE:
                return 100
            case Stage.HALTED:
                return 0
            case Stage.WIDENING:
                return settings.steps[min(self.step, len(settings.steps) - 1)]

    def encode(self) -> bytes:
        """As JSON."""
        facts = {name: getattr(self, name) for name in ("version", "base", "stage", "step", "reason", "halted")}
        return json.dumps({**facts, "since": self.since.isoformat()}, indent=1).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was seen of one side within the window."""

    seen: int = 0
    """Devices, each once."""
    blocked: Mapping[str, int] = field(default_factory=Counter)
    """Of them, by what blocks them: a rule's id, or the reason where no rule does."""


def parse_rollout(data: bytes) -> Rollout:
    """The rollout in `data`; raises ValueError."""
    try:
        facts = json.loads(data)
        return Rollout(
            version=int(facts["version"]),
            base=int(facts["base"]),
            stage=Stage(facts["stage"]),
            since=datetime.fromisoformat(facts["since"]),
            step=int(facts["step"]),
            reason=str(facts["reason"]),
            halted=tuple(map(int, facts["halted"])),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"is not the state of a rollout ({error})") from error


def begin(before: Rollout | None, version: int, now: datetime, *, at_once: bool) -> Rollout:
    """A new version sets out; what it replaces on the way is left behind, what everybody had stays the base."""
    base = version if before is None else before.last_good
    halted = () if before is None else before.halted
    stage = Stage.DONE if at_once or before is None else Stage.WIDENING
    return Rollout(version=version, base=base, stage=stage, since=now, halted=halted)


def covers(version: int, percent: int, unit: str) -> bool:
    """Whether a device, or person, is in the share; raising the share only adds."""
    digest = hashlib.sha256(f"{version}\0{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS < percent * (BUCKETS // 100)


def next_rollout(
    rollout: Rollout, settings: RolloutSettings, here: Figures, elsewhere: Figures, kept: frozenset[str], now: datetime
) -> Rollout:
    """What becomes of it: the same, a step further, done, or halted.

    Args:
        rollout: as it is.
        settings: how it goes.
        here: seen where the new version rules, since the step began.
        elsewhere: seen where it does not.
        kept: ids of the rules that both versions have.
        now: aware UTC.
    """
    if rollout.stage is not Stage.WIDENING:
        return rollout
    is_enough = here.seen >= settings.min_sample
    reason = out_of_band(settings, here, elsewhere, kept) if is_enough else None
    if reason is not None:
        halted = (*rollout.halted, rollout.version)[-1000:]
        return replace(rollout, stage=Stage.HALTED, since=now, reason=reason, halted=halted)
    at_step = now - rollout.since
    if at_step < settings.step_time or not (is_enough or at_step >= settings.patience):
        return rollout
    if not _looks_well(settings, here, elsewhere, kept):
        return rollout
    if rollout.step + 1 < len(settings.steps):
        return replace(rollout, step=rollout.step + 1, since=now)
    return replace(rollout, stage=Stage.DONE, base=rollout.version, since=now)


def out_of_band(settings: RolloutSettings, here: Figures, elsewhere: Figures, kept: frozenset[str]) -> str | None:
    """The rule that surely blocks more, or less, often than it may; None: there is none."""
    band = settings.band / 100
    for cause in sorted({*here.blocked, *elsewhere.blocked}):
        low, high = _interval(here.blocked.get(cause, 0), here.seen)
        usual = _rate(elsewhere, cause)
        if low > usual + band:
            return _words(cause, here, elsewhere, "more")
        if cause in kept and high < usual - band and elsewhere.seen >= settings.min_sample:
            return _words(cause, here, elsewhere, "less")
    return None


def _looks_well(settings: RolloutSettings, here: Figures, elsewhere: Figures, kept: frozenset[str]) -> bool:
    """No rule is outside the band, not even perhaps by chance."""
    band = settings.band / 100
    for cause in {*here.blocked, *elsewhere.blocked}:
        difference = _rate(here, cause) - _rate(elsewhere, cause)
        if difference > band or (cause in kept and here.seen and elsewhere.seen and -difference > band):
            return False
    return True


def _rate(figures: Figures, cause: str) -> float:
    return figures.blocked.get(cause, 0) / figures.seen if figures.seen else 0.0


def _interval(count: int, of: int) -> tuple[float, float]:
    """Between which rates the true one surely lies (Wilson's score interval)."""
    if not of:
        return 0.0, 1.0
    rate, square = count / of, _Z * _Z
    middle = rate + square / (2 * of)
    half = _Z * math.sqrt(rate * (1 - rate) / of + square / (4 * of * of))
    return (middle - half) / (1 + square / of), (middle + half) / (1 + square / of)


def _words(cause: str, here: Figures, elsewhere: Figures, how: str) -> str:
    return (
        f"`{cause}` blocks {how} than it may: {here.blocked.get(cause, 0)} of {here.seen} devices, "
        f"elsewhere {elsewhere.blocked.get(cause, 0)} of {elsewhere.seen}"
    )
