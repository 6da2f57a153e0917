"""What `audit verify` says of all logs together: its exit code, its last lines, its document."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gatekeeper.audit.checkpoint import Checkpoint
from gatekeeper.audit.cosignature import Cosigned
from gatekeeper.audit.record import clean
from gatekeeper.cli.audit_keys import Known
from gatekeeper.cli.audit_report import Verified, as_document, worst_of
from gatekeeper.cli.words import EXIT_FAILED, EXIT_INCOMPLETE

_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z, the last instant that datetime can say
_RESULTS = {0: "SOUND", EXIT_FAILED: "TAMPERED", EXIT_INCOMPLETE: "INCOMPLETE"}


@dataclass(frozen=True, slots=True)
class Required:
    """A log to verify."""

    directory: Path
    known: Known
    older: tuple[Checkpoint, ...]


@dataclass(frozen=True, slots=True)
class Muster:
    """The logs that there have to be, as they were found."""

    required: tuple[Required, ...]
    gone: tuple[tuple[str, int], ...]
    """Origins of those that are not there, and how many records of each were signed."""
    strange: tuple[tuple[str, Path], ...] = ()
    """Logs that the registry does not name, with where they are."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    verified: Sequence[Verified]
    muster: Muster
    seen: Mapping[str, Sequence[Cosigned]]
    """By the name of a cosigned head: which known witnesses saw it."""
    unseen: Sequence[str]
    """Heads that not every known witness cosigned."""

    @property
    def status(self) -> int:
        """The exit code."""
        worst = worst_of(self.verified).status if self.verified else 0
        if self.muster.gone or worst == EXIT_FAILED:
            return EXIT_FAILED
        return EXIT_INCOMPLETE if worst or self.unseen or self.muster.strange else 0

    def lines(self) -> Iterator[str]:
        """For people, after the reports on each log."""
        for origin, size in self.muster.gone:
            yield f"FOUND      gone: there is no log `{clean(origin)}`, of which {size} records were signed"
        for origin, place in self.muster.strange:
            yield f"missing    the registry does not name the log `{clean(origin)}` in {place}"
        for name, each in self.seen.items():
            for cosigned in each:
                yield f"witness    {name}: {cosigned.witness.name} saw it at {_instant(cosigned.time)}"
        for name in self.unseen:
            yield f"missing    {name} is not cosigned by every known witness"

    def document(self, *, is_with_witnesses: bool) -> dict[str, object]:
        """For machines."""
        documents = [{"directory": str(one.directory), **as_document(one)} for one in self.verified]
        document: dict[str, object]
        if len(documents) == 1 and not self.muster.gone and not self.muster.strange:
            document = documents[0]
        else:
            document = {
                "result": _RESULTS[self.status],
                "gone": [origin for origin, _ in self.muster.gone],
                "unregistered": [{"origin": origin, "directory": str(place)} for origin, place in self.muster.strange],
                "logs": documents,
            }
        if is_with_witnesses:
            witnessed = [{"name": one.witness.name, "time": one.time} for each in self.seen.values() for one in each]
            document = {**document, "witnessed": witnessed}
        return document


def _instant(seconds: int) -> str:
    if seconds > _LATEST:
        return f"{seconds} s after 1970"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
