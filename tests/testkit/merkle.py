"""Merkle logs: the tree as the definition says it, the hashes of all its tiles, and what is published on the disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gatekeeper.adapters.sinks.tiles import hashes_at, read_checkpoint_file
from gatekeeper.audit.checkpoint import Checkpoint, verified
from gatekeeper.audit.proof import HashAt, range_hash
from gatekeeper.audit.tree import Tree, leaf_hash
from gatekeeper.signing.note import SigningKey
from testkit.audit_log import ORIGIN

KEY = SigningKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"k" * 32))
OTHER_KEY = SigningKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"o" * 32))


def definition(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + definition(leaves[:k]) + definition(leaves[k:])).digest()


def grown(leaves: Sequence[bytes]) -> Tree:
    """The tree, leaf by leaf."""
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf_hash(leaf))
    return tree


def hashes_of(tree: Tree) -> HashAt:
    """What its tiles say."""
    tiles = {(tile.level, tile.index): tile.hashes for tile in [*tree.completed, *tree.unfinished()]}

    def hash_at(level: int, index: int) -> bytes:
        place = index % 256 * 32
        found = tiles[level, index // 256][place : place + 32]
        assert len(found) == 32
        return found

    return hash_at


def checkpoint_of(directory: Path, key: SigningKey = KEY) -> Checkpoint:
    """What is published, signed by that key."""
    data = read_checkpoint_file(directory)
    assert data is not None
    found = verified(data, [key.verifier])
    assert found is not None
    return found


def assert_published(directory: Path, leaves: Sequence[bytes], key: SigningKey = KEY) -> None:
    """The checkpoint is of all leaves, and the tiles are those of the tree."""
    assert checkpoint_of(directory, key) == Checkpoint(ORIGIN, len(leaves), definition(leaves))
    assert range_hash(0, len(leaves), hashes_at(directory, len(leaves))) == definition(leaves)
    tree = grown(leaves)
    for tile in [*tree.completed, *tree.unfinished()]:
        assert (directory / tile.path).read_bytes() == tile.hashes, tile.path
