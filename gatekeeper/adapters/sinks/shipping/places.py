"""Where signed heads are kept: a directory on another mount, an HTTP server, a syslog receiver, a witness.

Inside holds: a head that says less than one that is there already is never put in its place.
"""

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError, write_all
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.shipping.channel import PeerFailed, Refused
from gatekeeper.adapters.sinks.shipping.http import HttpConnection, accepted
from gatekeeper.adapters.sinks.shipping.settings import HttpPeer, SyslogPeer
from gatekeeper.adapters.sinks.shipping.syslog import SyslogConnection
from gatekeeper.adapters.sinks.tiles import hashes_at, put
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.cosignature import CosignerKey, cosigned_by
from gatekeeper.audit.mappings.syslog import framed, head_message
from gatekeeper.audit.proof import ProofError, consistency, consistency_text
from gatekeeper.audit.record import milliseconds
from gatekeeper.signing.note import MAX_NOTE_OCTETS, NoteError

HISTORY_EVERY_S = 60.0


class FileCopies:
    """Two files in a directory: `<log>.checkpoint`, the last head, and `<log>.checkpoints`, which only grows.

    The first is replaced, the second appended to, so that a file that can only be appended to (`chattr +a`, a WORM
    mount) is enough; where the first cannot be replaced the second still gets every head.
    """

    def __init__(self, directory: Path, log: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        name = file_name(log)
        self.last = directory / f"{name}.checkpoint"
        self.history = directory / f"{name}.checkpoints"
        self._monotonic = monotonic
        self._next_history = 0.0
        self._files = FileOperations()

    def keep(self, note: bytes, head: Checkpoint) -> None:
        """See `heads.Place`."""
        kept = self._kept()
        if kept is not None and kept.size > head.size:
            raise AuditLogError(
                f"`{self.last}` has a head of {kept.size} records, this log one of {head.size}: one of them was "
                "restored from a backup or is another log (docs/audit.md)"
            )
        if self._monotonic() >= self._next_history:
            self._append(note)
            self._next_history = self._monotonic() + HISTORY_EVERY_S
        put(self.last, note, self._files, is_durable=True)

    def close(self) -> None:
        """See `heads.Place`."""

    def _kept(self) -> Checkpoint | None:
        try:
            with self.last.open("rb") as file:
                return read_checkpoint(file.read(MAX_NOTE_OCTETS + 1))[0]
        except FileNotFoundError:
            return None
        except NoteError as error:
            raise AuditLogError(f"`{self.last}` {error}") from error

    def _append(self, note: bytes) -> None:
        fd = self._files.open(self.history, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            write_all(fd, note + b"\n", self._files)
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)


class HttpCopies:
    """POST of the note as it is."""

    def __init__(self, peer: HttpPeer, log: str) -> None:
        self._log = log
        self._connection = HttpConnection(peer)

    def keep(self, note: bytes, head: Checkpoint) -> None:
        """See `heads.Place`."""
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Gatekeeper-Log": self._log,
            "Gatekeeper-Size": str(head.size),
        }
        accepted(self._connection.post(note, headers))

    def close(self) -> None:
        """See `heads.Place`."""
        self._connection.close()


class SyslogCopies:
    """A message with the note in a JSON object, MSGID `checkpoint`."""

    def __init__(self, peer: SyslogPeer, log: str, now: Callable[[], datetime]) -> None:
        self._peer = peer
        self._log = log
        self._now = now
        self._connection = SyslogConnection(peer)

    def keep(self, note: bytes, head: Checkpoint) -> None:
        """See `heads.Place`."""
        peer = self._peer
        said = head_message(
            note,
            log=self._log,
            records=head.size,
            time_ms=milliseconds(self._now()),
            hostname=peer.hostname,
            sd_id=peer.sd_id,
        )
        self._connection.send(framed(said))
        self._connection.confirm()

    def close(self) -> None:
        """See `heads.Place`."""
        self._connection.close()


class Witness:
    """`add-checkpoint` (c2sp.org/tlog-witness); what it cosigned is kept beside the log as `cosigned/<name>`.

    How far the witness is it says itself, with 409, when it is asked to go on from elsewhere. With `key` an answer
    that is not its cosignature counts for nothing.
    """

    def __init__(self, peer: HttpPeer, directory: Path, name: str, key: CosignerKey | None = None) -> None:
        self._key = key
        self._connection = HttpConnection(peer)
        self._directory = directory
        self._path = directory / "cosigned" / name
        self._files = FileOperations()
        self._old = self._cosigned()

    def keep(self, note: bytes, head: Checkpoint) -> None:
        """See `heads.Place`."""
        reply = self._connection.post(self._request(note, head), {"Content-Type": "text/plain; charset=utf-8"})
        if reply.status == 409:
            self._old = _size(reply.body)
            reply = self._connection.post(self._request(note, head), {"Content-Type": "text/plain; charset=utf-8"})
        if reply.status in (409, 422):
            raise Refused(
                f"it answered {reply.status}: a log of {head.size} records does not go on from the {self._old} that it "
                "cosigned (docs/audit.md)"
            )
        accepted(reply)
        try:
            cosigned = cosigned_by(read_checkpoint(note + reply.body)[1], [] if self._key is None else [self._key])
        except NoteError as error:
            raise PeerFailed(f"its cosignature {error}") from error
        if self._key is not None and not cosigned:
            raise PeerFailed(f"it answered without a cosignature of `{self._key.name}`")
        self._path.parent.mkdir(mode=0o750, exist_ok=True)
        put(self._path, note + reply.body, self._files, is_durable=True)
        self._old = head.size

    def close(self) -> None:
        """See `heads.Place`."""
        self._connection.close()

    def _request(self, note: bytes, head: Checkpoint) -> bytes:
        try:
            path = consistency(self._old, head.size, hashes_at(self._directory, head.size))
        except ProofError as error:
            raise Refused(
                f"it has cosigned {self._old} records, and this log has {head.size}: it was cut, or restored from a "
                "backup (docs/audit.md)"
            ) from error
        return consistency_text(self._old, path, note)

    def _cosigned(self) -> int:
        try:
            with self._path.open("rb") as file:
                return read_checkpoint(file.read(MAX_NOTE_OCTETS + 1))[0].size
        except (OSError, NoteError):
            return 0  # the witness says where it is


def file_name(log: str) -> str:
    """A log's name as the name of a file: letters, digits, `.`, `-`, `_` as they are, everything else as `=hex`."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else f"={ord(c):02x}" for c in log)
    return kept if not kept.startswith(".") else f"={ord('.'):02x}{kept[1:]}"


def _size(body: bytes) -> int:
    text = body[:32].strip()
    if not text.isdigit() or len(text) > 18:
        raise PeerFailed("it did not say what it has cosigned")
    return int(text)
