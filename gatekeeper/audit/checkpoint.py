"""The signed head of a log: origin, number of records and root of their Merkle tree (c2sp.org/tlog-checkpoint).

Inside holds: any octets give a `Checkpoint` or a `NoteError`; `parse` of what `text` gave is the same checkpoint.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from gatekeeper.audit.tree import HASH_OCTETS
from gatekeeper.signing.note import Note, NoteError, SigningKey, VerifierKey, parse_note, signed_by

_MAX_SIZE_DIGITS = 18  # below 2^63


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log was at one time."""

    origin: str
    size: int
    """How many records."""
    root: bytes
    """32 octets."""

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """The checkpoint in the text of a note; lines after the third one mean nothing. Raises NoteError."""
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0]:
            raise NoteError("is no checkpoint: its three lines are missing")
        origin, size, encoded = lines[:3]
        if not (size.isascii() and size.isdecimal()) or len(size) > _MAX_SIZE_DIGITS or str(int(size)) != size:
            raise NoteError("is no checkpoint: its second line is no size")
        try:
            root = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise NoteError("is no checkpoint: its third line is no base64") from error
        if len(root) != HASH_OCTETS or base64.b64encode(root).decode() != encoded:
            raise NoteError("is no checkpoint: its third line is no SHA-256")
        return cls(origin, int(size), root)

    def signed(self, key: SigningKey) -> bytes:
        """The note that is published."""
        return key.sign(Note(self.text)).encode()


def read_checkpoint(data: bytes) -> tuple[Checkpoint, Note]:
    """Whatever somebody says is a checkpoint, with the note whose signatures are to be looked at. Raises NoteError."""
    note = parse_note(data)
    return Checkpoint.parse(note.text), note


def verified(data: bytes, known: Iterable[VerifierKey]) -> Checkpoint | None:
    """The checkpoint, None when none of the known keys signed it.

    Raises NoteError for what is no checkpoint, and for a signature that is said to be a known key's but is not.
    """
    checkpoint, note = read_checkpoint(data)
    return checkpoint if signed_by(note, known) else None
