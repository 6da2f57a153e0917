"""The sessions that are open, and their admissions: re-decided on every change, cut when they no longer stand.

An admission is a recorded, expiring permission. It expires when time alone can change the verdict
(`Decision.valid_until`), when the policy changes, and when something about its account or device changes. Then the
session is decided again, like a new one; one that no longer stands is cut, and its terminal record says why.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from gatekeeper.domain.decision import Decision
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.request import ClientCertificate, Connection, Request

NO_FACTS: Mapping[str, str | int] = MappingProxyType({})


def _not_begun() -> None:
    """Nothing to cut yet: whoever answers a claim sets `cut` before anything else can happen."""


@dataclass(slots=True, kw_only=True, eq=False)
class Admission:
    """One live session's permission, and how to end it."""

    connection: Connection
    request: Request
    certificate: ClientCertificate | None
    mechanism: str
    decision: Decision
    """The latest; replaced whenever the session is decided again."""
    facts: Mapping[str, str | int] = field(default_factory=lambda: NO_FACTS)
    """Of its claim, for its records."""
    cut: Callable[[], None] = _not_begun
    """Ends the session now; set by its owner, which then calls `Gate.ended`."""
    revoked: bool = False
    in_question: bool = False
    """The store is being asked about it right now."""


class LiveSessions:
    """All admissions of the process."""

    __slots__ = ("_admissions", "_next_due")

    def __init__(self) -> None:
        self._admissions: set[Admission] = set()
        self._next_due: datetime | None = None

    def __len__(self) -> int:
        return len(self._admissions)

    def __contains__(self, admission: Admission) -> bool:
        return admission in self._admissions

    def add(self, admission: Admission) -> None:
        """Watch over a session from now on."""
        self._admissions.add(admission)
        self.expect(admission.decision.valid_until)

    def discard(self, admission: Admission) -> None:
        """The session is over."""
        self._admissions.discard(admission)

    def expect(self, due: datetime | None) -> None:
        """Something becomes due at that instant."""
        if due is not None and (self._next_due is None or due < self._next_due):
            self._next_due = due

    def due(self, now: datetime) -> tuple[Admission, ...]:
        """Admissions that have expired; looks at all of them only when one can have."""
        if self._next_due is None or now < self._next_due:
            return ()
        self._next_due = None
        late = []
        for admission in self._admissions:
            until = admission.decision.valid_until
            if until is not None and until <= now:
                late.append(admission)
            else:
                self.expect(until)
        return tuple(late)

    def concerned(self, accounts: frozenset[str], device_ids: frozenset[DeviceId]) -> tuple[Admission, ...]:
        """Admissions of those accounts, or bound to those devices."""
        return tuple(
            admission
            for admission in self._admissions
            if admission.request.account in accounts
            or admission.decision.device_id in device_ids
            or admission.decision.binding.claimed_device in device_ids
        )

    def all(self) -> tuple[Admission, ...]:
        """A snapshot."""
        return tuple(self._admissions)
