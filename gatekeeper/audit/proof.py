"""Proofs of one record and of growth only (RFC 6962 section 2.1, verified as RFC 9162 section 2.1 says), as text.

Inside holds: whoever verifies needs the proof, the line and the signed root, nothing of the log; making one reads a
few tiles of each level. No octets make a parser raise anything else than `ProofError`.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gatekeeper.audit.tree import EMPTY_ROOT, HASH_OCTETS, TILE_WIDTH, node_hash

HashAt = Callable[[int, int], bytes]
"""Gives the hash with that index at that level of tiles."""

MAX_PROOF_OCTETS = 65_536
_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_HASHES = 128  # a tree of 2^63 leaves needs 63


class ProofError(ValueError):
    """A text that is no proof, or one that cannot be made."""


def inclusion(index: int, size: int, hash_at: HashAt) -> list[bytes]:
    """Prove that the leaf `index` is in the tree of `size` leaves: its siblings, from the bottom."""
    if not 0 <= index < size:
        raise ProofError(f"record {index} is not among the {size} that were signed")
    return _path(index, 0, size, hash_at)


def consistency(old: int, new: int, hash_at: HashAt) -> list[bytes]:
    """Prove that the tree of `new` leaves begins with that of `old` ones; nothing when the old one is empty."""
    if not 0 <= old <= new:
        raise ProofError(f"the log has {new} signed records, fewer than {old}")
    return _subproof(old, 0, new, is_whole=True, hash_at=hash_at) if old else []


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` proves that the hash of a leaf is in the tree."""
    if not 0 <= index < size:
        return False
    node, last, result = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and result == root


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the new tree begins with the old one."""
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    if old == new:
        return not path and old_root == new_root
    hashes = list(path) if old & old - 1 else [old_root, *path]
    if not hashes:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_result = new_result = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_result = node_hash(sibling, old_result)
            new_result = node_hash(sibling, new_result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new_result = node_hash(new_result, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and old_result == old_root and new_result == new_root


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """One record's proof together with the checkpoint it leads to (c2sp.org/tlog-proof)."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    """The signed note, as published."""

    def encode(self) -> bytes:
        """As a file: `.tlog-proof`."""
        lines = [_HEADER, f"index {self.index}", *map(_base64, self.path), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> "InclusionProof":
        """The proof in a file; raises ProofError."""
        head, separator, checkpoint = data[:MAX_PROOF_OCTETS].partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise ProofError("is no proof: not ASCII") from error
        if not separator or lines[0] != _HEADER or len(data) > MAX_PROOF_OCTETS:
            raise ProofError(f"is no proof: it does not begin with `{_HEADER}`, or has no checkpoint")
        rest = lines[2:] if len(lines) > 1 and lines[1].startswith("extra ") else lines[1:]
        word, _, number = (rest[0] if rest else "").partition(" ")
        if word != "index" or not number.isdecimal() or len(number) > 18 or str(int(number)) != number:
            raise ProofError("is no proof: its index is missing")
        if len(rest) > 1 + _MAX_HASHES:
            raise ProofError(f"has more than {_MAX_HASHES} hashes")
        return cls(int(number), tuple(map(parse_hash, rest[1:])), checkpoint)


def consistency_text(old: int, path: Sequence[bytes], checkpoint: bytes) -> bytes:
    """A consistency proof as a witness takes it (c2sp.org/tlog-witness, `add-checkpoint`)."""
    return "\n".join([f"old {old}", *map(_base64, path), "", ""]).encode() + checkpoint


def range_hash(begin: int, end: int, hash_at: HashAt) -> bytes:
    """The hash over the leaves from `begin` up to `end`: a subtree as RFC 6962 splits the tree."""
    count = end - begin
    if count == 0:
        return EMPTY_ROOT
    level, unit = 0, 1
    while count >= unit * TILE_WIDTH and begin % (unit * TILE_WIDTH) == 0 and count % (unit * TILE_WIDTH) == 0:
        level, unit = level + 1, unit * TILE_WIDTH
    if count == unit:
        return hash_at(level, begin // unit)
    middle = begin + _split(count)
    return node_hash(range_hash(begin, middle, hash_at), range_hash(middle, end, hash_at))


def parse_hash(line: str) -> bytes:
    """A hash in base64; raises ProofError."""
    try:
        digest = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProofError("has a line that is no base64") from error
    if len(digest) != HASH_OCTETS or _base64(digest) != line:
        raise ProofError("has a line that is no SHA-256")
    return digest


def _path(index: int, begin: int, end: int, hash_at: HashAt) -> list[bytes]:
    if end - begin == 1:
        return []
    middle = begin + _split(end - begin)
    if index < middle:
        return [*_path(index, begin, middle, hash_at), range_hash(middle, end, hash_at)]
    return [*_path(index, middle, end, hash_at), range_hash(begin, middle, hash_at)]


def _subproof(old: int, begin: int, end: int, *, is_whole: bool, hash_at: HashAt) -> list[bytes]:
    """RFC 6962 section 2.1.2; `old` is where the old tree ends."""
    if old == end:
        return [] if is_whole else [range_hash(begin, end, hash_at)]
    middle = begin + _split(end - begin)
    if old <= middle:
        return [
            *_subproof(old, begin, middle, is_whole=is_whole, hash_at=hash_at),
            range_hash(middle, end, hash_at),
        ]
    return [
        *_subproof(old, middle, end, is_whole=False, hash_at=hash_at),
        range_hash(begin, middle, hash_at),
    ]


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
