"""The plan: what the policy in force and a candidate come to on an inventory, at each coming date.

Verdicts are those of sessions that are tied to one device; a session that is tied to its user only has the strongest
verdict of the user's mobile devices, and is counted by people.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from gatekeeper.campaign.classes import Asked
from gatekeeper.campaign.dates import Date
from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Reason, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is planned."""

    in_force: Policy
    candidate: Policy
    asked: Asked
    dates: tuple[Date, ...]
    """The first is now."""
    watched: frozenset[str] = frozenset()
    """Canonical accounts of protected people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A device that is blocked by the candidate at one of the dates."""

    account: str
    device_id: str
    at: datetime
    """From when on; now: at once."""
    by: tuple[str, ...]
    """The rules that block it; empty: only what is not known about it."""
    reasons: tuple[Reason, ...]
    is_new: bool
    """The policy in force does not block it at that date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """A person all of whose registered devices are blocked by the candidate."""

    account: str
    devices: int
    at: datetime
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What happens to a protected person."""

    account: str
    devices: int
    blocked: tuple[Blocked, ...]
    untied: Verdict
    """Of a session that is tied to the person only, now, by the candidate."""

    @property
    def is_hit(self) -> bool:
        """Whether any mail of theirs is stopped at any of the dates."""
        return bool(self.blocked) or not self.untied.admits


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A device whose evidence cannot answer what the candidate asks now, or what its rules ask at a coming date."""

    account: str
    device_id: str
    reasons: tuple[Reason, ...]
    rules: tuple[str, ...]
    """Those that its list cannot answer."""
    verdict: Verdict
    """Now, or at the first date at which there is something that it cannot answer."""


@dataclass(slots=True)
class Tally:
    """What one policy comes to at one date, in devices and people."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    rules: Counter[tuple[str, Verdict]] = field(default_factory=Counter)
    """Devices in breach of the rule, by what it does; `allow` is observed."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """Devices whose list cannot answer the rule."""
    blocked_by_rules: int = 0
    """Devices that a rule blocks, whatever else is known or not."""
    untied: Counter[Verdict] = field(default_factory=Counter)
    """People, by the verdict on a session that is tied to the person only."""

    @property
    def blocked(self) -> int:
        """Devices whose mail is not let through."""
        return sum(count for verdict, count in self.verdicts.items() if not verdict.admits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer."""

    question: Question
    devices: int
    people: int
    classes: int
    in_force: tuple[Tally, ...]
    """Of the policy in force, one for each date."""
    candidate: tuple[Tally, ...]
    blocked: tuple[Blocked, ...]
    """By the candidate, new ones first, then by time and name; `blocked_total` of them."""
    blocked_total: int
    newly_blocked: int
    newly_by_rules: int
    """Those of them that a rule blocks, not only a lack of evidence."""
    cut_off: tuple[CutOff, ...]
    cut_off_total: int
    newly_cut_off: int
    watched: tuple[Watched, ...]
    unanswered: tuple[Unanswered, ...]
    unanswered_total: int

    @property
    def is_watched_hit(self) -> bool:
        """Whether a protected person is hit."""
        return any(person.is_hit for person in self.watched)
