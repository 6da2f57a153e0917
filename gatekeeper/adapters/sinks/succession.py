"""Which log is gone on with in a directory: the one that is there, or a new one after it.

A log that lies behind what is known to have been signed was restored from a backup, or cut. To go on with it would sign
a second history that contradicts the first. So it is set aside, as it is, and a new one begins, whose name is that of
the first one with a number behind it: `gatekeeper.example/audit/1`, `gatekeeper.example/audit/1/2`, `…/3`.

    before-1/ before-2/ …   the logs that were set aside, each whole as `directory` says, beside the one that goes on

What was signed last is remembered outside the audit directory too (`Remembered`), so that a directory that was restored
as a whole, or emptied, is noticed.

Inside holds: nothing of a log is changed or removed; setting aside is finished by the next start where it was
interrupted; a name that has signed something is never begun anew as long as it is remembered, or its log is there.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError, read_head
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.reader import last_lines
from gatekeeper.adapters.sinks.tiles import put, read_checkpoint_file
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.stored import read
from gatekeeper.signing.note import MAX_NOTE_OCTETS, NoteError

AUDIT_HEADS = "audit-heads"
"""Where in the state directory of a gate it is put down what its logs signed last."""

_BEFORE = re.compile(r"before-([1-9]\d{0,5})", re.ASCII)
_NUMBER = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_PARTS = ("segments", "tile", "checkpoint", "head.json", "cosigned", "shipped")
"""What a log consists of; an index, a lock or a key is not of one log."""


class Remembered:
    """The last signed head of the log that is configured as `base`, in a file outside the audit directory."""

    def __init__(self, directory: Path, base: str) -> None:
        self.path = directory / f"{hashlib.sha256(base.encode()).hexdigest()[:32]}.checkpoint"

    def read(self) -> Checkpoint | None:
        """None: nothing was signed yet, or it was forgotten.

        Raises:
            AuditLogError: it cannot be read; to go on as if nothing had been signed could sign a second history.
        """
        try:
            with self.path.open("rb") as file:
                return read_checkpoint(file.read(MAX_NOTE_OCTETS + 1))[0]
        except FileNotFoundError:
            return None
        except (OSError, NoteError) as error:
            raise AuditLogError(
                f"`{self.path}`, which says what was signed last, cannot be read ({error}): if the audit log is known "
                "to be whole (`gatekeeper audit verify` with a kept checkpoint), remove the file"
            ) from error

    def keep(self, note: bytes, files: FileOperations) -> None:
        """Put down a head before it is published. Raises OSError."""
        if not self.path.parent.is_dir():
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        put(self.path, note, files, is_durable=True)


@dataclass(frozen=True, slots=True)
class Succession:
    """Which log goes on."""

    origin: str
    known: Checkpoint | None = None
    """What it is known to have signed."""
    predecessor: Checkpoint | None = None
    """What is known of the log that is not continued; None: there is none."""
    found: int | None = None
    """How many records of it are there; None: it is gone."""
    set_aside: str = ""
    """The directory in which it lies now."""

    def detail(self) -> dict[str, str | int]:
        """As facts of a record; empty when nothing happened."""
        if self.predecessor is None:
            return {}
        facts: dict[str, str | int] = {
            "predecessor": self.predecessor.origin,
            "predecessor_size": self.predecessor.size,
            "found_n": -1 if self.found is None else self.found,
        }
        if any(self.predecessor.root):
            facts["predecessor_root"] = self.predecessor.root.hex()
        if self.set_aside:
            facts["set_aside"] = self.set_aside
        return facts


def settle(directory: Path, base: str, remembered: Remembered, files: FileOperations) -> Succession:
    """Decide which log goes on in the directory, whose lock is held, and set aside what does not.

    Raises:
        AuditLogError: that cannot be told; OSError: it cannot be moved.
    """
    for half in sorted(directory.glob("before-*.new")):
        _move(directory, half, files)
    last = remembered.read()
    here = _origin_in(directory, base)
    if here is None:
        return Succession(base) if last is None else Succession(_after(base, last.origin), predecessor=last)
    if generation(base, here) is None:
        return Succession(base)  # the log of another configuration: opening it says so
    records = _records(directory)
    known = max(_known(directory, here, last), key=lambda one: one.size, default=None)
    is_older = last is not None and _number(base, here) < _number(base, last.origin)
    if last is not None and is_older:
        return _set_aside(directory, base, last, records, files)
    if known is not None and records is not None and records < known.size:
        return _set_aside(directory, base, known, records, files)
    return Succession(here, known=last if last is not None and last.origin == here else None)


def generation(base: str, origin: str) -> int | None:
    """1 for the log that is configured, 2 for the one after it, and so on; None for another one."""
    if origin == base:
        return 1
    number = origin.removeprefix(f"{base}/")
    return int(number) if number != origin and _NUMBER.fullmatch(number) and int(number) > 1 else None


def earlier(directory: Path) -> list[Path]:
    """The logs that were set aside in the directory of a log, in their order."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        found = [(int(match[1]), path) for path in directory.iterdir() if (match := _BEFORE.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def is_earlier(log: Path) -> bool:
    """Whether this is where a log was set aside."""
    return _BEFORE.fullmatch(log.name) is not None


def _set_aside(directory: Path, base: str, known: Checkpoint, records: int | None, files: FileOperations) -> Succession:
    there = earlier(directory)
    number = int(there[-1].name.partition("-")[2]) + 1 if there else 1
    target = directory / f"before-{number}"
    half = target.with_name(f"{target.name}.new")
    half.mkdir(mode=0o750)
    files.sync_directory(directory)
    _move(directory, half, files)
    return Succession(_after(base, known.origin), predecessor=known, found=records, set_aside=target.name)


def _move(directory: Path, half: Path, files: FileOperations) -> None:
    """Move all of a log into `half`, and give that its name once it is complete."""
    for name in _PARTS:
        if (directory / name).exists():
            files.replace(directory / name, half / name)
    files.sync_directory(half)
    files.replace(half, half.with_suffix(""))
    (directory / "segments").mkdir(mode=0o750, exist_ok=True)
    files.sync_directory(directory)


def _after(base: str, origin: str) -> str:
    return f"{base}/{_number(base, origin) + 1}"


def _number(base: str, origin: str) -> int:
    found = generation(base, origin)
    if found is None:
        raise AuditLogError(
            f"what was signed last is of the log `{origin}`, not of `{base}`: `audit.origin` was changed"
        )
    return found


def _origin_in(directory: Path, base: str) -> str | None:
    """What the log in the directory is called, `base` when it does not say so; None: there is none."""
    last = last_lines(directory, 1)[0]
    with suppress(ValueError):
        return read(last[0]).log if last else _published(directory).origin
    return base if last or (directory / "head.json").exists() else None


def _records(directory: Path) -> int | None:
    """How many records there are, by the last line that is one; None: that cannot be told."""
    for line in reversed(last_lines(directory, 2)[0]):
        with suppress(ValueError):
            return read(line).sequence + 1
    return 0 if not last_lines(directory, 1)[0] else None


def _published(directory: Path) -> Checkpoint:
    """Raises ValueError."""
    note = read_checkpoint_file(directory)
    if note is None:
        raise ValueError("there is none")
    return read_checkpoint(note)[0]


def _known(directory: Path, origin: str, last: Checkpoint | None) -> Iterator[Checkpoint]:
    """What is known of the log `origin`: remembered, published, noted."""
    if last is not None and last.origin == origin:
        yield last
    with suppress(ValueError):
        published = _published(directory)
        if published.origin == origin:
            yield published
    head = read_head(directory)
    if head is not None:
        yield Checkpoint(origin, head.sequence + 1, bytes(32))
