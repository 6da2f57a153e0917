"""What an export of the log holds: the text of a signed note (c2sp.org/signed-note), signed or not.

Lines of `name: value`, in this order; `log` once for each log that records came from, `checkpoint` for each that has
one:

    gatekeeper audit export 1
    format: csv
    made: 2020-07-10T17:00:00Z
    by: root
    asked: user=alice@example.com since=2020-07-01T00:00:00Z
    read: log
    file: records.csv
    octets: 12345
    sha256: 9f86…
    records: 42
    first: 2020-07-02T08:00:00.000Z
    last: 2020-07-09T18:30:00.000Z
    log: gatekeeper.example/audit/1 records 42 from 1201 to 9876
    checkpoint: gatekeeper.example/audit/1 10000 <root in base64>

Inside holds: no text from outside can add a line; any octets give an `Outline` or a `NoteError`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gatekeeper.audit.checkpoint import Checkpoint
from gatekeeper.audit.record import clean
from gatekeeper.audit.stored import StoredRecord, stamp
from gatekeeper.signing.note import Note, NoteError

TITLE = "gatekeeper audit export 1"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FILE = re.compile(r"records\.[a-z]{1,10}", re.ASCII)


@dataclass(slots=True)
class Tally:
    """What went into an export, counted on the way."""

    records: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    logs: dict[str, list[int]] = field(default_factory=dict)
    """For each log: records, lowest and highest sequence."""

    def add(self, record: StoredRecord) -> None:
        """Count one."""
        self.records += 1
        self.first_ms = record.time_ms if self.first_ms is None else min(self.first_ms, record.time_ms)
        self.last_ms = record.time_ms if self.last_ms is None else max(self.last_ms, record.time_ms)
        counts = self.logs.setdefault(record.log, [0, record.sequence, record.sequence])
        counts[0] += 1
        counts[1] = min(counts[1], record.sequence)
        counts[2] = max(counts[2], record.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is said of an export."""

    format: str
    made: str
    """RFC 3339."""
    by: str
    """Account on the machine, not proven."""
    asked: str
    """The filters in words; empty: everything."""
    read: str
    """`log`, or `index` when records were found by the index."""
    file: str
    octets: int
    sha256: str
    tally: Tally
    checkpoints: Sequence[Checkpoint]
    """As they lay there; whether they are signed by the right key is for `audit verify` to say."""

    def note(self) -> Note:
        """The unsigned note."""
        return Note("".join(f"{line}\n" for line in self._lines()))

    def _lines(self) -> Iterator[str]:
        tally = self.tally
        yield TITLE
        yield f"format: {self.format}"
        yield f"made: {self.made}"
        yield f"by: {clean(self.by, 64)}"
        yield f"asked: {clean(self.asked, 1000) or 'everything'}"
        yield f"read: {self.read}"
        yield f"file: {self.file}"
        yield f"octets: {self.octets}"
        yield f"sha256: {self.sha256}"
        yield f"records: {tally.records}"
        yield f"first: {stamp(tally.first_ms) or '-'}"
        yield f"last: {stamp(tally.last_ms) or '-'}"
        for log, (records, lowest, highest) in sorted(tally.logs.items()):
            yield f"log: {clean(log, 300)} records {records} from {lowest} to {highest}"
        for checkpoint in self.checkpoints:
            yield "checkpoint: " + clean(" ".join(checkpoint.text.split("\n")).strip(), 500)


@dataclass(frozen=True, slots=True)
class Outline:
    """Of a manifest read back: what an exported file is held against."""

    file: str
    octets: int
    sha256: str
    records: int

    @classmethod
    def parse(cls, text: str) -> "Outline":
        """Read it in the text of a note; raises NoteError."""
        title, *lines = text.split("\n")
        if title != TITLE:
            raise NoteError("is no manifest of an audit export")
        found = dict(line.partition(": ")[::2] for line in lines)
        file, sha256 = found.get("file", ""), found.get("sha256", "")
        numbers = [found.get(name, "") for name in ("octets", "records")]
        if not _FILE.fullmatch(file) or not _SHA256.fullmatch(sha256):
            raise NoteError("names no file, or no SHA-256 of it")
        if not all(number.isascii() and number.isdecimal() and len(number) < 19 for number in numbers):
            raise NoteError("has no numbers of octets and records")
        return cls(file, int(numbers[0]), sha256, int(numbers[1]))
