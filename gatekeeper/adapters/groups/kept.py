"""The last good answer of a directory, as a file in the state directory: who is in the groups that the policy names.

Inside holds: the file is replaced at once or not at all, is this user's alone, and has nothing but names of groups,
accounts, reasons and a time. One that is not whole, or was made for another meaning, is none.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gatekeeper.domain.document import parse_instant

MAX_OCTETS = 256 * 1024 * 1024
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer, and when it came."""

    answered_at: datetime
    members: Mapping[str, frozenset[str]]
    unknown: Mapping[str, str]
    """Groups that were asked for and are not known, and why."""

    @property
    def asked(self) -> frozenset[str]:
        """All groups that were asked for."""
        return frozenset(self.members) | frozenset(self.unknown)


class NotUsable(Exception):
    """The file is there and cannot be used."""


def write(path: Path, kept: Kept, meaning: str) -> None:
    """Put it in its place, durably; raises OSError."""
    document = {
        "version": _VERSION,
        "meaning": _digest(meaning),
        "answered_at": kept.answered_at.isoformat(),
        "members": {group: sorted(people) for group, people in sorted(kept.members.items())},
        "unknown": dict(sorted(kept.unknown.items())),
    }
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.new-{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path, meaning: str) -> Kept | None:
    """The answer; None when none was kept for this meaning. Raises `NotUsable` with the reason."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_OCTETS + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise NotUsable(f"{path}: cannot be read: {error}") from error
    if len(data) > MAX_OCTETS:
        raise NotUsable(f"{path}: larger than {MAX_OCTETS} octets")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotUsable(f"{path}: is not JSON: {error}") from error
    kept = _parsed(document)
    if kept is None:
        raise NotUsable(f"{path}: is not what this version writes")
    return kept if document["meaning"] == _digest(meaning) else None


def _parsed(document: object) -> Kept | None:
    if not isinstance(document, dict) or document.get("version") != _VERSION or "meaning" not in document:
        return None
    answered_at, members, unknown = (document.get(key) for key in ("answered_at", "members", "unknown"))
    instant = parse_instant(answered_at) if isinstance(answered_at, str) else None
    if instant is None or not isinstance(members, dict) or not isinstance(unknown, dict):
        return None
    if not all(isinstance(people, list) and all(isinstance(one, str) for one in people) for people in members.values()):
        return None
    return Kept(
        answered_at=instant,
        members={group: frozenset(people) for group, people in members.items()},
        unknown={group: str(reason) for group, reason in unknown.items()},
    )


def _digest(meaning: str) -> str:
    return hashlib.sha256(meaning.encode()).hexdigest()
