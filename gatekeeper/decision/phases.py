"""When a rule does what, for one device: dates, grace for devices that were found late, and a rollout by percent.

INVARIANT: a pure function of (rule, device, now) without hidden state, and phases only rise: every device has its own
instant of enforcement, and between the rule's and its own it is warned.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from gatekeeper.domain.decision import Phase
from gatekeeper.domain.device import Device

_OBSERVE, _WARN, _ENFORCE = Phase  # Python 3.11 calls a function for every look-up of an enum's member

BUCKETS = 10_000
"""Devices are told apart by hundredths of a percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """Time for a device that was registered late; one whose first sight is not known has none."""

    per_device: timedelta
    """From when the device was first seen."""
    cap: datetime
    """No device has grace beyond this instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From an instant on, a share of the devices is enforced."""

    begin: datetime
    percent: int
    """0 to 100, never less than the step before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """When each phase begins; at least one is given, in this order."""

    observe: datetime | None = None
    warn: datetime | None = None
    enforce: datetime | None = None
    zone: tzinfo | None = field(default=None, compare=False)
    """In which the dates were written and deadlines are told; None: UTC."""
    enforce_weekday: int | None = field(default=None, compare=False)
    """Of the enforce date as written, in its own time zone (Monday is 0); for a warning only."""
    boundaries: tuple[datetime, ...] = field(init=False, repr=False, compare=False)
    """The instants at which the phase changes."""

    def __post_init__(self) -> None:
        given = [begin for begin in (self.observe, self.warn, self.enforce) if begin is not None]
        object.__setattr__(self, "boundaries", tuple(given))

    def at(self, now: datetime) -> Phase | None:
        """The phase at an instant; None: not yet."""
        if self.enforce is not None and now >= self.enforce:
            return _ENFORCE
        if self.warn is not None and now >= self.warn:
            return _WARN
        return _OBSERVE if self.observe is not None and now >= self.observe else None


def phases_for(rule_id: str, phases: Phases, grace: Grace | None, rollout: tuple[Step, ...], device: Device) -> Phases:
    """The phases as they are for one device."""
    general = phases.enforce
    if general is None:
        return phases
    own: datetime | None = general
    if rollout:
        own = _rolled_out(rule_id, rollout, device)
    if own is not None and grace is not None and device.first_seen is not None:
        own = max(own, min(_later(device.first_seen, grace.per_device), grace.cap))
    if own is not None and own <= general:
        return phases
    warn = general if phases.warn is None else phases.warn
    return Phases(observe=phases.observe, warn=warn, enforce=own, zone=phases.zone)


def bucket(rule_id: str, device_id: str) -> int:
    """Where a device stands in a rule's rollout, 0 to 9,999: stable, and for every rule another order of devices."""
    digest = hashlib.sha256(f"{rule_id}\0{device_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def _rolled_out(rule_id: str, rollout: tuple[Step, ...], device: Device) -> datetime | None:
    """The first step that reaches the device; None: no step does."""
    place = bucket(rule_id, device.device_id)
    return next((step.begin for step in rollout if place < step.percent * (BUCKETS // 100)), None)


def _later(instant: datetime, by: timedelta) -> datetime:
    try:
        return instant + by
    except OverflowError:
        return datetime.max.replace(tzinfo=instant.tzinfo)
