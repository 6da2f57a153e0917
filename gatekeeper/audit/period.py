"""The figures of a period of the log, for the report: counted along its records, in the order of time.

Inside holds: nothing is guessed. A device counts as in breach of a rule from the record that says so until one that
says that it is clean, or in breach of other rules only; lists are bounded, and how much was left out is known.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from gatekeeper.audit.codes import Word
from gatekeeper.audit.event import EventCode
from gatekeeper.audit.stored import StoredRecord

DECISIONS = (Word.ALLOW, Word.WARN, Word.WOULD_BLOCK, Word.BLOCK, Word.UNAVAILABLE, Word.REFUSED)
"""The words that a log-in can end with, as they are shown."""

AGES = (
    ("up to 1 hour", 3600),
    ("up to 6 hours", 6 * 3600),
    ("up to 1 day", 24 * 3600),
    ("up to 3 days", 72 * 3600),
    ("up to 7 days", 7 * 86400),
    ("older", 1 << 62),
)
"""Names and upper bounds (seconds) of what evidence is sorted into by its age."""

SILENCE = timedelta(minutes=3)
"""A gate that runs records something every minute; a log that says nothing for longer was not written."""

MAX_LISTED = 500
_MAX_BUCKETS = 62  # what can be told apart on a page; a month is shown by days
_STEPS = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 7 * 24, 28 * 24, 364 * 24))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SETTLING = frozenset({"clean", "denied"})  # a stale or partial list does not say that an app is gone
_CHANGES = frozenset({Word.POLICY, Word.CONFIG})
_OF_THE_LOG = frozenset(
    {
        *(EventCode.AUDIT_EXPORTED, EventCode.IDENTITY_RESOLVED, EventCode.IDENTITY_ERASED),
        *(EventCode.QUARTER_DESTROYED, EventCode.HOLD_PLACED, EventCode.HOLD_RELEASED, EventCode.LOG_PRUNED),
    }
)
"""What people did with the log itself."""
_FORGETTING = frozenset({EventCode.DEVICE_CLEAN, EventCode.DEVICE_FORGOTTEN})


@dataclass(slots=True)
class AppUse:
    """What one denied app led to."""

    refused: int = 0
    let_through: int = 0
    """With a warning, or under observation."""
    devices: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    last_ms: int = 0


@dataclass(slots=True)
class Use:
    """How often something was used, and when last."""

    times: int = 0
    people: set[str] = field(default_factory=set)
    first_ms: int = 0
    last_ms: int = 0

    def add(self, record: StoredRecord) -> None:
        """Once more."""
        self.first_ms = self.first_ms or record.time_ms
        self.times += record.count
        self.last_ms = max(self.last_ms, record.time_ms)
        if record.account is not None:
            self.people.add(record.account)


@dataclass(frozen=True, slots=True)
class Silence:
    """A time of which a log says nothing."""

    log: str
    begin_ms: int
    end_ms: int


class Period:
    """A period from `since` to `until` (both inclusive), in buckets of one length."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self.since, self.until = since, until
        span = max(until - since, timedelta(0))
        self.step = next((step for step in _STEPS if span / step < _MAX_BUCKETS), _STEPS[-1])
        self._first = _EPOCH + (since - _EPOCH) // self.step * self.step
        count = min((until - self._first) // self.step, 10 * _MAX_BUCKETS) + 1
        self.starts = [self._first + number * self.step for number in range(max(count, 1))]
        self.decisions: list[Counter[str]] = [Counter() for _ in self.starts]
        self.codes: Counter[str] = Counter()
        self.apps: dict[str, AppUse] = {}
        self.exemptions: dict[str, Use] = {}
        self.policies: dict[str, Use] = {}
        self.changes: list[StoredRecord] = []
        self.reads: list[StoredRecord] = []
        self.faults: list[StoredRecord] = []
        """Workers that died, tails that were recovered."""
        self.left_out = 0
        """Of `changes`, `reads` and `faults`."""
        self.silences: list[Silence] = []
        self.people: set[str] = set()
        self.ages: dict[str, int] = {}
        """Of each device, the age (s) of the evidence on which it was decided last."""
        self.breaches: dict[str, list[int]] = {}
        """Of each rule, the devices in breach at the end of each bucket."""
        self.records = 0
        self._open: dict[str, set[str]] = {}
        self._settled = 0
        self._spoke: dict[str, int] = {}

    def add(self, record: StoredRecord) -> None:
        """Count a record; one from before the period only tells who was in breach when it began."""
        self._spoken(record)
        if record.time > self.until:
            return
        if record.time >= self.since:
            self._settle((record.time - self._first) // self.step)
            self._count(record)
        self._breach(record)

    def finish(self, now: datetime) -> None:
        """All records were counted; `now`: nothing is known of later."""
        end = min(self.until, now)
        self._settle(min((end - self._first) // self.step + 1, len(self.starts)))
        end_ms = (end - _EPOCH) // timedelta(milliseconds=1)
        for log, spoke in self._spoke.items():
            self._silent(log, spoke, end_ms)
        self._shorten()

    def totals(self) -> Counter[str]:
        """Decisions by their word."""
        return sum(self.decisions, Counter())

    def evidence(self) -> Counter[str]:
        """Devices by the age of the evidence on which they were decided last."""
        found = Counter({name: 0 for name, _ in AGES})
        for age in self.ages.values():
            found[next(name for name, most in AGES if age <= most)] += 1
        return found

    def _count(self, record: StoredRecord) -> None:
        self.records += 1
        self.codes[record.code] += record.count
        if record.word in DECISIONS:
            bucket = min((record.time - self._first) // self.step, len(self.starts) - 1)
            self.decisions[bucket][record.word] += record.count
            self._decided(record)
        if record.word in _CHANGES:
            self._list(self.changes, record)
        elif record.code in _OF_THE_LOG:
            self._list(self.reads, record)
        elif record.code in (EventCode.WORKER_DIED, EventCode.TAIL_RECOVERED):
            self._list(self.faults, record)

    def _decided(self, record: StoredRecord) -> None:
        digest, age = record.text("policy_sha256"), record.facts.get("evidence_age_s")
        if digest is None:
            return  # the mail server refused it, nothing was decided
        self.policies.setdefault(digest, Use()).add(record)
        if record.account is not None:
            self.people.add(record.account)
        if record.device is not None and isinstance(age, int):
            self.ages[record.device] = age
        for name in record.texts("exemptions"):
            self.exemptions.setdefault(name, Use()).add(record)
        for app in record.texts("matched"):
            use = self.apps.setdefault(app, AppUse())
            if record.word == Word.BLOCK:
                use.refused += record.count
            else:
                use.let_through += record.count
            use.last_ms = max(use.last_ms, record.time_ms)
            use.devices.update(_known(record.device))
            use.people.update(_known(record.account))

    def _breach(self, record: StoredRecord) -> None:
        device = record.device
        if device is None:
            return
        posture, rules = record.text("posture"), record.texts("rules")
        if posture in _SETTLING or record.code in _FORGETTING:
            for rule, devices in self._open.items():
                if rule not in rules:
                    devices.discard(device)
        for rule in rules:
            self._open.setdefault(rule, set()).add(device)

    def _settle(self, bucket: int) -> None:
        """Note who was in breach at the end of every bucket before this one."""
        for number in range(self._settled, min(bucket, len(self.starts))):
            for rule, devices in self._open.items():
                series = self.breaches.setdefault(rule, [0] * number)
                series.append(len(devices))
            self._settled = number + 1

    def _spoken(self, record: StoredRecord) -> None:
        before = self._spoke.get(record.log)
        self._spoke[record.log] = max(record.time_ms, before or 0)
        if before is not None:
            self._silent(record.log, before, record.time_ms)

    def _silent(self, log: str, begin_ms: int, end_ms: int) -> None:
        is_long = timedelta(milliseconds=end_ms - begin_ms) > SILENCE
        since_ms = (self.since - _EPOCH) // timedelta(milliseconds=1)
        if is_long and end_ms > since_ms:
            self.silences.append(Silence(log, begin_ms, end_ms))
        if len(self.silences) > 2 * MAX_LISTED:
            self._shorten()

    def _shorten(self) -> None:
        """Keep the longest silences, longest first."""
        self.silences.sort(key=lambda one: one.begin_ms - one.end_ms)
        del self.silences[MAX_LISTED:]

    def _list(self, records: list[StoredRecord], record: StoredRecord) -> None:
        if len(records) < MAX_LISTED:
            records.append(record)
        else:
            self.left_out += 1


def _known(text: str | None) -> Iterator[str]:
    if text is not None:
        yield text
