"""Verification of the `prev` chain: what was changed, dropped, inserted, reordered or cut, and where.

Inside holds: the log is streamed once, memory is bounded whatever it contains, and no content makes `verify` raise.
A line is chained by the SHA-256 of its exact bytes, so nothing has to be put into a canonical form.

What one pass over the chain cannot see: a tail that was cut off, and a log that was rewritten from some record to its
end with every `prev` computed anew. Both are found against a *head* that was noted before (`head`); whoever can also
rewrite that note stays uncaught. That is what signed heads are for: `signed` goes along over the same lines.

A log may begin with a later record than the first one when a record in it says that the ones before were pruned.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gatekeeper.audit import stored
from gatekeeper.audit.record import FIRST_PREV, MAX_RECORD
from gatekeeper.audit.report import Finding, Head, Kind, Place, Pruned, Report, TornTail, Unreadable
from gatekeeper.audit.stored import StoredRecord

MAX_PIECE = MAX_RECORD + 2
"""A reader hands over lines in pieces of at most this many octets: one more than a full line with its newline."""

_MAX_FINDINGS = 100  # a log that is wrong in more places is not read place by place
_MAX_POLICIES = 100


@dataclass(slots=True)
class _Tip:
    """The record that the next one has to follow."""

    sequence: int
    sha256: str
    place: Place | None
    is_reported: bool = False
    """Its bytes are already known to be changed: that the next record does not fit is no news."""
    true_sequence: int | None = None
    """What its number should be, when it is chained to the one before but numbered otherwise."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The first record there is, which is not the first one there was."""

    first: int
    prev: str | None
    """Of it; None: it cannot be read."""
    finding: int
    """Index of the finding that reported what is missing before it."""


@dataclass(slots=True)
class _Gap:
    """Sequence numbers that were skipped, until they turn up."""

    first: int
    last: int
    absent: int
    finding: int
    """Index of the finding that reported it."""


def verify(
    segments: Iterable[tuple[str, Iterable[bytes]]], *, head: Head | None = None, start: Head | None = None
) -> Report:
    """Verify a log.

    Args:
        segments: name and lines of each segment, in order; a line has its newline, a longer one than a record may be
            comes in pieces of at most `MAX_PIECE` octets. Whoever gives them raises `Unreadable` when the rest of a
            segment cannot be read.
        head: a record known to have been there; a log that ends before it, or has another one there, is reported.
        start: the record before the first line, when the lines are not the whole log.
    """
    verification = _Verification(head, start)
    for name, pieces in segments:
        verification.begin(name)
        try:
            for piece in pieces:
                verification.take(piece)
        except Unreadable as error:
            verification.stop(str(error))
    return verification.finish()


class _Verification:
    """The state of one pass."""

    def __init__(self, head: Head | None, start: Head | None) -> None:
        self._head = head
        self._is_head_seen = head is None
        self._tip = _Tip(-1, FIRST_PREV, None) if start is None else _Tip(start.sequence, start.sha256, None)
        self._rival: _Tip | None = None
        """Another record with the tip's number: one of the two was inserted, the next record shows which."""
        self._unreadable = 0
        """Lines since the tip that are no records."""
        self._begins: _Beginning | None = None
        """When the lines do not begin with the first record of the log."""
        self._pruned: Pruned | None = None
        self._gaps: list[_Gap] = []
        self._findings: list[Finding] = []
        self._findings_total = 0
        self._segment = ""
        self._segments = 0
        self._line = 0
        self._offset = 0
        self._is_within_line = False
        self._torn: TornTail | None = None
        self._figures = _Figures()

    def begin(self, segment: str) -> None:
        """The lines that follow are those of `segment`."""
        self._report_torn()
        self._segment = segment
        self._segments += 1
        self._line = 0
        self._offset = 0
        self._is_within_line = False

    def take(self, piece: bytes) -> None:
        """One line, or a piece of an overlong one."""
        self._report_torn()
        offset = self._offset
        self._offset += len(piece)
        was_within_line = self._is_within_line
        self._is_within_line = not piece.endswith(b"\n")
        if was_within_line:
            return
        self._line += 1
        place = Place(self._segment, self._line, offset)
        if len(piece) >= MAX_PIECE:
            self._find(Kind.OVERLONG, place, f"the line has more than {MAX_RECORD} octets")
            self._unreadable += 1
            return
        if self._is_within_line:
            self._torn = TornTail(place, len(piece), hashlib.sha256(piece).hexdigest())
            self._is_within_line = False
            return
        line = piece[:-1]
        try:
            record = stored.read(line)
        except ValueError as error:
            self._find(Kind.UNREADABLE, place, f"the line is no record: {error}")
            self._unreadable += 1
            return
        self._accept(record, hashlib.sha256(line).hexdigest(), replace(place, sequence=record.sequence))

    def stop(self, why: str) -> None:
        """The rest of the segment cannot be read."""
        self._report_torn()
        self._find(Kind.DAMAGED, Place(self._segment, self._line + 1, self._offset), why)

    def finish(self) -> Report:
        """All lines were taken."""
        for gap in self._gaps:
            if not gap.absent and gap.finding < len(self._findings):
                finding = self._findings[gap.finding]
                what = f"the record stands before {_numbers(gap.first, gap.last)}, which follow later"
                self._findings[gap.finding] = Finding(Kind.REORDERED, finding.place, what)
        self._compare_with_head()
        self._look_at_the_beginning()
        self._figures.pruned = self._pruned if self._begins else None
        return self._figures.report(
            segments=self._segments,
            tip=self._tip,
            last_line=self._line,
            torn=self._torn,
            findings=tuple(self._findings),
            findings_total=self._findings_total,
        )

    def _accept(self, record: StoredRecord, sha256: str, place: Place) -> None:
        """Take a readable record into the chain."""
        log = self._figures.log
        if log is not None and record.log != log:
            self._find(Kind.FOREIGN, place, f"the record belongs to the log `{record.log[:200]}`")
        if self._line == 1 and self._segment[:20].isdecimal() and int(self._segment[:20]) != record.sequence:
            self._find(Kind.MISNAMED, place, f"the file's name says that it begins with {int(self._segment[:20])}")
        self._figures.count(record, place)
        if record.code == stored.LOG_PRUNED:
            self._note_pruned(record)
        if self._head is not None and record.sequence == self._head.sequence and not self._is_head_seen:
            self._is_head_seen = True
            if sha256 != self._head.sha256:
                what = "another record was noted as head: this one was changed, or all up to it was rewritten"
                self._find(Kind.REWRITTEN, place, what)
        self._link(record, sha256, place)

    def _link(self, record: StoredRecord, sha256: str, place: Place) -> None:
        """Compare number and `prev` with the tip, and move the tip."""
        tip = self._tip
        rival = self._rival
        if rival is not None and record.sequence == rival.sequence + 1 and record.prev == rival.sha256:
            tip = rival  # the tip was inserted, and that is reported already
        elif tip.true_sequence is not None and record.sequence == tip.true_sequence + 1:
            tip.sequence = tip.true_sequence
        expected = tip.sequence + 1
        following = _Tip(record.sequence, sha256, place)
        self._rival = None
        if record.prev == tip.sha256:
            if record.sequence != expected:
                what = f"the record follows record {tip.sequence} and should have the number {expected}"
                self._find(Kind.RENUMBERED, place, what)
                following.is_reported = True
                following.true_sequence = expected
                self._rival = tip
        elif record.sequence == expected:
            self._find_changed(tip, place)
        elif record.sequence > expected:
            if record.sequence - expected > self._unreadable:
                if tip.sequence < 0:
                    first = record.sequence - self._unreadable
                    self._begins = _Beginning(first, None if self._unreadable else record.prev, len(self._findings))
                self._find_gap(expected, record.sequence - 1, place)
        else:
            self._find_out_of_place(following)
            return
        self._tip = following
        self._unreadable = 0

    def _find_changed(self, tip: _Tip, place: Place) -> None:
        """A record has the next number but was chained to other bytes."""
        if tip.is_reported:
            return
        if tip.place is not None:
            both = f"record {tip.sequence} is not the one that record {tip.sequence + 1} was chained to"
            self._find(Kind.CHANGED, tip.place, f"{both}: one of the two was changed")
        elif tip.sequence < 0:
            self._find(Kind.CHANGED, place, "`prev` of the first record of a log is not 64 zeros")
        else:
            self._find(Kind.CHANGED, place, f"the record was chained to another record {tip.sequence}")

    def _find_gap(self, first: int, last: int, place: Place) -> None:
        what = f"{_numbers(first, last)} {'is' if first == last else 'are'} missing before the record"
        if len(self._findings) < _MAX_FINDINGS:
            self._gaps.append(_Gap(first, last, last - first + 1, len(self._findings)))
        self._find(Kind.MISSING, place, what)

    def _find_out_of_place(self, record: _Tip) -> None:
        """A number that is not above the tip's: late, or there before."""
        for gap in self._gaps:
            if gap.absent and gap.first <= record.sequence <= gap.last:
                gap.absent -= 1
                self._find(Kind.REORDERED, record.place, f"the record stands after record {self._tip.sequence}")
                return
        if record.sequence == self._tip.sequence:
            self._rival = record
        self._find(Kind.DUPLICATE, record.place, f"a record with the number {record.sequence} was there before")

    def _compare_with_head(self) -> None:
        head = self._head
        if head is None or self._is_head_seen or self._tip.sequence + self._unreadable >= head.sequence:
            return
        end = f"ends with record {self._tip.sequence}" if self._figures.entries else "is empty"
        what = f"the log {end} although record {head.sequence} was noted as its head: its end was cut off"
        self._find(Kind.TRUNCATED, self._tip.place, what)

    def _note_pruned(self, record: StoredRecord) -> None:
        first_kept = record.number_at("unmapped", "gatekeeper", "first_kept")
        if first_kept is not None and (self._pruned is None or first_kept >= self._pruned.first_kept):
            self._pruned = Pruned(first_kept, record.sequence, record.text("last_sha256") or "")

    def _look_at_the_beginning(self) -> None:
        """Whether what is missing at the beginning was pruned, and a record says so."""
        begins, pruned = self._begins, self._pruned
        if begins is None or pruned is None or self._findings[begins.finding].kind is not Kind.MISSING:
            return
        first, place = begins.first, self._findings[begins.finding].place
        if pruned.first_kept < first:
            what = f"{_numbers(pruned.first_kept, first - 1)} missing before the record"
            what += f": record {pruned.by} says only of those before {pruned.first_kept} that they were pruned"
            self._findings[begins.finding] = Finding(Kind.MISSING, place, what)
        elif pruned.first_kept == first and begins.prev not in {None, pruned.last_sha256}:
            what = f"the record does not follow the last pruned one, as record {pruned.by} knows it"
            self._findings[begins.finding] = Finding(Kind.CHANGED, place, what)
        else:
            del self._findings[begins.finding]
            self._findings_total -= 1

    def _report_torn(self) -> None:
        """What was taken for the torn end of the log is not its end."""
        if self._torn is None:
            return
        self._find(Kind.UNREADABLE, self._torn.place, "the line has no newline although the log goes on")
        self._unreadable += 1
        self._torn = None

    def _find(self, kind: Kind, place: Place | None, what: str) -> None:
        self._findings_total += 1
        if len(self._findings) < _MAX_FINDINGS:
            self._findings.append(Finding(kind, place, what))


class _Figures:
    """What is counted on the way."""

    def __init__(self) -> None:
        self.log: str | None = None
        self.entries = 0
        self.pruned: Pruned | None = None
        self._first: StoredRecord | None = None
        self._last: StoredRecord | None = None
        self._last_written_ms = 0
        self._back_steps = 0
        self._max_back_step_ms = 0
        self._openings = 0
        self._unclean = 0
        self._recovered: list[Place] = []
        self._codes: Counter[str] = Counter()
        self._policies: dict[str, None] = {}

    def count(self, record: StoredRecord, place: Place) -> None:
        """Take a record into the figures."""
        self.entries += 1
        last = self._last
        if last is None:
            self._first = record
            self.log = record.log
        if not record.is_of_many:  # which has the time of the last of them, and is written some time after it
            self._step(record.time_ms)
        if record.code == stored.LOG_OPENED:
            self._openings += 1
            if last is not None and last.code != stored.LOG_CLOSED:
                self._unclean += 1
        elif record.code == stored.TAIL_RECOVERED and len(self._recovered) < _MAX_FINDINGS:
            self._recovered.append(place)
        self._codes[record.code if stored.is_event_code(record.code) else "unknown"] += 1
        policy = record.text("policy_sha256")
        if policy is not None and len(self._policies) < _MAX_POLICIES:
            self._policies[policy[:64]] = None
        self._last = record

    def _step(self, time_ms: int) -> None:
        if time_ms < self._last_written_ms:
            self._back_steps += 1
            self._max_back_step_ms = max(self._max_back_step_ms, self._last_written_ms - time_ms)
        self._last_written_ms = time_ms

    def report(
        self,
        *,
        segments: int,
        tip: _Tip,
        last_line: int,
        torn: TornTail | None,
        findings: tuple[Finding, ...],
        findings_total: int,
    ) -> Report:
        """The figures with the findings."""
        first, last = self._first, self._last
        words: Counter[str] = Counter()
        for code, count in self._codes.items():
            words[stored.word_of(code)] += count
        return Report(
            log=self.log,
            entries=self.entries,
            segments=segments,
            pruned=self.pruned,
            first_sequence=None if first is None else first.sequence,
            last=None if last is None else Head(tip.sequence, tip.sha256),
            last_place=tip.place,
            last_line=last_line,
            first_time_ms=None if first is None else first.time_ms,
            last_time_ms=None if last is None else last.time_ms,
            max_back_step_ms=self._max_back_step_ms,
            back_steps=self._back_steps,
            openings=self._openings,
            unclean=self._unclean,
            is_closed=last is not None and last.code == stored.LOG_CLOSED,
            recovered=tuple(self._recovered),
            words=dict(words),
            policies=tuple(self._policies),
            torn=torn,
            findings=findings,
            findings_total=findings_total,
        )


def _numbers(first: int, last: int) -> str:
    return f"record {first}" if first == last else f"records {first} to {last}"
