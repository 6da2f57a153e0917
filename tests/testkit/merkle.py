"""Merkle logs: the tree as the definition says it, the hashes of all its tiles, and what is published on the disk."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.adapters.sinks.publisher import Publisher
from gatekeeper.adapters.sinks.reader import lines
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


def sign_log(directory: Path, key: SigningKey = KEY) -> None:
    """Sign all that is in the segments, as the gate with that key does; what was signed before is forgotten."""
    shutil.rmtree(directory / "tile", ignore_errors=True)
    (directory / "checkpoint").unlink(missing_ok=True)
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "signing.key").write_bytes(pem)
    (directory / "signing.key").chmod(0o600)
    records = sum(1 for _ in lines(directory))
    publisher = Publisher(directory, key, records=records, files=FileOperations(), monotonic=monotonic)
    publisher.finish(records, within_s=60)
    assert publisher.published == records


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
