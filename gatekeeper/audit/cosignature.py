"""Cosignatures: a witness saw this head of the log, then, and the log only grew (c2sp.org/tlog-cosignature).

Inside holds: only Ed25519 (type 0x04); a witness signs nothing that is smaller than what it signed before, or other;
`witness` is given what was signed last and keeps nothing itself. Requests are those of c2sp.org/tlog-witness.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gatekeeper.audit.checkpoint import Checkpoint, read_checkpoint
from gatekeeper.audit.proof import ProofError, is_consistent, parse_hash
from gatekeeper.audit.signed import as_known
from gatekeeper.signing.note import Note, NoteError, Signature, VerifierKey, signed_by

_KIND = b"\x04"
_TIME_OCTETS = 8
_MAX_TIME = 2**63 - 1
_MAX_PATH = 63


class Refused(Exception):
    """The witness does not sign."""


class Unknown(Refused):
    """No key that the witness trusts has signed the head."""


class UnknownOrigin(Unknown):
    """It trusts no key for logs of that name."""


class Conflict(Refused):
    """The request goes on from another size than the one that was signed last."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the last head that was cosigned has {size} records: the request must go on from there")
        self.size = size


class Inconsistent(Refused):
    """The log does not begin with what was cosigned before: it was forked, or the proof is wrong."""


class Smaller(Inconsistent):
    """The head has fewer records than the one that it is said to go on from."""


class Split(Inconsistent):
    """As many records as were cosigned before, and others."""


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """A witness: its name and public key; written as a verifier key with 0x04."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "CosignerKey":
        """The key in its written form; raises NoteError."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            octets = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise NoteError("is no witness's key (name+id+base64)") from error
        if octets[:1] != _KIND or len(octets) != 33:
            raise NoteError("is no witness's key: not an Ed25519 key for cosignatures")
        key = cls(VerifierKey(name, octets[1:]).name, octets[1:])  # which checks the name
        if key.key_id.hex() != key_id.lower():
            raise NoteError("its id does not belong to its name and key: was it cut or changed?")
        return key

    @property
    def key_id(self) -> bytes:
        """The first 4 octets of SHA-256 over name, newline, 0x04 and the public key."""
        return hashlib.sha256(self.name.encode() + b"\n" + _KIND + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_KIND + self.public).decode()}"


@dataclass(frozen=True, slots=True)
class Cosigned:
    """That a witness saw a head."""

    witness: CosignerKey
    time: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Request:
    """A head with the proof that it goes on from the one before (`add-checkpoint`)."""

    old: int
    path: tuple[bytes, ...]
    note: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Request":
        """The request in its written form; raises ProofError."""
        head, separator, note = data.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise ProofError("is no request: not ASCII") from error
        word, _, number = first.partition(" ")
        if not separator or word != "old" or not number.isdecimal() or len(number) > 18 or str(int(number)) != number:
            raise ProofError("is no request: it does not begin with `old` and a size")
        if len(lines) > _MAX_PATH:
            raise ProofError(f"has more than {_MAX_PATH} hashes")
        return cls(int(number), tuple(map(parse_hash, lines)), note)


def witness(request: Request, last: Checkpoint | None, pinned: Sequence[VerifierKey]) -> tuple[Checkpoint, Note]:
    """The head to cosign, after `last`, which was cosigned before it.

    Raises:
        Refused: it is not to be cosigned; NoteError: it is no head, or its signature is false.
    """
    checkpoint, note = read_checkpoint(request.note)
    if last is not None and last.origin != checkpoint.origin:
        raise ValueError("the last head is of another log")
    known = as_known(pinned, checkpoint.origin)
    if not known:
        raise UnknownOrigin(f"no key is trusted for the log `{checkpoint.origin}`")
    if not signed_by(note, known):
        raise Unknown(f"no trusted key has signed this head of `{checkpoint.origin}`")
    size = 0 if last is None else last.size
    if request.old > checkpoint.size:
        raise Smaller(f"the head has {checkpoint.size} records, fewer than the {request.old} that it is to go on from")
    if request.old != size:
        raise Conflict(size)
    if last is None:
        if request.path:
            raise Inconsistent("a log that was never cosigned needs no proof")
    elif size == checkpoint.size and last.root != checkpoint.root:
        raise Split(f"the head has the {size} records that were cosigned before, but not the same: the log was forked")
    elif not is_consistent(size, last.root, checkpoint.size, checkpoint.root, request.path):
        raise Inconsistent(
            f"it is not proven that the log begins with the {size} records that were cosigned before: it was forked, "
            "or the request is wrong"
        )
    return checkpoint, note


def cosign(note: Note, name: str, private: Ed25519PrivateKey, time: int) -> Signature:
    """The signature line of a witness at a time, in seconds since 1970."""
    key = CosignerKey(name, private.public_key().public_bytes_raw())
    return Signature(name, key.key_id, time.to_bytes(_TIME_OCTETS) + private.sign(_message(note, time)))


def cosigned_by(note: Note, known: Iterable[CosignerKey]) -> tuple[Cosigned, ...]:
    """Which of the known witnesses cosigned, and when; lines of others mean nothing.

    Raises NoteError when a line bears the name and id of a known witness but not its signature.
    """
    keys = {(key.name, key.key_id): key for key in known}
    found = []
    for signature in note.signatures:
        key = keys.get((signature.name, signature.key_id))
        if key is None:
            continue
        time = int.from_bytes(signature.octets[:_TIME_OCTETS])
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature.octets[_TIME_OCTETS:], _message(note, time))
        except (InvalidSignature, ValueError) as error:
            raise NoteError(f"the cosignature of `{key.name}` does not fit") from error
        if time > _MAX_TIME:
            raise NoteError(f"the cosignature of `{key.name}` has no time")
        found.append(Cosigned(key, time))
    return tuple(found)


def _message(note: Note, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{note.text}".encode()
