"""Break-glass: for some minutes everybody whose password is right gets mail, whatever the policy says of the device.

Pure. It is opened by a signed note of an offline key, which names the gate (by the origin of its audit log), the time
and the reason, and ends by itself: nothing longer than `max_length` is believed, and nothing before or after its time.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gatekeeper.publishing.bundle import MAX_REASON
from gatekeeper.signing.note import Note, NoteError, VerifierKey, parse_note, signed_by

MAX_LENGTH = timedelta(minutes=60)
_NOT_ONE = "it does not say what break-glass notes say"
_SKEW = timedelta(minutes=2)
"""By which the clock of the signing machine may be ahead."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_TEXT = re.compile(
    r"break-glass (?P<origin>\S+)\n"
    r"opened (?P<opened>[0-9TZ:-]{20})\n"
    r"until (?P<until>[0-9TZ:-]{20})\n"
    r"reason (?P<reason>.+)\n"
)


OPEN = "OPEN"
"""How `Opening.words` begin."""


class BreakGlassError(ValueError):
    """A note that opens nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlassSettings:
    """Who may open it."""

    key: VerifierKey
    origin: str
    """Of the audit log."""
    max_length: timedelta = MAX_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """From when until when, and why."""

    origin: str
    opened: datetime
    """Aware UTC, whole seconds."""
    until: datetime
    reason: str

    def __post_init__(self) -> None:
        if (
            not 0 < len(self.reason) <= MAX_REASON
            or not self.reason.isprintable()
            or self.reason != self.reason.strip()
        ):
            raise BreakGlassError(f"the reason must be one line of at most {MAX_REASON} characters")

    @property
    def words(self) -> str:
        """For operators, as long as it lasts."""
        until = self.until.isoformat().replace("+00:00", "Z")
        return f"{OPEN} until {until}: everybody with a valid password gets mail ({self.reason})"

    @property
    def note(self) -> Note:
        """What the offline key signs."""
        times = f"opened {self.opened.strftime(_TIME)}\nuntil {self.until.strftime(_TIME)}\n"
        return Note(f"break-glass {self.origin}\n{times}reason {self.reason}\n")


def opening(origin: str, minutes: int, reason: str, now: datetime) -> Opening:
    """One that begins now; raises BreakGlassError."""
    opened = now.astimezone(UTC).replace(microsecond=0)
    return Opening(origin=origin, opened=opened, until=opened + timedelta(minutes=minutes), reason=reason)


def parse_opening(data: bytes, settings: BreakGlassSettings, now: datetime) -> Opening:
    """What a note opens, perhaps in the past; raises BreakGlassError for what opens nothing and never did."""
    try:
        note = parse_note(data)
        signers = signed_by(note, [settings.key])
    except NoteError as error:
        raise BreakGlassError(f"the note {error}") from error
    if not signers:
        raise BreakGlassError(f"it is not signed by `{settings.key.name}`, the key of policy.break_glass")
    match = _TEXT.fullmatch(note.text)
    if match is None:
        raise BreakGlassError(_NOT_ONE)
    try:
        opened, until = (datetime.strptime(match[name], _TIME).replace(tzinfo=UTC) for name in ("opened", "until"))
    except ValueError as error:
        raise BreakGlassError(_NOT_ONE) from error
    found = Opening(origin=match["origin"], opened=opened, until=until, reason=match["reason"])
    if found.origin != settings.origin:
        raise BreakGlassError(f"it is for `{found.origin}`, not for `{settings.origin}`")
    if not timedelta(0) < found.until - found.opened <= settings.max_length:
        raise BreakGlassError(
            f"it is longer than {settings.max_length // timedelta(minutes=1)} minutes, or has no length"
        )
    if found.opened > now + _SKEW:
        raise BreakGlassError("it begins in the future: is this clock right?")
    return found
