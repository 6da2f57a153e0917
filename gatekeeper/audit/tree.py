"""The Merkle tree over the lines of a log (RFC 6962 section 2.1), and its tiles (c2sp.org/tlog-tiles).

A leaf is the exact octets of a line without its newline; its index is the record's `sequence`.

Inside holds: a tree only grows; appending costs two hashes on average, the root one for each bit of the size; memory
is one unfinished tile for each level, whatever the size. A tree that is resumed from tiles believes them: its root is
to be compared with a signed one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

TILE_WIDTH = 256
"""Hashes of a full tile."""
HASH_OCTETS = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

_TILE_HEIGHT = 8


def leaf_hash(line: bytes) -> bytes:
    """The hash of a leaf; `line` has no newline."""
    return hashlib.sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Tile:
    """Neighbouring hashes of one level: of leaves at level 0, of full tiles of the level below at the others."""

    level: int
    index: int
    hashes: bytes
    """1 to 256 hashes, one after the other."""

    @property
    def width(self) -> int:
        """How many hashes."""
        return len(self.hashes) // HASH_OCTETS

    @property
    def path(self) -> str:
        """Where it belongs, below the directory of the log."""
        return tile_path(self.level, self.index, self.width)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile: `tile/0/x001/067`, or `tile/0/x001/067.p/12` of one that is not full."""
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.insert(0, f"x{index % 1000:03d}")
    return f"tile/{level}/{'/'.join(parts)}" + ("" if width == TILE_WIDTH else f".p/{width}")


def partial_widths(size: int) -> list[int]:
    """How many hashes the unfinished tile of each level has in a tree of `size` leaves; 0: there is none."""
    widths = []
    while size:
        widths.append(size % TILE_WIDTH)
        size //= TILE_WIDTH
    return widths


class Tree:
    """A tree that grows leaf by leaf."""

    def __init__(self) -> None:
        self.size = 0
        self.completed: list[Tile] = []
        """Full tiles, in the order in which they became full; whoever has dealt with one takes it away."""
        self._peaks: list[bytes] = []
        """By height: the perfect subtree that a set bit of the size stands for, or what was there before."""
        self._unfinished: list[bytearray] = []
        """By level: the hashes that make no full tile yet."""

    @classmethod
    def resumed(cls, size: int, unfinished: Sequence[bytes]) -> "Tree":
        """A tree of `size` leaves by the unfinished tiles of its levels (`partial_widths` says how wide).

        Raises:
            ValueError: they are not as wide.
        """
        widths = partial_widths(size)
        if [len(hashes) for hashes in unfinished] != [width * HASH_OCTETS for width in widths]:
            raise ValueError("the tiles do not fit the size of the tree")
        tree = cls()
        tree.size = size
        tree._unfinished = [bytearray(hashes) for hashes in unfinished]
        for hashes, width in zip(unfinished, widths, strict=True):
            for height in range(_TILE_HEIGHT):
                subtree = EMPTY_ROOT
                if width >> height & 1:
                    end = width >> height << height  # the lower bits stand for what is to the right of it
                    begin = end - (1 << height)
                    subtree = perfect_root(hashes[begin * HASH_OCTETS : end * HASH_OCTETS])
                tree._peaks.append(subtree)
        return tree

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf."""
        node, height, rest = leaf, 0, self.size
        self._put(0, leaf)
        while rest & 1:
            node = node_hash(self._peaks[height], node)
            height += 1
            rest >>= 1
            if height % _TILE_HEIGHT == 0:
                self._put(height // _TILE_HEIGHT, node)
        if height == len(self._peaks):
            self._peaks.append(node)
        else:
            self._peaks[height] = node
        self.size += 1

    def root(self) -> bytes:
        """The hash of the whole tree."""
        root: bytes | None = None
        for height, peak in enumerate(self._peaks):
            if self.size >> height & 1:
                root = peak if root is None else node_hash(peak, root)
        return EMPTY_ROOT if root is None else root

    def unfinished(self) -> list[Tile]:
        """The tiles that are not full, from the bottom."""
        return [
            Tile(level, self.size >> _TILE_HEIGHT * (level + 1), bytes(hashes))
            for level, hashes in enumerate(self._unfinished)
            if hashes
        ]

    def _put(self, level: int, digest: bytes) -> None:
        if level == len(self._unfinished):
            self._unfinished.append(bytearray())
        hashes = self._unfinished[level]
        hashes += digest
        if len(hashes) == TILE_WIDTH * HASH_OCTETS:
            self.completed.append(Tile(level, self.size >> _TILE_HEIGHT * (level + 1), bytes(hashes)))
            hashes.clear()


def perfect_root(hashes: bytes) -> bytes:
    """The root over hashes whose number is a power of two."""
    level = [hashes[place : place + HASH_OCTETS] for place in range(0, len(hashes), HASH_OCTETS)]
    while len(level) > 1:
        level = [node_hash(level[place], level[place + 1]) for place in range(0, len(level), 2)]
    return level[0]
