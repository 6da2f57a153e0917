"""A witness's memory and its answers: what it cosigned last of each log, in a directory of its own.

    witness.key              the key that it cosigns with, made the first time
    <SHA-256>.checkpoint     the last head that was cosigned of a log, by the digest of its origin
    <SHA-256>.forked         the first signed head that contradicts one that was cosigned: together they prove a fork
    <SHA-256>.refused        the last signed head that was not proven to go on from it, which anybody can have sent
    lock                     held while a head is compared and put down

Inside holds: what was cosigned is durable before the cosignature is given out; two at the same time take turns, also of
two processes; a memory that cannot be read is never taken for a first time.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gatekeeper.adapters.sinks.directory import AuditLogError
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.signing_key import load_or_make_key
from gatekeeper.adapters.sinks.tiles import put
from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.cosignature import (
    Conflict,
    CosignerKey,
    Inconsistent,
    Request,
    Smaller,
    Split,
    Unknown,
    UnknownOrigin,
    cosign,
    witness,
)
from gatekeeper.audit.proof import ProofError
from gatekeeper.signing.note import NoteError, SigningKey, VerifierKey

TEXT = "text/plain; charset=utf-8"
SIZE = "text/x.tlog.size"
MEMORY_FAULT = 500
"""Status when the witness's own memory cannot be used."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To one request, as HTTP has it (c2sp.org/tlog-witness)."""

    status: int
    body: bytes
    """The cosignature; with 409 the size to go on from; else why not."""
    content_type: str = TEXT
    why: str = ""
    """Why not; empty: it was cosigned."""
    kept: Path | None = None
    """Where the head is kept: it is signed, and does not go on from what was cosigned before."""
    is_proof: bool = False
    """It contradicts what was cosigned before: the log was forked."""
    is_forged: bool = False
    """It says that a known key signed it, which did not."""


class WitnessDesk:
    """Answers requests."""

    def __init__(self, state: Path, name: str, pinned: Sequence[VerifierKey], now: Callable[[], datetime]) -> None:
        """`pinned`: whose logs are cosigned. Raises AuditLogError when the directory or the key cannot be used."""
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise AuditLogError(f"`{state}` cannot be made: {error.strerror}") from error
        self._state = state
        self._key: SigningKey = load_or_make_key(state / "witness.key", name)
        self._pinned = pinned
        self._now = now
        self._files = FileOperations()

    @property
    def key(self) -> CosignerKey:
        """By which others know the witness."""
        return CosignerKey(self._key.name, self._key.verifier.public)

    def answer(self, data: bytes) -> Answer:
        """Answer one request, the body of `add-checkpoint`. Blocks; may be called by several threads."""
        try:
            request = Request.parse(data)
            origin = read_checkpoint(request.note)[0].origin
        except (ProofError, NoteError) as error:
            return _refusal(400, f"the request {error}")
        try:
            with self._alone():
                return self._answered(request, origin)
        except OSError as error:
            return _refusal(MEMORY_FAULT, f"the witness cannot write: {error.strerror}")

    def _answered(self, request: Request, origin: str) -> Answer:
        try:
            last = self._last(origin)
        except NoteError as error:
            what = f"`{self._place(origin)}` {error}: the witness no longer knows what it cosigned"
            return _refusal(MEMORY_FAULT, what)
        try:
            _, note = witness(request, last, self._pinned)
        except UnknownOrigin as error:
            return _refusal(404, str(error))
        except Unknown as error:
            return _refusal(403, str(error))
        except Conflict as error:
            return Answer(409, f"{error.size}\n".encode(), SIZE, str(error))
        except Inconsistent as error:
            return self._kept(request, origin, error)
        except NoteError as error:
            return Answer(403, f"{error}\n".encode(), why=str(error), is_forged=True)
        put(self._place(origin), request.note, self._files, is_durable=True)
        self._files.sync_directory(self._state)
        line = cosign(note, self._key.name, self._key.private, int(self._now().timestamp()))
        return Answer(200, f"{line}\n".encode())

    def _kept(self, request: Request, origin: str, error: Inconsistent) -> Answer:
        if isinstance(error, Split):
            place = self._place(origin).with_suffix(".forked")
            if not place.exists():
                put(place, request.note, self._files, is_durable=True)
            return Answer(409, f"{request.old}\n".encode(), SIZE, str(error), place, is_proof=True)
        place = self._place(origin).with_suffix(".refused")
        put(place, request.note, self._files, is_durable=True)
        return Answer(400 if isinstance(error, Smaller) else 422, f"{error}\n".encode(), why=str(error), kept=place)

    def _last(self, origin: str) -> Checkpoint | None:
        """The head that was cosigned last. Raises NoteError."""
        try:
            data = self._place(origin).read_bytes()
        except FileNotFoundError:
            return None
        return read_checkpoint(data)[0]

    def _place(self, origin: str) -> Path:
        return self._state / f"{hashlib.sha256(origin.encode()).hexdigest()}.checkpoint"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fd = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _refusal(status: int, why: str) -> Answer:
    return Answer(status, f"{why}\n".encode(), why=why)
