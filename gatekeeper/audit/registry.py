"""The registry of logs: which logs there must be, where, under which keys, and what each had signed when last seen.

It is an auditor's file, kept where the gates' administrators cannot write: what it says is believed. JSON, so that
other programs can read it.

Inside holds: any octets give a `Registry` or a `ValueError`; `parse` of what `dump` gave is the same; no log is ever
forgotten by what is done to it here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.signing.note import NoteError, VerifierKey

MAX_LOGS = 10_000
MAX_OCTETS = 64 * 1024 * 1024
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """That a log need not be there any more, by whose word and why."""

    at: str
    """RFC 3339."""
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One log."""

    origin: str
    directory: str
    """Where it was found."""
    keys: tuple[VerifierKey, ...]
    """Each may have signed it; a second one is there after the key was changed."""
    since: str | None = None
    """Time of the first record that was there, RFC 3339."""
    until: str | None = None
    """Since when another log takes its place."""
    successor: str | None = None
    """The origin of that one."""
    head: str | None = None
    """The last signed head that the log was verified against, as it was published."""
    ended: Ended | None = None

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What it must at least have."""
        return None if self.head is None else read_checkpoint(self.head.encode())[0]


@dataclass(frozen=True, slots=True)
class Registry:
    """All of them, by their origins."""

    logs: Mapping[str, Entry]

    @classmethod
    def parse(cls, data: bytes) -> "Registry":
        """The registry in a file; raises ValueError with the reason."""
        try:
            document: object = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError("is not JSON in UTF-8") from error
        if (
            not isinstance(document, dict)
            or document.get("v") != _VERSION
            or not isinstance(document.get("logs"), list)
        ):
            raise ValueError("is no registry of logs")
        if len(document["logs"]) > MAX_LOGS:
            raise ValueError(f"has more than {MAX_LOGS} logs")
        entries = [_entry(each, number) for number, each in enumerate(document["logs"], 1)]
        logs = {entry.origin: entry for entry in entries}
        if len(logs) != len(entries):
            raise ValueError("has a log twice")
        return cls(logs)

    def dump(self) -> bytes:
        """As a file."""
        logs = [_document(entry) for _, entry in sorted(self.logs.items())]
        return json.dumps({"v": _VERSION, "logs": logs}, indent=1, ensure_ascii=False).encode() + b"\n"

    def having(self, entry: Entry) -> "Registry":
        """With this entry, in the place of the one that the log had."""
        return replace(self, logs={**self.logs, entry.origin: entry})


def _document(entry: Entry) -> dict[str, object]:
    ended = entry.ended
    return {
        "origin": entry.origin,
        "directory": entry.directory,
        "keys": [str(key) for key in entry.keys],
        "since": entry.since,
        "until": entry.until,
        "successor": entry.successor,
        "head": entry.head,
        "ended": None if ended is None else {"at": ended.at, "by": ended.by, "reason": ended.reason},
    }


def _entry(document: object, number: int) -> Entry:
    place = f"log {number}"
    if not isinstance(document, dict):
        raise ValueError(f"{place} is no table")  # noqa: TRY004  one kind of error for one kind of fault
    texts: dict[str, str] = {}
    for name in ("origin", "directory", "since", "until", "successor", "head"):
        value = document.get(name)
        if isinstance(value, str):
            texts[name] = value
        elif value is not None or name in ("origin", "directory"):
            raise ValueError(f"{place}: `{name}` is missing or no text")
    keys, ended = document.get("keys"), document.get("ended")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"{place}: `keys` is no list of keys")
    try:
        found = Entry(**texts, keys=tuple(map(VerifierKey.parse, keys)), ended=_ended(ended, place))
        checkpoint = found.checkpoint
    except NoteError as error:
        raise ValueError(f"{place}: {error}") from error
    if checkpoint is not None and checkpoint.origin != found.origin:
        raise ValueError(f"{place}: its head is of the log `{checkpoint.origin[:200]}`")
    return found


def _ended(document: object, place: str) -> Ended | None:
    if document is None:
        return None
    found = [document.get(name) if isinstance(document, dict) else None for name in ("at", "by", "reason")]
    at, by, reason = found
    if not isinstance(at, str) or not isinstance(by, str) or not isinstance(reason, str):
        raise ValueError(f"{place}: `ended` has no `at`, `by` and `reason`")  # noqa: TRY004
    return Ended(at, by, reason)
