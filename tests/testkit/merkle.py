"""A Merkle log in memory: the tree as the definition says it, and the hashes of all its tiles."""

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gatekeeper.audit.proof import HashAt
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
