"""The signed note: a text that one or more keys signed (c2sp.org/signed-note, Go's golang.org/x/mod/sumdb/note).

Inside holds: only Ed25519 (signature type 0x01); any octets give a `Note` or a `NoteError`; `encode` of what `parse`
gave is what was parsed; a note that a known key is said to have signed but has not is refused as a whole.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_NOTE_OCTETS = 65_536
MAX_SIGNATURES = 100
"""As Go's reader; the specification asks for at least 16."""

_ED25519 = b"\x01"
_DASH = "\N{EM DASH} "
_ID_OCTETS = 4
_KEY_OCTETS = 32


class NoteError(ValueError):
    """Octets that are no signed note, a text that is no key, or a signature that is not what it says."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Who is believed: a name and a public key; written `name+<key id in hex>+<base64 of 0x01 and the key>`."""

    name: str
    public: bytes
    """32 octets (RFC 8032)."""

    def __post_init__(self) -> None:
        _require_name(self.name)
        if len(self.public) != _KEY_OCTETS:
            raise NoteError("an Ed25519 public key has 32 octets")

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """The key in its written form; raises NoteError."""
        name, separator, rest = text.strip().partition("+")
        key_id, more, encoded = rest.partition("+")
        if not separator or not more:
            raise NoteError("is not a verifier key (name+id+base64); `gatekeeper policy key show` prints it")
        octets = _base64(encoded)
        if octets[:1] != _ED25519 or len(octets) != 1 + _KEY_OCTETS:
            raise NoteError("is not an Ed25519 verifier key")
        key = cls(name, octets[1:])
        if key.key_id.hex() != key_id.lower():
            raise NoteError("its id does not belong to its name and key: was it cut or changed?")
        return key

    @property
    def key_id(self) -> bytes:
        """The first 4 octets of SHA-256 over name, newline, 0x01 and the public key."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_ID_OCTETS]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line, verified or not."""

    name: str
    key_id: bytes
    octets: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.octets).decode()}"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, ending with a newline, and its signatures; nothing of it is to be believed before it is verified."""

    text: str
    signatures: tuple[Signature, ...] = ()

    def __post_init__(self) -> None:
        _require_text(self.text)

    def encode(self) -> bytes:
        """Text, an empty line, a line for each signature."""
        return "".join([self.text, "\n", *(f"{signature}\n" for signature in self.signatures)]).encode()

    def with_signature(self, signature: Signature) -> "Note":
        """The note with one signature more; the key's own older one gives way."""
        kept = [one for one in self.signatures if (one.name, one.key_id) != (signature.name, signature.key_id)]
        return replace(self, signatures=(*kept, signature))


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A private key with its name."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        """What others know it by."""
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw())

    def sign(self, note: Note) -> Note:
        """The note with this key's signature."""
        signature = Signature(self.name, self.verifier.key_id, self.private.sign(note.text.encode()))
        return note.with_signature(signature)


def parse_note(data: bytes) -> Note:
    """The note in `data`, of at least no signature: a draft ends with the empty line. Raises NoteError."""
    if len(data) > MAX_NOTE_OCTETS:
        raise NoteError(f"larger than {MAX_NOTE_OCTETS} octets")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError("is not UTF-8") from error
    place = text.rfind("\n\n")
    if place < 0 or not text.endswith("\n"):
        raise NoteError("has no empty line between text and signatures")
    *lines, _ = text[place + 2 :].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"has more than {MAX_SIGNATURES} signatures")
    return Note(text[: place + 1], tuple(map(_signature, lines)))


def signed_by(note: Note, known: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Which of the known keys signed the note, each once; lines of other keys mean nothing.

    Raises NoteError when a line bears the name and id of a known key but not its signature.
    """
    keys = {(key.name, key.key_id): key for key in known}
    found: dict[VerifierKey, None] = {}
    for signature in note.signatures:
        key = keys.get((signature.name, signature.key_id))
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature.octets, note.text.encode())
        except (InvalidSignature, ValueError) as error:  # ValueError: octets that are no point of the curve
            raise NoteError(
                f"the signature of `{key.name}` does not fit: the note was changed, or never signed"
            ) from error
        found[key] = None
    return tuple(found)


def _signature(line: str) -> Signature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator:
        raise NoteError("has a line behind the empty one that is no signature")
    _require_name(name)
    octets = _base64(encoded)
    if len(octets) <= _ID_OCTETS:
        raise NoteError("has a signature without octets")
    return Signature(name, octets[:_ID_OCTETS], octets[_ID_OCTETS:])


def _require_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteError("its text does not end with a newline")
    if any(character < " " and character != "\n" for character in text):
        raise NoteError("has a control character")


def _require_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise NoteError(f"`{name}` is not a key name: no spaces, no plus")


def _base64(text: str) -> bytes:
    """Strict: what is encoded again must be the same text."""
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("has what is no base64") from error
    if base64.b64encode(octets).decode() != text:
        raise NoteError("has base64 that is not in its one form")
    return octets
